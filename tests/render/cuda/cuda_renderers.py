"""The CUDA back end for the tests: on the CPU through the emulation, and on a device where there is one."""

from __future__ import annotations

import shutil
from functools import cache

import pytest
from torch import Tensor

from render.camera import Camera
from render.cuda.device import available
from render.cuda.renderer import CudaRenderer
from render.gaussians import Gaussians
from render.renderer import RenderOutput
from tests.render.cuda.emulation.device import EmulatedDevice


def need_compiler() -> None:
    """Skip a test of the emulation where nothing can build it."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")


@cache
def emulated_device(order: int = 0) -> EmulatedDevice:
    """See emulation.h for `order`."""
    need_compiler()
    return EmulatedDevice(order)


def emulated_renderer(width: int, height: int) -> CudaRenderer:
    return CudaRenderer(width, height, emulated_device())


def need_device() -> None:
    """Skip a test of marker `gpu` where CUDA cannot draw."""
    reason = available()
    if reason is not None:
        pytest.skip(reason)


class DeviceRenderer:
    """Brings a device's pictures to the host, where the suite compares them."""

    def __init__(self, width: int, height: int) -> None:
        self._renderer = CudaRenderer(width, height)

    def render(self, gaussians: Gaussians, camera: Camera, background: Tensor | None = None) -> RenderOutput:
        drawn = self._renderer.render(gaussians, camera, background)
        return RenderOutput(drawn.rgb.cpu(), drawn.alpha.cpu())
