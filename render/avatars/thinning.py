"""An avatar with fewer Gaussians that looks nearly the same: those that hardly show are left out first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from render.avatars.avatar import Avatar
from render.avatars.bindings import Binding, SkinningBinding, TriangleBinding, VertexBinding
from render.camera import Camera
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.motion import Motion
from render.rotations import quaternion_to_matrix

# The looks that count, each: degrees around the head, what the face does, and how much. A face in a call is
# seen from the front; teeth, tongue and lids must be there when they are needed.
_LOOKS: tuple[tuple[float, dict[str, float], float], ...] = (
    (0.0, {}, 1.0),
    (-30.0, {}, 0.8),
    (30.0, {}, 0.8),
    (-90.0, {}, 0.3),
    (90.0, {}, 0.3),
    (180.0, {}, 0.2),
    (0.0, {"jawOpen": 0.7}, 1.0),
    (0.0, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, 1.0),
    (0.0, {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.2}, 1.0),
)
_CELLS = 256  # along a picture's sides
_POINTS = 8  # of each Gaussian
_AREA_POWER = 0.25  # 1 would leave out eyes and lips first, which are made of the smallest
_NEAREST_M = 0.01
_MOST_GROWTH = 1.5  # of a Gaussian's area


def importance(avatar: Avatar, before_each: Callable[[], None] = lambda: None) -> NDArray[np.float32]:
    """How much each Gaussian counts, [N]: the most of several looks, see `_shown`.

    Takes a second; what `before_each` raises before a look ends it.
    """
    shown = np.zeros(avatar.gaussians.num_gaussians, np.float32)
    for yaw_deg, face, weight in _LOOKS:
        before_each()
        with torch.inference_mode():
            posed = avatar.pose(avatar.params(Motion.of(face)))
        camera = avatar.default_camera(_CELLS, _CELLS, yaw_deg=yaw_deg)
        np.maximum(shown, weight * _shown(posed, camera), out=shown)
    return shown


def thinned(avatar: Avatar, share: float, shown: NDArray[np.float32]) -> Avatar:
    """The avatar with this share, in 0..1, of its Gaussians: the highest of `shown`, see `importance`.

    They grow by the area that is missing. Raises ValueError for a share of 0 or less.
    """
    if share <= 0:
        raise ValueError(f"{share} of the Gaussians is no avatar; the share must be above 0")
    if share >= 1:
        return avatar
    order = np.argsort(-shown, kind="stable")
    kept = np.sort(order[: max(1, round(share * len(order)))])  # the runs of the bindings stay in order
    left = float(shown[kept].sum()) / max(float(shown.sum()), 1e-9)
    return _chosen(avatar, torch.from_numpy(kept), growth=min(1 / max(left, 1e-9), _MOST_GROWTH))


def _shown(posed: Gaussians, camera: Camera) -> NDArray[np.float32]:
    """How much each Gaussian counts in this view, [N]: what is seen of it, and a little its size.

    A Gaussian is taken apart into points, each of which hides what lies behind it in its cell of the picture.
    """
    num = posed.num_gaussians
    noise = torch.randn((_POINTS, 1, 3), generator=torch.Generator().manual_seed(0))
    scales = posed.scales()
    spread = torch.nn.functional.pad(scales, (0, 3 - scales.shape[1]))  # surfels are flat
    turned = ((noise * spread)[..., None, :] * quaternion_to_matrix(posed.quats)).sum(-1)
    view = camera.world_to_camera
    x, y, z = ((posed.means + turned) @ view[:3, :3].T + view[:3, 3]).reshape(-1, 3).numpy().T
    seen = z > _NEAREST_M
    depth = np.where(seen, z, 1.0)
    axes = np.sort(scales.numpy(), 1)[:, -2:]
    area = 2 * math.pi * axes.prod(1) * camera.fx * camera.fy / depth.reshape(_POINTS, num) ** 2
    column = np.floor(camera.fx * x / depth + camera.cx).astype(np.int64)
    row = np.floor(camera.fy * y / depth + camera.cy).astype(np.int64)
    seen &= (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    cell = np.where(seen, row * camera.width + column, -1)
    order = np.argsort(cell + depth / (depth.max() + 1))  # by cell, within it from the front
    # what a cell lets by falls with all that was laid into it before: e to the minus sum of optical depths
    opacity = posed.opacities().numpy()
    laid = (-np.log1p(-np.minimum(opacity, 0.99)) * np.minimum(area / _POINTS, 1.0)).reshape(-1)
    laid = np.where(seen, laid, 0.0)[order]
    before = np.cumsum(laid) - laid
    first = np.r_[True, np.diff(cell[order]) != 0]
    before -= before[np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))]
    let_by = np.zeros(len(cell), np.float32)
    let_by[order] = np.exp(-before)
    let_by[~seen] = 0
    visible = let_by.reshape(_POINTS, num).mean(0) * opacity
    return np.asarray(visible * area[0] ** _AREA_POWER, np.float32)


def _chosen(avatar: Avatar, kept: torch.Tensor, growth: float) -> Avatar:
    """The avatar with only the Gaussians `kept` [K], in rising order; their areas grow by `growth`."""
    gaussians = avatar.gaussians.chosen(kept)
    gaussians = replace(gaussians, log_scales=gaussians.log_scales + 0.5 * math.log(growth))
    bindings, start = [], 0
    for binding in avatar.bindings:
        rows = kept[(kept >= start) & (kept < start + binding.num_gaussians)] - start
        start += binding.num_gaussians
        if len(rows):
            bindings.append(_bound(binding, rows))
    deformation = avatar.deformation
    if deformation is not None:
        deformation = _moving(deformation, kept, avatar.gaussians.num_gaussians)
    return avatar.replace(
        gaussians=gaussians,
        bindings=tuple(bindings),
        deformation=deformation,
        framing=avatar.framing or avatar.portrait,
    )


def _bound(binding: Binding, rows: torch.Tensor) -> Binding:
    if isinstance(binding, TriangleBinding):
        return TriangleBinding(binding.face_index[rows])
    if isinstance(binding, VertexBinding):
        return VertexBinding(binding.vertex_index[rows], binding.rotates)
    basis = binding.expression_basis
    if basis is not None:
        basis = basis.unflatten(-1, (-1, 3))[:, rows].flatten(1)
    return SkinningBinding(binding.weights[rows], basis)


def _moving(deformation: Deformation, kept: torch.Tensor, num: int) -> Deformation:
    """The deformation of the Gaussians that are kept, of `num`."""
    place = torch.full((num,), -1, dtype=torch.int64)
    place[kept] = torch.arange(len(kept))
    places = place[deformation.indices]
    rows = torch.nonzero(places >= 0)[:, 0]
    deltas: dict[str, Any] = {
        name: delta[:, rows].contiguous() for name, delta in deformation.deltas().items()
    }
    return replace(deformation, indices=places[rows], **deltas)
