"""One person's head mesh: identity from MakeHuman targets, with canonical coordinates to paint in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from render.making import make_head, makehuman
from render.making.people.fields import unit

Array = NDArray[np.float64]

_MASK_SIZE = 1024


@dataclass(frozen=True)
class Head:
    """Geometry of one person, in the rig's axes.

    `canonical` are the average adult's coordinates of the same vertices, in millimetres from the midpoint of
    the eyes: what is painted there sits on the same feature of every face (eyes at x = +-28.9, nose tip at
    (0, -36, 42), lips' seam at y = -66, chin at y = -100, crown at y = 106, ears at x = +-75).
    """

    vertices: Array  # [V, 3] metres
    joints: Array  # [J, 3] metres
    faces: NDArray[np.int64]  # [F, 3]
    uv: Array  # [F, 3, 2]
    face_group: NDArray[np.str_]  # [F] name of the part
    canonical: Array  # [V, 3] millimetres
    units: dict[str, Array]  # name -> [V, 3] metres

    def posed(self, weights: dict[str, float]) -> Array:
        """Vertices [V, 3] with face units added; a name ending in `@` means Left and Right."""
        vertices = self.vertices.copy()
        for name, weight in weights.items():
            for side in ("Left", "Right") if name.endswith("@") else ("",):
                vertices += weight * self.units[name.rstrip("@") + side]
        return vertices

    def faces_of(self, *groups: str) -> NDArray[np.int64]:
        """Indices of the triangles of the named parts."""
        return np.flatnonzero(np.isin(self.face_group, groups))

    def eye(self, side: str) -> tuple[Array, float]:
        """Centre [3] and radius of the `left` or `right` eyeball, metres."""
        return make_head.fit_sphere(self.vertices[np.unique(self.faces[self.faces_of(f"{side}_eye")])])

    @property
    def eye_midpoint(self) -> Array:
        return np.asarray(self.joints[4:6].mean(0))


def build_head(targets: dict[str, float]) -> Head:
    """The head that weighted MakeHuman targets make of the base mesh; `@` in a name means both sides."""
    top = make_head.topology()
    placed = make_head.place(makehuman.combine_targets(targets))
    average = make_head.place(makehuman.combine_targets(make_head.AVERAGE_ADULT))
    names, basis = make_head.expression_units()
    group_names = np.array(list(make_head.GROUPS.values()))
    return Head(
        vertices=placed.vertices,
        joints=placed.joints,
        faces=top.faces,
        uv=top.uv,
        face_group=group_names[top.vertex_group[top.faces[:, 0]]],
        canonical=1e3 * (average.vertices - average.joints[4:6].mean(0)),
        units=dict(zip(names, basis, strict=True)),
    )


def vertex_normals(vertices: Array, faces: NDArray[np.int64]) -> Array:
    """Area-weighted unit normals [V, 3]."""
    p = vertices[faces]
    face_normals = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals)
    return unit(normals)


@cache
def _mask_picture(name: str, blur_px: float) -> Array:
    from PIL import Image, ImageFilter

    path = makehuman.data_folder() / f"mpfb2/textures/mpfb_{name}.jpg"
    picture = Image.open(path).convert("L").resize((_MASK_SIZE, _MASK_SIZE), Image.Resampling.BOX)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(blur_px)), float) / 255


def mask(name: str, uv: Array, blur_px: float = 0.0) -> Array:
    """MakeHuman's region masks (`lips`, `eyelids`, `ears`, `inside-mouth`, `face`) at uv [N, 2], 0..1."""
    picture = _mask_picture(name, blur_px)
    column = np.clip((uv[:, 0] * _MASK_SIZE).astype(int), 0, _MASK_SIZE - 1)
    row = np.clip(((1 - uv[:, 1]) * _MASK_SIZE).astype(int), 0, _MASK_SIZE - 1)
    return np.asarray(picture[row, column])
