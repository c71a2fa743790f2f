"""Gaussians of a scene -> splats of a picture, in torch: differentiable, readable, on any device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from render.camera import Camera
from render.gaussians import Gaussians
from render.rotations import quaternion_to_matrix
from render.sh import evaluate_sh
from render.splatting import ALPHA_MIN, LOW_PASS_PX2, NEAR_M, SURFEL_LOW_PASS_PX2, jacobian_limits


@dataclass(frozen=True)
class Splats:
    """What is visible of a set of Gaussians in one picture, front to back."""

    means_px: Tensor  # [M, 2] projected means
    shapes: Tensor  # 3D: conics xx, xy, yy [M, 3], 1/px^2; 2D: surfel-to-picture homographies [M, 3, 3]
    opacities: Tensor  # [M] after the low-pass rule
    colours: Tensor  # [M, 3]
    depths: Tensor  # [M] metres along the camera axis
    normals: Tensor  # [M, 3] unit, camera axes, facing the camera
    low_px: Tensor  # [M, 2] smallest box with every pixel centre of alpha >= ALPHA_MIN
    high_px: Tensor  # [M, 2]
    is_surfel: bool

    def take(self, index: Tensor) -> Splats:
        """A subset or a reordering by a mask or by indices."""
        names = ("means_px", "shapes", "opacities", "colours", "depths", "normals", "low_px", "high_px")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def squared_distances(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """rho of render/splatting.py and the depth in metres at pixel centres [P, 2] -> [P, M] each."""
        offsets = pixels[:, None] - self.means_px
        if not self.is_surfel:
            (a, b, c), (dx, dy) = self.shapes.unbind(1), offsets.unbind(-1)
            rho = a * dx * dx + 2 * b * dx * dy + c * dy * dy
            return rho, self.depths.expand_as(rho)
        # A pixel is two planes through the camera; the point (u, v, 1) on both is orthogonal to k and l.
        row_u, row_v, row_w = self.shapes.unbind(-2)
        k = pixels[:, None, 0:1] * row_w - row_u
        l = pixels[:, None, 1:2] * row_w - row_v  # noqa: E741
        point = torch.linalg.cross(k, l)
        parallel = point[..., 2].abs() < 1e-20  # to the ray, or a surfel of no size
        w = torch.where(parallel, 1, point[..., 2])
        u, v = point[..., 0] / w, point[..., 1] / w
        in_plane = u * u + v * v
        on_screen = (offsets * offsets).sum(-1) / SURFEL_LOW_PASS_PX2
        meets = ~parallel & (in_plane <= on_screen)
        at_ray = u * row_w[:, 0] + v * row_w[:, 1] + row_w[:, 2]
        return torch.where(meets, in_plane, on_screen), torch.where(meets, at_ray, self.depths)


def project(gaussians: Gaussians, camera: Camera) -> tuple[Splats, Tensor]:
    """Visible splats of a camera, sorted front to back, and the projected means [N, 2] of all Gaussians.

    The splats are made from those means; a Gaussian that has none has zeros there. render/splatting.py states
    every rule used.
    """
    g = gaussians
    to_camera = camera.world_to_camera.to(g.means)
    rotation, position = to_camera[:3, :3], to_camera[:3, 3]
    means = g.means @ rotation.T + position
    usable = (
        torch.cat(
            [means, g.quats, g.scales(), g.opacities()[:, None], g.sh.flatten(1)]
            + ([] if g.sh_quats is None else [g.sh_quats]),
            1,
        )
        .isfinite()
        .all(1)
    )
    usable &= (means[:, 2] >= NEAR_M) & ((g.quats * g.quats).sum(1) > 1e-20)
    g = _take(g, usable)
    means = means[usable]
    x, y, z = means.unbind(1)

    axes = rotation @ quaternion_to_matrix(g.quats)  # columns: local axes in camera axes
    scales = g.scales()
    means_px = torch.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], 1)
    all_px = means_px.new_zeros(len(usable), 2).index_put((usable,), means_px)
    means_px = all_px[usable]  # drawn from the result, so that its gradient is the screen gradient
    jacobian = _jacobian(means, camera)
    spread = (
        jacobian @ axes[:, :, : scales.shape[1]] * scales[:, None]
    )  # [M, 2, 2 or 3] px per standard deviation
    normal = axes.gather(2, scales.argmin(1)[:, None, None].expand(-1, 3, 1))[..., 0]
    if g.is_surfel:
        normal = axes[:, :, 2]
    facing = torch.where((normal * means).sum(1, keepdim=True) > 0, -1.0, 1.0)

    before, after, covariance = _low_pass(spread, g.is_surfel)
    opacities = g.opacities()
    if g.antialiased:
        opacities = opacities * (before / after)
    radius2 = 2 * (opacities.detach() / ALPHA_MIN).log()  # rho at the rim of the visible part
    visible = radius2 > 0
    if g.is_surfel:
        shapes, low, high, whole = _surfel_shapes(axes, scales, means, means_px, radius2, camera)
        visible &= whole
    else:
        shapes = _conics(covariance, after)
        extent = (radius2.clamp_min(0)[:, None] * torch.diagonal(covariance, dim1=1, dim2=2)).sqrt().detach()
        low, high = means_px.detach() - extent, means_px.detach() + extent
    visible &= (high >= 0.5).all(1) & (low[:, 0] <= camera.width - 0.5) & (low[:, 1] <= camera.height - 0.5)
    visible &= torch.cat([low, high, shapes.flatten(1), opacities[:, None]], 1).isfinite().all(1)

    directions = torch.nn.functional.normalize(g.means - camera.position().to(g.means), dim=1)
    if g.sh_quats is not None:
        directions = (directions[:, None] @ quaternion_to_matrix(g.sh_quats))[:, 0]  # d @ R is R^-1 d
    colours = (evaluate_sh(g.sh, directions) + 0.5).clamp_min(0)
    splats = Splats(means_px, shapes, opacities, colours, z, normal * facing, low, high, g.is_surfel)
    splats = splats.take(visible)
    return splats.take(torch.argsort(splats.depths.detach(), stable=True)), all_px


def _take(g: Gaussians, mask: Tensor) -> Gaussians:
    sh_quats = None if g.sh_quats is None else g.sh_quats[mask]
    return Gaussians(
        g.means[mask],
        g.quats[mask],
        g.log_scales[mask],
        g.logit_opacities[mask],
        g.sh[mask],
        sh_quats,
        g.antialiased,
    )


def _jacobian(means: Tensor, camera: Camera) -> Tensor:
    """Of the pixel with respect to the camera-axes mean, [M, 2, 3]."""
    x, y, z = means.unbind(1)
    tan_x = (x / z).clamp(*jacobian_limits(camera.width, camera.fx, camera.cx))
    tan_y = (y / z).clamp(*jacobian_limits(camera.height, camera.fy, camera.cy))
    zero = torch.zeros_like(z)
    rows = [camera.fx / z, zero, -camera.fx * tan_x / z, zero, camera.fy / z, -camera.fy * tan_y / z]
    return torch.stack(rows, 1).unflatten(1, (2, 3))


def _low_pass(spread: Tensor, is_surfel: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Footprint areas before and after the low-pass [M], and the low-passed 3D covariance [M, 2, 2] px^2.

    det(spread spread^T) is summed from squared 2x2 minors (Cauchy-Binet), because a c - b^2 loses everything
    for the long thin Gaussians that hair is made of.
    """
    row_x, row_y = spread.unbind(1)
    xx, yy, xy = (row_x * row_x).sum(1), (row_y * row_y).sum(1), (row_x * row_y).sum(1)
    if is_surfel:
        det = (row_x[:, 0] * row_y[:, 1] - row_x[:, 1] * row_y[:, 0]) ** 2
        f = SURFEL_LOW_PASS_PX2
        root = ((0.5 * (xx - yy)) ** 2 + xy * xy + 1e-20).sqrt()  # 1e-20: a finite gradient for round splats
        large = 0.5 * (xx + yy) + root
        small = det / large.clamp_min(1e-20)
        after = large.clamp_min(f) * small.clamp_min(f)
        covariance = spread @ spread.mT
    else:
        det = (torch.linalg.cross(row_x, row_y) ** 2).sum(1)
        after = det + LOW_PASS_PX2 * (xx + yy) + LOW_PASS_PX2**2
        covariance = spread @ spread.mT + LOW_PASS_PX2 * torch.eye(2).to(spread)
    return (det + 1e-20).sqrt(), after.sqrt(), covariance


def _conics(covariance: Tensor, area: Tensor) -> Tensor:
    """Inverses [M, 3] of symmetric matrices [M, 2, 2] whose determinants are `area` squared."""
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    return torch.stack([c, -b, a], 1) / (area * area)[:, None]


def _surfel_shapes(
    axes: Tensor, scales: Tensor, means: Tensor, means_px: Tensor, radius2: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Homographies [M, 3, 3], box corners [M, 2] twice, and which surfels lie wholly before the camera."""
    in_camera = torch.cat([axes[:, :, :2] * scales[:, None], means[:, :, None]], 2)
    x, y, w = in_camera.unbind(1)
    # Less the mean's multiple of w, and with it again: so the mean in the picture carries the whole surfel.
    screen = torch.stack([camera.fx * x, camera.fy * y], 1)
    screen = screen - (screen[:, :, 2] / w[:, None, 2])[:, :, None] * w[:, None]
    screen = screen + means_px[:, :, None] * w[:, None]
    homographies = torch.cat([screen, w[:, None]], 1)
    rows = homographies.detach()
    metric = torch.stack([radius2, radius2, -torch.ones_like(radius2)], 1)
    row_w = rows[:, 2]
    # u^2 + v^2 = radius^2 projects to a bounded ellipse only while this is negative (2DGS, section 4.2).
    plane = (metric * row_w * row_w).sum(1)
    weights = metric / plane[:, None]
    centre = (weights[:, None] * rows[:, :2] * row_w[:, None]).sum(2)
    extent = (centre * centre - (weights[:, None] * rows[:, :2] ** 2).sum(2)).clamp_min(0).sqrt()
    disc = (radius2.clamp_min(0) * SURFEL_LOW_PASS_PX2).sqrt()[:, None]
    low = torch.minimum(centre - extent, means_px.detach() - disc)
    high = torch.maximum(centre + extent, means_px.detach() + disc)
    return homographies, low, high, plane < 0
