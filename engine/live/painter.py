"""Draws posed Gaussians into the picture that is sent: I420 at the stream's size, whatever was rendered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.live.scene import View
from render.avatar import Avatar
from render.camera import Camera
from render.cpu.renderer import Background, CpuRenderer
from render.gaussians import Gaussians

Picture = NDArray[np.uint8]


class Painter:
    """One stream's renderer; belongs to the thread that draws. Close it."""

    def __init__(self, width: int, height: int) -> None:
        """`width`, `height`: of the stream, pixels, even."""
        self._size = (width, height)
        self._renderer: CpuRenderer | None = None
        self._camera: tuple[Avatar, View, Camera] | None = None
        self._background: tuple[Background, tuple[int, int], Background] | None = None

    def paint(self, gaussians: Gaussians, avatar: Avatar, view: View, scale: float = 1.0) -> Picture:
        """A new I420 picture [H * 3/2, W] (BT.601, limited range), rendered at `scale` of the full size."""
        width, height = (max(2, 2 * round(side * scale / 2)) for side in self._size)
        renderer = self._renderer_for(width, height)
        camera = self._camera_for(avatar, view)
        if (width, height) != self._size:
            camera = camera.resized(width, height)
        background = self._background_for(view.background, (width, height))
        picture = renderer.render_yuv420(gaussians, camera, background, colorspace="bt601")
        if (width, height) == self._size and not view.mirror:
            return picture
        return _resized(picture, (width, height), self._size, view.mirror)

    def close(self) -> None:
        """End the renderer's threads; closing twice does no harm."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _renderer_for(self, width: int, height: int) -> CpuRenderer:
        # one at a time: a renderer keeps memory for every Gaussian, and sizes seldom change
        renderer = self._renderer
        if renderer is None or (renderer.width, renderer.height) != (width, height):
            self.close()
            renderer = self._renderer = CpuRenderer(width, height)
        return renderer

    def _camera_for(self, avatar: Avatar, view: View) -> Camera:
        kept = self._camera
        if kept is None or kept[0] is not avatar or kept[1] is not view:
            camera = avatar.default_camera(*self._size, yaw_deg=view.yaw_deg, pitch_deg=view.pitch_deg)
            camera = replace(camera, fx=camera.fx * view.zoom, fy=camera.fy * view.zoom)
            kept = self._camera = (avatar, view, camera)
        return kept[2]

    def _background_for(self, background: Background, size: tuple[int, int]) -> Background:
        if not isinstance(background, np.ndarray) or background.shape[:2] == (size[1], size[0]):
            return background
        kept = self._background
        if kept is None or kept[0] is not background or kept[1] != size:
            import cv2

            scaled = cv2.resize(background, size, interpolation=cv2.INTER_AREA)
            kept = self._background = (background, size, np.asarray(scaled, np.uint8))
        return kept[2]


def _resized(picture: Picture, size: tuple[int, int], wanted: tuple[int, int], mirror: bool) -> Picture:
    """An I420 picture of another size, turned left to right if asked."""
    import cv2

    out = np.empty((wanted[1] * 3 // 2, wanted[0]), np.uint8)
    for drawn, target in zip(_planes(picture, size), _planes(out, wanted), strict=True):
        plane: NDArray[Any] = drawn
        if size != wanted:
            plane = cv2.resize(plane, (target.shape[1], target.shape[0]), interpolation=cv2.INTER_LINEAR)
        if mirror:
            cv2.flip(plane, 1, dst=target)
        else:
            target[:] = plane
    return out


def _planes(picture: Picture, size: tuple[int, int]) -> tuple[Picture, Picture, Picture]:
    """Views of Y [H, W], U and V [H/2, W/2]."""
    width, height = size
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    return picture[:height], chroma[0], chroma[1]
