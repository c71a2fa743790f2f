"""Hair: guide strands grown from the scalp, drawn as chains of long thin Gaussians.

Everything here works in millimetres from the midpoint of the person's eyes; hair is rigid with the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people.features import above_hairline, mask
from render.making.people.fields import fbm, linear, mix, smoothstep, unit, value_noise
from render.making.people.gaussians.eyes import still_faces
from render.making.people.gaussians.sampling import (
    HAIR,
    Cloud,
    Samples,
    cloud,
    frame_from,
    nearest_face,
    poisson_samples,
)
from render.making.people.head import Head
from render.making.people.person import Person
from render.normals import vertex_normals

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scalp:
    """Roots of the hair and the surface that strands must stay outside of."""

    root: Array  # [K, 3] millimetres
    normal: Array  # [K, 3]
    canonical: Array  # [K, 3]
    height: Array  # [K] canonical millimetres above the hairline
    skin_points: Array  # [Q, 3]
    skin_normals: Array  # [Q, 3]
    tree: cKDTree

    def outside(
        self, points: Array, clearance: Array | float, reach: float = 60.0, most: float = 25.0
    ) -> Array:
        """Points pushed out along the skin's normal until they are `clearance` above it."""
        distance, near = self.tree.query(points, k=4)
        weight = (1 / (distance + 1))[:, :, None]
        base = (self.skin_points[near] * weight).sum(1) / weight.sum(1)
        normal = unit((self.skin_normals[near] * weight).sum(1))
        signed = ((points - base) * normal).sum(1)
        push = np.where((distance[:, 0] < reach) & (signed > -80), np.clip(clearance - signed, 0, most), 0)
        return np.asarray(points + push[:, None] * normal)


def make_scalp(
    head: Head, person: Person, spacing_mm: float, rng: np.random.Generator, jitter: float = 3.0
) -> Scalp:
    """Roots about `spacing_mm` apart over everything above the hairline."""
    faces = head.faces_of("body")
    centre = head.canonical[head.faces[faces]].mean(1)
    above = (above_hairline(centre, person.hair) > -10) & (centre[:, 1] > -78)
    s: Samples = poisson_samples(head, faces[above], 1e-3 * spacing_mm, rng)
    height = above_hairline(s.canonical, person.hair)
    keep = height + jitter * value_noise(s.canonical, 0.06, 140) + 0.6 * jitter * rng.normal(size=len(s)) > 0
    keep &= mask("ears", s.uv) < 0.3
    s, height = s.where(keep), height[keep]
    origin = head.eye_midpoint
    skin = faces[centre[:, 1] > -270]
    normals = vertex_normals(head.vertices, head.faces)
    points = np.r_[head.vertices[head.faces[skin]].mean(1), head.vertices[head.faces[skin]].reshape(-1, 3)]
    directions = np.r_[unit(normals[head.faces[skin]].mean(1)), normals[head.faces[skin]].reshape(-1, 3)]
    points = 1e3 * (points - origin)
    return Scalp(
        1e3 * (s.position - origin), s.normal, s.canonical, height, points, directions, cKDTree(points)
    )


def strand_colours(person: Person, root: Array, rng: np.random.Generator) -> Array:
    """Linear colour [K, 3] of each strand: locks of light and dark, single strands, white ones."""
    lock = value_noise(root, 0.07, 180)
    tone = 1 + 0.20 * lock + 0.18 * rng.normal(size=len(root)) + 0.10 * fbm(root, 0.02, 181)
    light = np.clip(0.20 + 0.45 * smoothstep(0.1, 0.6, value_noise(root, 0.09, 182)), 0, 1)
    light = np.clip(light + 0.12 * rng.normal(size=len(root)), 0, 1)
    colour = mix(linear(*person.hair.dark), linear(*person.hair.light), light)
    white = rng.random(len(root)) < person.hair.grey
    bright = 0.42 + 0.33 * smoothstep(50, 85, root[:, 1])  # short hair at the sides mixes to an even grey
    colour = np.where(white[:, None], mix(colour, linear(206, 205, 202), bright), colour)
    return np.asarray(np.clip(colour * np.maximum(tone, 0.3)[:, None], 0.003, 1))


def strands_to_cloud(
    head: Head,
    points: Array,
    drawn: NDArray[np.bool_],
    colour: Array,
    width: Array,
    opacity: Array,
    *,
    overlap: float = 0.55,
) -> Cloud:
    """Chains [K, S, 3] (millimetres) as one Gaussian per drawn segment [K, S-1].

    `colour` [K, S-1, 3], `width` [K, S-1] millimetres, `opacity` [K, S-1].
    """
    step = np.diff(points, axis=1)
    middle = 0.5 * (points[:, 1:] + points[:, :-1])
    length = np.linalg.norm(step, axis=2)
    along = step / np.maximum(length, 1e-6)[:, :, None]
    outwards = unit((middle - [0.0, 1.5, -89.5]) * [1, 0.8, 1])
    outwards = unit(outwards - (outwards * along).sum(2, keepdims=True) * along)
    world = head.eye_midpoint + 1e-3 * middle[drawn]
    return cloud(
        HAIR,
        nearest_face(head, world, still_faces(head)),
        world,
        frame_from(outwards[drawn], along[drawn]),
        1e-3 * np.c_[overlap * length[drawn], width[drawn], 0.45 * width[drawn]],
        colour[drawn],
        opacity[drawn],
        outwards[drawn],
        canonical=middle[drawn],
    )
