"""A person as a fine textured mesh that follows the built-in head's rig, with strands of hair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.making.people.features import find_features
from render.making.people.fields import mix, smoothstep
from render.making.people.head import rig_reference
from render.making.people.light import DRY_WRAP, FLESH_WRAP
from render.making.people.mesh.coat import Coat, eye_directions, make_coat
from render.making.people.mesh.hair import Strands, cap_colour, cap_mm, make_strands
from render.making.people.mesh.surface import FineMesh, fine_mesh
from render.making.people.person import Person
from render.normals import vertex_normals
from render.rigs.head import load_head, load_head_surface
from render.rigs.rig import Rig

Array = NDArray[Any]  # float32; NumPy's stubs lose that in arithmetic


@dataclass(frozen=True)
class TexturedMesh:
    """Everything the rig cannot express: V vertices of the rig, N fine ones."""

    rig: Rig
    fine: FineMesh
    coat: Coat  # its wrinkles; the rest of it lies under the hair below
    cap_mm: Array  # [N] thickness of the hair
    coarse_cap_mm: Array  # [V] likewise
    relief_mm: Array  # [N] along the normal, at rest
    albedo: Array  # [N, 3] linear
    shine: Array  # [N]
    gloss: Array  # [N]
    wrap: Array  # [N, 3]
    strands: Strands
    roots: NDArray[np.int64]  # fine vertex under each of the strands' vertices


def canonical_mm(rig: Rig) -> NDArray[np.float64]:
    """Coordinates [V, 3] of the average head's vertices, millimetres from the midpoint of the eyes."""
    joints = rig.joints_template[[rig.joint_names.index(n) for n in ("left_eye", "right_eye")]]
    return np.asarray(1e3 * (rig.template - joints.mean(0)).double().numpy())


def make_mesh(person: Person, landmarks: NDArray[np.float64]) -> TexturedMesh:
    """The mesh of one person, in 2 s; `landmarks` [478, 3] are MediaPipe's on the average head, canonical."""
    average, surface = load_head(), load_head_surface()
    rig = rig_reference(person.shape).rebuild(average)
    fine = fine_mesh(average, surface)
    body = (surface.vertex_group == surface.group_names.index("body")).numpy()
    coarse = canonical_mm(average)
    canonical = fine.at(coarse.astype(np.float32)).astype(float)
    features = find_features(person, canonical, landmarks)
    rest = rig.template.numpy()
    rest_normals = vertex_normals(rest, rig.faces.numpy().astype(np.int32))
    points = fine.curved(rest, rest_normals)
    joints = rig.joints_template.double().numpy()
    centres = {name: joints[rig.joint_names.index(name)] for name in ("left_eye", "right_eye")}
    coat = make_coat(person, fine, canonical, features, eye_directions(points.astype(float), centres, fine))
    skin = fine.of("body")
    cap = cap_mm(person, canonical, features) * skin
    coarse_cap = cap_mm(person, coarse, find_features(person, coarse, landmarks)) * body
    haired = smoothstep(0.5, 4.0, cap)
    fleshy = skin & (haired < 0.5) & (features.cloth < 0.5)
    strands = make_strands(
        person,
        points[skin].astype(float),
        fine.at(rest_normals)[skin].astype(float),
        canonical[skin],
        features.scalp_depth[skin],
        cap[skin],
    )
    return TexturedMesh(
        rig=rig,
        fine=fine,
        coat=coat,
        cap_mm=cap.astype(np.float32),
        coarse_cap_mm=coarse_cap.astype(np.float32),
        relief_mm=(coat.relief_mm * (1 - haired)).astype(np.float32),
        albedo=mix(coat.albedo, cap_colour(person, canonical), haired).astype(np.float32),
        shine=(coat.shine * (1 - 0.7 * haired)).astype(np.float32),
        gloss=coat.gloss.astype(np.float32),
        wrap=np.where(fleshy[:, None], FLESH_WRAP, DRY_WRAP).astype(np.float32),
        strands=strands,
        roots=np.flatnonzero(skin)[strands.root],
    )
