"""What the detector sees on an avatar: its usual view, rendered and looked at, picture by picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from capture.frame import Frame
from render.avatars.avatar import Avatar
from render.motion import Motion
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess

SIZE = 512  # pixels a side: the detector sees about the face's size in a recording
_BACKGROUND = (0.85, 0.86, 0.89)


class AvatarView:
    """Renders an avatar in its default view and detects its face, picture by picture, without smoothing.

    The detector runs in a process of its own, beside the rendering. Close it, or use it as a context manager.
    Raises TrackingError when the detector cannot start.
    """

    def __init__(self, avatar: Avatar, size: int = SIZE) -> None:
        from render.cpu.renderer import CpuRenderer

        self._avatar = avatar
        self._camera = avatar.default_camera(size, size)
        self._detector = DetectorProcess(FaceDetectorFactory("image"))
        self._renderer = CpuRenderer(size, size)

    def detect(self, motions: Iterable[Motion]) -> Iterator[Detection]:
        """One detection for every motion, in order; a face that was not found is a value."""
        return self._detector.detect_all(self._frame(i, motion) for i, motion in enumerate(motions))

    def picture(self, motion: Motion) -> np.ndarray:
        """The picture of one motion, uint8 [H, W, 3]."""
        with torch.inference_mode():
            gaussians = self._avatar.pose(self._avatar.params(motion))
            return self._renderer.render_rgb8(gaussians, self._camera, _BACKGROUND)

    def close(self) -> None:
        """End the detector and the renderer's threads; closing twice does no harm."""
        self._detector.close()
        self._renderer.close()

    def __enter__(self) -> AvatarView:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _frame(self, index: int, motion: Motion) -> Frame:
        return Frame(rgb=self.picture(motion), capture_ns=index * 33_333_333, index=index)
