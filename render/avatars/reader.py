"""Reading an `.avatar` file with distrust: every size, type and value is checked before it is used."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.avatars.quantise import decode
from render.errors import AvatarError

FORMAT = "visavis.avatar"
VERSIONS = (1, 2)  # 2 has more kinds of deformations, and names rigs by the numbers of their files

_MAX_HEADER_BYTES = 16 << 20  # names and notes; a real one is a few kilobytes
_FLOATS = ("float32", "float64", "float16")
_INDICES = ("uint8", "uint16", "uint32", "int32", "int64")
_OTHER_FILES = {
    b"PK": "a zip archive; unpack it",
    b"\x80": "a pickle, which is never opened; get an .avatar file",
    b"ply": "a .ply file: import it with `visavis avatar import`",
    b"glTF": "a glTF file: import its folder with `visavis avatar import`",
}


class ArrayReader:
    """An open safetensors file whose arrays are checked as they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._names: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        """Raises SafetensorError or OSError when there is no such file."""
        from safetensors import safe_open

        self._file = safe_open(str(self.path), framework="numpy").__enter__()
        self._names = frozenset(self._file.keys())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.__exit__(None, None, None)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._file.metadata() or {}

    @property
    def encodings(self) -> Mapping[str, Any]:
        """How arrays that are stored compactly are decoded, by name."""
        return {}

    def floats(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """float32 tensor of `shape` (None: any length), all finite, decoded when it is stored compactly."""
        array = self._array(name, shape)
        encoding = self.encodings.get(name)
        if encoding is not None:
            return torch.from_numpy(decode(array, encoding))
        if array.dtype.name not in _FLOATS:
            raise ValueError(f"{name} is stored as {array.dtype}")
        with np.errstate(over="ignore"):  # too large for float32 is infinite, which the next line refuses
            floats = array.astype(np.float32)
        if not np.isfinite(floats).all():
            raise ValueError(f"{name} holds a value that is not finite")
        return torch.from_numpy(floats)

    def weights(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """Like `floats`, none negative; rows stored compactly are made to sum to 1 again."""
        weights = self.floats(name, shape)
        total = weights.sum(-1, keepdim=True)
        if weights.numel() and (float(weights.min()) < 0 or float((total - 1).abs().max()) > 0.01):
            raise ValueError(f"{name} holds rows that are no weights")
        return weights / total if name in self.encodings else weights

    def indices(self, name: str, shape: tuple[int | None, ...], *, below: int) -> Tensor:
        """int64 tensor of `shape` with values in 0..below-1."""
        array = self._array(name, shape)
        if array.dtype.name not in _INDICES:
            raise ValueError(f"{name} is stored as {array.dtype}")
        if array.size and (int(array.min()) < 0 or int(array.max()) >= below):
            raise ValueError(f"{name} holds {int(array.max())}, the largest index allowed is {below - 1}")
        return torch.from_numpy(array.astype(np.int64))

    def any(self, name: str) -> Tensor:
        """A tensor of any shape and plain type; floats are finite."""
        array = self._array(name, None)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds a value that is not finite")
        return torch.from_numpy(array)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """All arrays as they are stored, in the order of their names."""
        return ((name, self._array(name, None)) for name in sorted(self._names))

    def _array(self, name: str, shape: tuple[int | None, ...] | None) -> NDArray[Any]:
        from safetensors import SafetensorError

        if name not in self._names:
            raise ValueError(f"{name} is missing")
        found = tuple(self._file.get_slice(name).get_shape())
        fits = shape is None or (
            len(found) == len(shape)
            and all(want in (None, have) for want, have in zip(shape, found, strict=True))
        )
        if not fits:
            raise ValueError(f"{name} has shape {found}, needed {shape}")
        try:
            return np.array(self._file.get_tensor(name))
        except SafetensorError as error:
            raise ValueError(f"{name}: {error}") from error


class AvatarReader(ArrayReader):
    """An open avatar file: `header` (JSON) and checked arrays. Faults inside the `with` are AvatarErrors."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.header: dict[str, Any] = {}

    def __enter__(self) -> Self:
        from safetensors import SafetensorError

        self.header = self._checked_header()
        version = self.header.get("version")
        if version not in VERSIONS:
            known = " and ".join(map(str, VERSIONS))
            raise self._error(f"has format version {version!r}, this program reads {known}; update visavis")
        try:
            return super().__enter__()
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._error(f"is damaged ({_one_line(error)}); make or fetch it again") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, AvatarError):
            if str(self.path) not in str(error):
                raise type(error)(f"{self.path}: {error}") from error
        elif isinstance(error, (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)):
            # The header's structure is checked by use: whatever does not fit surfaces as one of these.
            raise self._error(f"is damaged ({_one_line(error)}); make or fetch it again") from error

    @property
    def encodings(self) -> Mapping[str, Any]:
        return self.header["encodings"]

    def _checked_header(self) -> dict[str, Any]:
        """The JSON header, read after the file's size and first bytes have been found plausible."""
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                start = file.read(8)
                length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
                if length < 2 or length > size - 8:
                    for magic, what in _OTHER_FILES.items():
                        if start.startswith(magic):
                            raise self._error(f"is no avatar file but {what}")
                    raise self._error("is no avatar file or was cut short; make or fetch it again")
                if length > _MAX_HEADER_BYTES:
                    raise self._error(f"has a header of {length} bytes, no avatar needs that; fetch it again")
                header = json.loads(json.loads(file.read(length))["__metadata__"]["avatar"])
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror or error}; check the path") from error
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, AvatarError):
                raise
            raise self._error("is no avatar file; import one with `visavis avatar import`") from error
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise self._error("is no avatar file; import one with `visavis avatar import`")
        return header

    def _error(self, what: str) -> AvatarError:
        return AvatarError(f"{self.path} {what}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        text = f"the header has no {text}"
    return text[:200] or type(error).__name__
