"""Which renderer trains on which device."""

from __future__ import annotations

import torch

from render.renderer import Renderer


def training_renderer(
    device: torch.device | str, width: int, height: int, *, geometry: bool = True
) -> Renderer:
    """The differentiable renderer of a device, for pictures of one size: numba on a CPU, gsplat on a GPU.

    `geometry=False`: depth, normals and distortion are not needed, which saves time on a CPU.
    Raises GsplatError when the GPU's cannot run, ValueError for another kind of device: what is asked for
    runs or fails, nothing is drawn elsewhere.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        from render.cpu.gradients.renderer import CpuTrainingRenderer

        return CpuTrainingRenderer(width, height, geometry=geometry)
    if kind == "cuda":
        from render.gsplat.renderer import GsplatRenderer

        return GsplatRenderer(device)
    raise ValueError(f"training runs on cpu or cuda, not on {kind}")
