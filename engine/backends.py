"""What poses and draws: the processor, or the graphics card in one captured CUDA graph.

Every job asks `open_backend` for the back end that its `--backend` names, poses with it, and draws with a
drawer of its own. Which of the two it got, a job need not know.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import UsageError

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar
    from render.camera import Camera
    from render.cpu.renderer import Background, CpuRenderer
    from render.gaussians import Gaussians
    from render.rigs.params import RigParams

BACKENDS = ("auto", "cpu", "cuda")  # what --backend takes

Picture = NDArray[np.uint8]
Colorspace = Literal["bt601", "bt709"]
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


class CpuBackend:
    """The processor: poses to `Gaussians`, which a `CpuRenderer` draws with every core."""

    name = "cpu"

    def pose(self, avatar: Avatar, params: RigParams) -> Gaussians:
        import torch

        announce_compiling()
        with torch.inference_mode():
            return avatar.pose(params)

    def drawer(self, width: int, height: int) -> CpuRenderer:
        from render.cpu.renderer import CpuRenderer

        return CpuRenderer(width, height)


@cache
def announce_compiling() -> None:
    """Say once on stderr that the first picture takes long, when the CPU's kernels were never compiled here.

    For after the user's input was found good: a refusal is one line alone.
    """
    from render.cpu.rigs import compiled

    if not compiled():
        print(
            "visavis: compiling the renderer for this processor, once: about 15 s",
            file=sys.stderr,
            flush=True,
        )


@cache
def open_backend(name: str) -> Backend:
    """The back end for `--backend name`, chosen once a process; `auto` says on stderr what it took, and why.

    Raises UsageError when a back end that was named cannot run.
    """
    if name == "cpu":
        return CpuBackend()
    reason = cuda_refusal()
    if reason is None:
        from engine.cuda_drawer import CudaBackend

        if name == "auto":
            print("visavis: drawing on the graphics card (CUDA)", file=sys.stderr, flush=True)
        return CudaBackend()
    if name == "cuda":
        raise UsageError(f"--backend cuda: {reason}; use --backend cpu, docs/gpu.md says what CUDA needs")
    print(f"visavis: drawing on the processor, not with CUDA: {reason}", file=sys.stderr, flush=True)
    return CpuBackend()


@cache
def cuda_refusal() -> str | None:
    """Why nothing can be drawn with CUDA here, in one line; None when a first small picture was drawn."""
    from render.cuda.device import available

    reason = available()
    if reason is not None:
        return reason
    from engine.cuda_drawer import first_picture_fails

    return first_picture_fails()
