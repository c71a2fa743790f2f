"""From an avatar and its parameters to a picture: what every back end that plays offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from render.yuv import Colorspace

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.camera import Camera
    from render.rigs.params import RigParams

Picture = NDArray[np.uint8]
Background = Sequence[float] | Picture
"""A colour, three numbers in 0..1, or a picture uint8 [H, W, 3]."""
Posed = Any  # what a back end's `pose` gives its own drawers


class Drawer(Protocol):
    """Draws pictures of one size. Belongs to the thread that draws; close it. `CpuRenderer` is one."""

    width: int
    height: int

    def render_yuv420(
        self,
        posed: Posed,
        camera: Camera,
        background: Background,
        out: Picture | None = None,
        *,
        colorspace: Colorspace = "bt709",
    ) -> Picture:
        """Planar I420 in limited range, uint8 [H * 3 / 2, W], written to `out` when given."""
        ...

    def render_rgb8(
        self, posed: Posed, camera: Camera, background: Background, out: Picture | None = None
    ) -> Picture:
        """uint8 [H, W, 3], written to `out` when given."""
        ...

    def close(self) -> None:
        """Free threads and memory; closing twice does no harm."""
        ...


class Backend(Protocol):
    """One way from an avatar and its parameters to a picture."""

    @property
    def name(self) -> str:
        """As `--backend` and reports name it."""
        ...

    def pose(self, avatar: Avatar, params: RigParams) -> Posed:
        """What this back end's drawers take; any thread may call it."""
        ...

    def drawer(self, width: int, height: int) -> Drawer:
        """A new drawer of pictures of that size, pixels, both even for `render_yuv420`."""
        ...
