"""The processor's back end: an avatar's parameters to Gaussians, and those to a picture, with every core."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.cpu.renderer import CpuRenderer
    from render.gaussians import Gaussians
    from render.rigs.params import RigParams


def _nothing(pose: Callable[[], object]) -> None:
    pass


class CpuBackend:
    """See `render.drawing.Backend`; poses to `Gaussians`, which a `CpuRenderer` draws.

    `before_posing` is called before every pose, with what poses: the first one compiles, which it may do
    ahead, and tell.
    """

    name = "cpu"

    def __init__(self, before_posing: Callable[[Callable[[], object]], None] = _nothing) -> None:
        self._before_posing = before_posing

    def pose(self, avatar: Avatar, params: RigParams) -> Gaussians:
        import torch

        with torch.inference_mode():
            self._before_posing(lambda: avatar.pose(params))
            return avatar.pose(params)

    def drawer(self, width: int, height: int) -> CpuRenderer:
        from render.cpu.renderer import CpuRenderer

        return CpuRenderer(width, height)
