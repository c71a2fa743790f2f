"""A person as a fine textured mesh that follows the built-in head's rig, with strands of hair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.making.people.features import find_features
from render.making.people.head import rig_reference
from render.making.people.mesh.coat import Coat, make_coat
from render.making.people.mesh.hair import Strands, cap_mm, make_strands
from render.making.people.mesh.surface import FineMesh, fine_mesh
from render.making.people.person import Person
from render.normals import vertex_normals
from render.rigs.head import load_head, load_head_surface
from render.rigs.rig import Rig

Array = NDArray[Any]  # float32 and float64


@dataclass(frozen=True)
class TexturedMesh:
    """The rig, and everything that it cannot express."""

    rig: Rig
    fine: FineMesh
    coat: Coat
    coarse_cap_mm: Array  # [V] thickness of the hair over the rig's own vertices
    strands: Strands


def canonical_mm(rig: Rig) -> Array:
    """Coordinates [V, 3] of the average head's vertices, millimetres from the midpoint of the eyes."""
    joints = rig.joints_template[[rig.joint_names.index(n) for n in ("left_eye", "right_eye")]]
    return np.asarray(1e3 * (rig.template - joints.mean(0)).double().numpy())


def make_mesh(person: Person, landmarks: Array) -> TexturedMesh:
    """The mesh of one person, in 2 s; `landmarks` [478, 3] are MediaPipe's on the average head, canonical."""
    average, surface = load_head(), load_head_surface()
    rig = rig_reference(person.shape).rebuild(average)
    fine = fine_mesh(average, surface)
    coarse = canonical_mm(average)
    canonical = fine.at(coarse.astype(np.float32)).astype(float)
    features = find_features(person, canonical, landmarks)
    rest = rig.template.numpy()
    normals = vertex_normals(rest, rig.faces.numpy().astype(np.int32))
    points = fine.curved(rest, normals).astype(float)
    centres = dict(zip(rig.joint_names, rig.joints_template.double().numpy(), strict=True))
    eyes = {part: points[fine.of(part)] - centres[part] for part in ("left_eye", "right_eye")}
    coat = make_coat(person, fine, canonical, features, eyes)
    body = (surface.vertex_group == surface.group_names.index("body")).numpy()
    coarse_cap = cap_mm(person, coarse, find_features(person, coarse, landmarks)) * body
    strands = make_strands(person, fine, points, fine.at(normals).astype(float), canonical, features)
    return TexturedMesh(rig, fine, coat, coarse_cap.astype(np.float32), strands)
