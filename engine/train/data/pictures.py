"""Pictures kept in memory or in a dataset's folder: eight bits for colours, as cameras give them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import UsageError
from engine.train.data.views import Picture
from transport.errors import OutputError


@dataclass(frozen=True)
class KeptPicture:
    """One view's pixels in memory; calling it gives the `Picture`."""

    rgb: NDArray[np.uint8]  # [H, W, 3] the person's colours
    mask: NDArray[np.uint8]  # [H, W]
    depth: NDArray[np.float32] | None = None  # [H, W] metres
    normal: NDArray[np.float16] | None = None  # [H, W, 3]

    @classmethod
    def of(cls, picture: Picture) -> KeptPicture:
        """Rounds colours and mask to eight bits."""
        return cls(
            _bytes(picture.rgb.numpy()),
            _bytes(picture.mask.numpy()),
            None if picture.depth is None else picture.depth.numpy().astype(np.float32),
            None if picture.normal is None else picture.normal.numpy().astype(np.float16),
        )

    def shrunk(self, most_px: int) -> KeptPicture:
        """Colours and mask no larger than `most_px` along a side."""
        import cv2

        height, width = self.mask.shape
        scale = most_px / max(height, width)
        if scale >= 1:
            return KeptPicture(self.rgb, self.mask)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        share = self.mask[..., None].astype(np.float32) / 255
        person = cv2.resize(self.rgb * share, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(self.mask.astype(np.float32) / 255, size, interpolation=cv2.INTER_AREA)
        rgb = person / (255 * np.maximum(mask[..., None], 1e-3))
        return KeptPicture(_bytes(rgb.astype(np.float32)), _bytes(mask.astype(np.float32)))

    def __call__(self) -> Picture:
        return Picture(
            torch.from_numpy(self.rgb.astype(np.float32) / 255),
            torch.from_numpy(self.mask.astype(np.float32) / 255),
            None if self.depth is None else torch.from_numpy(self.depth),
            None if self.normal is None else torch.from_numpy(self.normal.astype(np.float32)),
        )


@dataclass(frozen=True)
class PictureFiles:
    """One view's pixels in files; calling it reads them.

    Raises UsageError naming the file that is missing, broken or of another size.
    """

    image: Path
    mask: Path
    geometry: Path | None
    width: int
    height: int

    def __call__(self) -> Picture:
        rgb = self._read(self.image, 3)
        mask = self._read(self.mask, 1)
        depth, normal = (None, None) if self.geometry is None else self._read_geometry(self.geometry)
        return KeptPicture(rgb, mask, depth, normal)()

    def _read(self, path: Path, channels: int) -> NDArray[np.uint8]:
        import cv2

        try:
            data = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read ({error.strerror}): prepare the dataset again"
            ) from error
        kind = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
        picture = cv2.imdecode(data, kind) if len(data) else None
        if picture is None:
            raise UsageError(f"{path} is no picture: prepare the dataset again")
        if picture.shape[:2] != (self.height, self.width):
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            raise UsageError(
                f"{path} is {size}, its camera {self.width}x{self.height}: prepare the dataset again"
            )
        return np.ascontiguousarray(picture, np.uint8)

    def _read_geometry(self, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            depth, normal = arrays["depth"], arrays["normal"]
        except (OSError, SafetensorError, KeyError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{path} cannot be read ({reason}): prepare the dataset again") from error
        if depth.shape != (self.height, self.width) or normal.shape != (self.height, self.width, 3):
            raise UsageError(f"{path} holds maps of another size than its camera: prepare the dataset again")
        return depth, normal


def write_picture(kept: KeptPicture, image: Path, mask: Path, geometry: Path | None) -> None:
    """Write one view's pixels; folders must exist. Raises OutputError, as on a full disk."""
    import cv2
    from safetensors.numpy import save_file

    try:
        for path, pixels in ((image, kept.rgb[..., ::-1]), (mask, kept.mask)):
            # Level 1 is four times as fast as the usual 3 and 10 % larger.
            done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if not done:
                raise RuntimeError(f"the PNG encoder refused a picture of shape {pixels.shape}")
            path.write_bytes(data.tobytes())
        if geometry is not None and kept.depth is not None and kept.normal is not None:
            save_file({"depth": kept.depth, "normal": kept.normal}, geometry)
    except OSError as error:
        raise OutputError(
            f"cannot write {image.parent.parent} ({error.strerror}): choose another -o"
        ) from error


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
