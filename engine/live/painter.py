"""Poses and draws into the picture that is sent: I420 at the stream's size, whatever was rendered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.live.deadline import Effort
from engine.live.fewer import FewerGaussians
from engine.live.scene import View
from render.avatars.avatar import Avatar
from render.camera import Camera
from render.drawing import Backend, Background, Drawer, Picture, Posed
from render.motion import Motion

FULL = Effort()


class Painter:
    """One stream's drawer; belongs to the thread that draws. Close it."""

    def __init__(self, width: int, height: int, backend: Backend) -> None:
        """`width`, `height`: of the stream, pixels, even."""
        self._backend = backend
        self._size = (width, height)
        self._drawer: Drawer | None = None
        self._camera: tuple[Avatar, View, Camera] | None = None
        self._background: tuple[Background, tuple[int, int], Background] | None = None
        self._fewer = FewerGaussians()

    def pose(self, avatar: Avatar, motion: Motion, effort: Effort = FULL) -> Posed:
        """The avatar in this motion, for `paint`; with as many of its Gaussians as the effort says."""
        drawn = avatar
        # A graph captured on the card is made for one set of Gaussians: another would stop the stream.
        if effort != FULL and self._backend.name == "cpu":
            drawn = self._fewer(avatar, effort.share)
        return self._backend.pose(drawn, avatar.params(motion))

    def paint(self, posed: Posed, avatar: Avatar, view: View, scale: float = 1.0) -> Picture:
        """A new I420 picture [H * 3/2, W] (BT.601, limited range), rendered at `scale` of the full size."""
        width, height = (max(2, 2 * round(side * scale / 2)) for side in self._size)
        drawer = self._drawer_for(width, height)
        camera = self._camera_for(avatar, view)
        if (width, height) != self._size:
            camera = camera.resized(width, height)
        background = self._background_for(view.background, (width, height))
        picture = drawer.render_yuv420(posed, camera, background, colorspace="bt601")
        if (width, height) == self._size and not view.mirror:
            return picture
        return _resized(picture, (width, height), self._size, view.mirror)

    def close(self) -> None:
        """Free the drawer's threads and memory; closing twice does no harm."""
        self._fewer.close()
        self._free_drawer()

    def _free_drawer(self) -> None:
        if self._drawer is not None:
            self._drawer.close()
            self._drawer = None

    def _drawer_for(self, width: int, height: int) -> Drawer:
        # one at a time: a drawer keeps memory for every Gaussian, and sizes seldom change
        drawer = self._drawer
        if drawer is None or (drawer.width, drawer.height) != (width, height):
            self._free_drawer()
            drawer = self._drawer = self._backend.drawer(width, height)
        return drawer

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
