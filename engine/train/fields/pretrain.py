"""Fits a signed distance field to a coarse mesh before anything is seen of the person."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.progress import Over, unshown
from engine.train.data.devices import sent
from engine.train.fields.mesh_distance import signed_distance
from engine.train.fields.sdf import SignedDistanceField
from engine.train.losses.masked import mean_where


@dataclass(frozen=True)
class PretrainConfig:
    """Steps, samples and rates of the fit to the rig's mesh."""

    steps: int = 300
    num_points: int = 12_000  # distances asked of the mesh, once
    batch: int = 3000
    rate: float = 5e-3
    spread_m: float = 0.012  # of the samples near the surface
    eikonal: float = 0.1
    normal: float = 0.1  # weight of the normals at the surface


def pretrain(
    field: SignedDistanceField,
    vertices: Tensor,
    faces: Tensor,
    config: PretrainConfig,
    seed: int = 0,
    over: Over = unshown,
) -> float:
    """Fit `field` to the mesh [V, 3], [F, 3]; returns the mean error near the surface at the end, metres.

    The mesh and its distances stay on the CPU; the field may be elsewhere.
    """
    device = field.centre.device
    generator = torch.Generator().manual_seed(seed)
    near_count = config.num_points * 3 // 4
    surface, normals = sample_surface(vertices, faces, near_count, generator)
    offset = torch.randn(near_count, 1, generator=generator) * config.spread_m
    near = surface + normals * offset
    scale = float(field.half_side)
    anywhere = torch.rand(config.num_points // 4, 3, generator=generator) * 2 - 1
    points = torch.cat([near, field.centre.cpu() + anywhere * scale])
    distances = signed_distance(points, vertices, faces).to(device)
    points, surface, normals = points.to(device), surface.to(device), normals.to(device)
    optimiser = torch.optim.Adam(field.parameters(), lr=config.rate, eps=1e-12, fused=True)
    error = distances.new_zeros(())
    for step in over(range(config.steps), "fit the field to the head", config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.rate * 0.1 ** (step / config.steps)
        pick = sent(torch.randint(len(points), (config.batch,), generator=generator), device)
        on = sent(torch.randint(near_count, (config.batch // 2,), generator=generator), device)
        sample = field(torch.cat([points[pick], surface[on]]), 1)
        assert sample.gradient is not None
        away = (sample.distance[: config.batch] - distances[pick]).abs()
        at = sample.distance[config.batch :].abs()
        slope = (sample.gradient.norm(dim=1) - 1).square().mean()
        facing = (sample.gradient[config.batch :] - normals[on]).square().sum(1).mean()
        loss = (away.mean() + at.mean()) / scale + config.eikonal * slope + config.normal * facing
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        error = mean_where(away.detach(), pick < near_count)
    return float(error)


def sample_surface(
    vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Points [N, 3] uniform on a mesh and their triangles' unit normals [N, 3]."""
    corners = vertices[faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = cross.norm(dim=1)
    face = torch.multinomial(area, count, replacement=True, generator=generator)
    weights = random_barycentric(count, generator).to(vertices)
    normals = cross[face] / area[face, None].clamp_min(1e-20)
    return (corners[face] * weights[..., None]).sum(1), normals


def random_barycentric(count: int, generator: torch.Generator) -> Tensor:
    """Weights [N, 3] of points uniform in a triangle."""
    a, b = torch.rand(2, count, generator=generator)
    flip = a + b > 1
    a, b = torch.where(flip, 1 - a, a), torch.where(flip, 1 - b, b)
    return torch.stack([1 - a - b, a, b], 1)
