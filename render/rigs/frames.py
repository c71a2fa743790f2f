"""Local frames of mesh triangles, as GaussianAvatars binds its Gaussians to them."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-20  # squared metres; as in the published code, keeps a collapsed triangle finite


def _length(vector: Tensor) -> Tensor:
    return (vector * vector).sum(-2, keepdim=True).clamp_min(_EPSILON).sqrt()


def _cross(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, az), (bx, by, bz) = a.unbind(-2), b.unbind(-2)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -2)


def triangle_frames(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation, scale and centre of every triangle.

    `vertices` [..., V, 3] metres, `faces` [F, 3]. Returns `rotation` [..., F, 3, 3], local to world, whose
    columns are the unit edge v0-v1, the unit normal and edge x normal; `scale` [..., F] metres, the mean of
    that edge's length and of the third corner's distance from it; `centre` [..., F, 3], the mean corner.
    A collapsed triangle gives finite values and zero columns, never NaN.
    Source: S. Qian et al., "GaussianAvatars", 2024, section 3.2, and `compute_face_orientation` of its code.
    """
    # Coordinates lie in planes [..., 3, F] while computing: three times faster on a CPU than rows of three.
    planes = vertices.transpose(-1, -2).contiguous()
    v0, v1, v2 = (planes.index_select(-1, corner) for corner in faces.unbind(-1))
    first, second = v1 - v0, v2 - v0
    length = _length(first)
    edge = first / length
    normal = _cross(edge, second)
    normal = normal / _length(normal)
    third = _cross(edge, normal)
    height = (third * second).sum(-2).abs()
    rotation = torch.stack([edge, normal, third], -2).movedim(-1, -3)
    centre = ((v0 + v1 + v2) / 3).transpose(-1, -2)
    return rotation, (length.squeeze(-2) + height) / 2, centre
