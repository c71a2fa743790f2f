"""Eyebrows: single hairs that follow the growth of real ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import linear, smoothstep
from render.making.people.gaussians.sampling import BROW, Cloud, cloud, frame_from, samples_at
from render.making.people.head import Head
from render.making.people.person import Person
from render.normals import vertex_normals

Array = NDArray[np.float64]

_HAIRS_PER_SIDE = 620


def front_points(head: Head, xy: Array) -> tuple[NDArray[np.int64], Array]:
    """Triangle and barycentric coordinates of the frontmost skin at canonical (x, y) [N, 2] millimetres."""
    normals = vertex_normals(head.canonical, head.faces)
    faces = head.faces_of("body")
    p = head.canonical[head.faces[faces]]
    faces = faces[(normals[head.faces[faces]].mean(1)[:, 2] > 0.1) & (p[:, :, 2].mean(1) > -75)]
    p = head.canonical[head.faces[faces]]
    a, ab, ac = p[:, 0, :2], p[:, 1, :2] - p[:, 0, :2], p[:, 2, :2] - p[:, 0, :2]
    det = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0] + 1e-12
    face = np.zeros(len(xy), np.int64)
    bary = np.zeros((len(xy), 3))
    for i, q in enumerate(xy):
        d = q - a
        u = (d[:, 0] * ac[:, 1] - d[:, 1] * ac[:, 0]) / det
        v = (ab[:, 0] * d[:, 1] - ab[:, 1] * d[:, 0]) / det
        inside = np.flatnonzero((u > -0.01) & (v > -0.01) & (u + v < 1.01))
        if len(inside):
            k = inside[p[inside, :, 2].mean(1).argmax()]
        else:
            k = ((p[:, :, :2].mean(1) - q) ** 2).sum(1).argmin()
        face[i] = faces[k]
        bary[i] = np.clip([1 - u[k] - v[k], u[k], v[k]], 0, 1)
    return face, bary / bary.sum(1, keepdims=True)


def make_brows(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Two brows; hairs stand up at the inner end, lie along the brow outwards and thin at the tail."""
    parts = []
    count = int(_HAIRS_PER_SIDE * person.brows.density)
    knots = [0, 0.3, 0.65, 1]
    arch = person.brows.arch
    for side, lift in ((1.0, 0.3), (-1.0, -0.3)):
        t = np.sort(rng.random(count) ** 0.9)
        across = np.clip(rng.normal(0, 0.42, count), -1, 1)
        x = 28.9 + np.interp(t, knots, [-18.5, -6, 10, 25.0]) + rng.normal(0, 0.9, count) * (t < 0.15)
        y = np.interp(t, knots, [15.5, 19.0, 19.0 + 3.2 * arch, 18.3 - 0.8 * arch]) + lift + person.brows.lift
        width = person.brows.width * np.interp(t, [0, 0.12, 0.5, 0.8, 1], [3.1, 4.1, 3.5, 2.2, 0.7])
        face, bary = front_points(head, np.c_[side * x, y + across * width])
        s = samples_at(head, face, bary, 1e-3)
        angle = np.interp(t, [0, 0.15, 0.4, 0.7, 1], [82, 55, 30, 2, -26])
        angle = angle - across * np.interp(t, [0, 0.4, 1], [12, 28, 16]) + rng.normal(0, 9, count)
        angle = np.radians(angle)
        along = np.c_[side * np.cos(angle), np.sin(angle), np.zeros(count)]
        length = 1e-3 * np.interp(t, [0, 0.2, 0.7, 1], [1.9, 2.7, 2.6, 1.9]) * rng.uniform(0.75, 1.15, count)
        opacity = np.interp(t, [0, 0.12, 0.35, 0.8, 1], [0.05, 0.20, 0.36, 0.36, 0.20]) * (
            1 - 0.45 * np.abs(across)
        )
        tone = rng.uniform(0.6, 1.35, (count, 1))
        white = (rng.random((count, 1)) < 0.5 * person.hair.grey) * smoothstep(0, 1, rng.random((count, 1)))
        colour = linear(*person.brows.colour) * tone * (1 - white) + linear(190, 188, 184) * white
        parts.append(
            cloud(
                BROW,
                face,
                s.position + s.normal * rng.uniform(0.4e-3, 1.4e-3, (count, 1)),
                frame_from(s.normal, along),
                np.c_[length, np.full(count, 0.22e-3), np.full(count, 0.18e-3)],
                colour,
                opacity,
                s.normal,
                canonical=s.canonical,
            )
        )
    return parts
