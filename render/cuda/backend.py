"""The graphics card's back end: an avatar's parameters in, a picture out, one captured CUDA graph between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from render.cuda.avatar_renderer import AvatarRenderer

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.camera import Camera
    from render.cuda.frame import Layout
    from render.drawing import Background, Picture
    from render.rigs.params import RigParams
    from render.yuv import Colorspace


@dataclass(frozen=True)
class Pose:
    """What the graph poses itself."""

    avatar: Avatar
    params: RigParams


class CudaBackend:
    """See `render.drawing.Backend`; the time of posing shows in the drawing."""

    name = "cuda"

    def pose(self, avatar: Avatar, params: RigParams) -> Pose:
        return Pose(avatar, params)

    def drawer(self, width: int, height: int) -> CudaDrawer:
        return CudaDrawer(width, height)


class CudaDrawer:
    """Draws poses of one avatar after another; see `render.drawing.Drawer`.

    It keeps the graph of the avatar and the layout it drew last, and frees it before another is captured.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._renderer: AvatarRenderer | None = None
        self._made_for: tuple[Avatar, Layout, Colorspace] | None = None

    def render_yuv420(
        self,
        posed: Pose,
        camera: Camera,
        background: Background,
        out: Picture | None = None,
        *,
        colorspace: Colorspace = "bt709",
    ) -> Picture:
        return self._drawn(posed, camera, background, out, "yuv420", colorspace)

    def render_rgb8(
        self, posed: Pose, camera: Camera, background: Background, out: Picture | None = None
    ) -> Picture:
        return self._drawn(posed, camera, background, out, "rgb8", "bt709")

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = self._made_for = None

    def _drawn(
        self,
        posed: Pose,
        camera: Camera,
        background: Background,
        out: Picture | None,
        layout: Layout,
        colorspace: Colorspace,
    ) -> Picture:
        renderer = self._renderer_for(posed.avatar, layout, colorspace)
        (picture,) = renderer.draw([posed.params], [camera], background)  # the renderer's own memory
        if out is None:
            return picture.copy()
        np.copyto(out, picture)
        return out

    def _renderer_for(self, avatar: Avatar, layout: Layout, colorspace: Colorspace) -> AvatarRenderer:
        made_for = self._made_for
        if made_for is None or made_for[0] is not avatar or made_for[1:] != (layout, colorspace):
            self.close()
            self._renderer = AvatarRenderer(
                avatar, self.width, self.height, layout=layout, colorspace=colorspace
            )
            self._made_for = (avatar, layout, colorspace)
        assert self._renderer is not None
        return self._renderer


def first_picture_fails() -> str | None:
    """Why a small picture of the default avatar cannot be drawn, in one line; None when it was.

    Compiles the kernels when this version has not been used with this card before, which takes seconds.
    """
    from render.avatars.library import DEFAULT_AVATAR, open_avatar

    avatar = open_avatar(DEFAULT_AVATAR)
    camera = avatar.default_camera(64, 64)
    backend = CudaBackend()
    drawer = backend.drawer(64, 64)
    try:
        picture = drawer.render_rgb8(
            backend.pose(avatar, avatar.rig.neutral_params()), camera, (0.0, 0.0, 0.0)
        )
    except RuntimeError as error:  # the compiler's, the driver's or torch's: no memory, another's kernels
        return f"a first picture failed: {' '.join(str(error).split())[:300]}"
    finally:
        drawer.close()
    return None if picture.max() > 50 else "a first picture came out black"
