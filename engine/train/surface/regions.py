"""Which triangles of a rig are face, hair, eyes or the inside of the mouth, found from the rig alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine.train import kernels
from engine.train.surface.depth_buffer import nearest_triangles_seen
from engine.train.surface.raster import see
from render.camera import Camera
from render.rigs.rig import Rig
from render.rigs.table import RIGS

_MOBILE_M = 1.0e-3  # a vertex that some unit moves further is part of the face
_ORBIT_YAWS_DEG = (-160, -120, -80, -40, 0, 40, 80, 120, 160)
_ORBIT_PITCHES_DEG = (-25, 0, 30)
_LOOKS: tuple[dict[str, float], ...] = (
    {},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
)
_OPEN = {"jawOpen": 0.6}
_INSIDE_GROUPS = ("tongue", "upper_teeth", "lower_teeth")
_LASHES = "lashes"
_SIZE_PX = 384


@dataclass(frozen=True)
class Regions:
    """Masks [F] over a rig's triangles, and how mobile they are."""

    visible: Tensor  # bool: seen from outside with the mouth shut
    face: Tensor  # bool: moved by expressions, and visible
    hair: Tensor  # bool: of the rigid head outside the face: hair may stand off it
    inside: Tensor  # bool: seen through the open mouth only
    outer: Tensor  # bool: the skin that encloses the head: what the field is pretrained on
    body: Tensor  # bool: neck and shoulders
    torso: Tensor  # bool: of the body, what stays while head and neck turn

    def to(self, device: torch.device) -> Regions:
        """The same masks on another device."""
        return Regions(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @classmethod
    def of(cls, rig: Rig) -> Regions:
        """Look at the rig from all around, with the mouth shut and open."""
        mobility = rig.expression_basis.unflatten(-1, (-1, 3)).norm(dim=-1)
        mobile = mobility.amax(0) if len(mobility) else rig.template.new_zeros(rig.num_vertices)
        face = (mobile > _MOBILE_M)[rig.faces].any(1)
        visible = torch.zeros(len(rig.faces), dtype=torch.bool)
        for look in _LOOKS:
            visible |= _seen(rig, look)
        lashes = _in_groups(rig, lambda name: name.endswith(_LASHES))
        inside = _in_groups(rig, lambda name: name in _INSIDE_GROUPS)
        eyes = _in_groups(rig, lambda name: name.endswith("_eye"))
        visible &= ~lashes & ~inside
        inside |= _seen(rig, _OPEN) & ~visible & ~lashes & ~eyes & face
        head = _on_head(rig)
        body = visible & ~face & ~eyes & ~head
        return cls(
            visible=visible,
            face=visible & (face | eyes),
            hair=visible & ~face & ~eyes & head,
            inside=inside,
            outer=visible & ~eyes,
            body=body,
            torso=body & _on_root(rig),
        )


def _seen(rig: Rig, look: dict[str, float]) -> Tensor:
    """Triangles [F] that any of the cameras around the head sees with an expression."""
    params = rig.neutral_params()
    weights = params.expression.clone()
    for name, weight in look.items():
        if name in rig.expression_names:
            weights[rig.expression_names.index(name)] = weight
    vertices = rig(params.replace(expression=weights)).vertices
    low, high = vertices.amin(0), vertices.amax(0)
    target = tuple(((low + high) / 2).tolist())
    distance = 2.5 * float((high - low).amax())
    seen = torch.zeros(len(rig.faces) + 1, dtype=torch.bool)
    for yaw in _ORBIT_YAWS_DEG:
        for pitch in _ORBIT_PITCHES_DEG:
            camera = Camera.orbit(
                target,
                distance_m=distance,
                yaw_deg=yaw,
                pitch_deg=pitch,
                width=_SIZE_PX,
                height=_SIZE_PX,
                vertical_fov_deg=26,
            )
            seen[triangles_seen(vertices, rig.faces, camera).flatten()] = True
    return seen[:-1]


def triangles_seen(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """The nearest triangle of every pixel, int64 [H, W]; -1 where there is none."""
    points = camera.project(vertices.detach())
    if not kernels.take(points):
        return nearest_triangles_seen(points, faces, camera.width, camera.height)
    samples = see(points.numpy(), faces.int().numpy(), camera.width, camera.height)
    return torch.from_numpy(samples.triangle).long()


def _on_head(rig: Rig) -> Tensor:
    """Triangles [F] that turn with the head more than with the neck; all, where the rig has no head joint."""
    if "head" not in rig.joint_names:
        return torch.ones(len(rig.faces), dtype=torch.bool)
    names = [n for n in rig.joint_names if n not in ("root", "neck", "global")]
    share = rig.skin_weights[:, [rig.joint_names.index(n) for n in names]].sum(1)
    return share[rig.faces].mean(1) > 0.5


def _on_root(rig: Rig) -> Tensor:
    """Triangles [F] that follow the root more than any other joint."""
    return rig.skin_weights[:, 0][rig.faces].mean(1) > 0.5


def _in_groups(rig: Rig, wanted: Callable[[str], bool]) -> Tensor:
    """Triangles [F] of named parts; none on rigs whose parts have no names."""
    load_surface = RIGS[rig.kind].surface
    if load_surface is None:
        return torch.zeros(len(rig.faces), dtype=torch.bool)
    surface = load_surface()
    names = [name for name in surface.group_names if wanted(name)]
    return surface.faces_of(rig.faces, *names)
