"""How alike the pictures of the CUDA back end and of the CPU renderer are, on avatars people use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.demo_motion import LOOP_S, demo_moment
from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.cpu.backend import CpuBackend
from render.cuda.backend import CudaBackend
from render.drawing import Backend, Drawer
from render.rigs.params import RigParams

SIZE = 512
MOMENTS = 12  # of the built-in motion
VIEWS_DEG = (0.0, 30.0)
BACKGROUND = (0.85, 0.86, 0.89)
EQUAL_DB = 100.0  # stands for equal bytes


def agreement() -> dict[str, dict[str, float]]:
    """`{avatar: {"least_psnr_db", "median_psnr_db", "largest_step"}}` of 8-bit pictures of a moving avatar.

    The default avatar, and with VISAVIS_TESTDATA set the LAM head.
    """
    return {avatar.name: compare(avatar) for avatar in _avatars()}


def compare(avatar: Avatar) -> dict[str, float]:
    """Both back ends draw the same moments of the built-in motion from the front and the side."""
    drawers: list[tuple[Backend, Drawer]] = [
        (backend, backend.drawer(SIZE, SIZE)) for backend in (CpuBackend(), CudaBackend())
    ]
    psnr, steps = [], []
    try:
        for params in motion(avatar):
            for yaw_deg in VIEWS_DEG:
                camera = avatar.default_camera(SIZE, SIZE, yaw_deg=yaw_deg)
                ours, theirs = (
                    drawer.render_rgb8(backend.pose(avatar, params), camera, BACKGROUND)
                    for backend, drawer in drawers
                )
                psnr.append(psnr_db(ours, theirs))
                steps.append(int(np.abs(ours.astype(int) - theirs).max()))
    finally:
        for _, drawer in drawers:
            drawer.close()
    return {
        "least_psnr_db": round(min(psnr), 2),
        "median_psnr_db": round(float(np.median(psnr)), 2),
        "largest_step": max(steps),
    }


def motion(avatar: Avatar) -> Iterator[RigParams]:
    """Moments spread over the built-in motion."""
    for i in range(MOMENTS):
        yield avatar.params(demo_moment(i * LOOP_S / MOMENTS))


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal to noise of two 8-bit pictures."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return EQUAL_DB if error == 0 else 10 * math.log10(255**2 / error)


def _avatars() -> Iterator[Avatar]:
    yield open_avatar(DEFAULT_AVATAR)
    if "VISAVIS_TESTDATA" in os.environ:
        from render.importers.lam import import_lam

        yield import_lam(Path(os.environ["VISAVIS_TESTDATA"]) / "avatars" / "lam_p2-1")
