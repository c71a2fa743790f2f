"""Teeth one by one on the dental arches, gums and tongue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import fbm, linear, mix, smoothstep, unit, value_noise
from render.making.people.gaussians.sampling import (
    MOUTH,
    Cloud,
    cloud,
    frame_from,
    nearest_face,
    poisson_samples,
)
from render.making.people.head import Head
from render.making.people.person import Person

Array = NDArray[np.float64]

# Width and height in millimetres from the midline outwards: incisors, canine, premolars, molar.
_UPPER = ((8.6, 10.2), (6.8, 9.0), (7.7, 9.8), (7.0, 8.4), (6.8, 7.8), (9.5, 7.2))
_LOWER = ((5.2, 7.6), (5.8, 7.8), (6.6, 8.6), (6.8, 7.6), (7.0, 7.2), (10.0, 7.0))
# MakeHuman's teeth stand well behind the lips; moved forward and down they show as real ones do.
_FORWARD_M = {"upper": 3.4e-3, "lower": 2.4e-3}
_DOWN_M = {"upper": 2.8e-3, "lower": 2.6e-3}
_COLUMNS, _ROWS = 6, 7


def make_mouth(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Both rows of teeth with gums, and the tongue."""
    parts = [_row(head, person, jaw, rng) for jaw in ("upper", "lower")]
    tongue = poisson_samples(head, head.faces_of("tongue"), 3.0e-3, rng)
    shade = 1 + 0.10 * fbm(tongue.canonical, 0.2, 7) + 0.06 * rng.normal(size=len(tongue))
    sigma = 0.6 * tongue.spacing
    parts.append(
        cloud(
            MOUTH,
            tongue.face,
            tongue.position,
            frame_from(tongue.normal),
            np.c_[sigma, sigma, 0.12 * sigma],
            linear(172, 92, 90) * shade[:, None],
            0.97,
            tongue.normal,
            specular=0.5,
            gloss=40.0,
            canonical=tongue.canonical,
        )
    )
    return parts


def _arch(head: Head, jaw: str) -> Array:
    """The row's outer curve, [K, 3] metres from right to left at the biting edge."""
    vertices = head.vertices[np.unique(head.faces[head.faces_of(f"{jaw}_teeth")])]
    pivot = vertices[:, 2].min() + 0.45 * np.ptp(vertices[:, 2])
    angle = np.arctan2(vertices[:, 0], vertices[:, 2] - pivot)
    radius = np.hypot(vertices[:, 0], vertices[:, 2] - pivot)
    theta = np.linspace(-1.5, 1.5, 61)
    outer = np.array([radius[np.abs(angle - t) < 0.22].max() for t in theta])
    fit = np.polynomial.polynomial.polyfit(theta**2, outer, 2)
    # A little narrower than the mesh: its back teeth reach into the corners of the lips.
    outer = 0.93 * np.polynomial.polynomial.polyval(theta**2, fit)
    edge = vertices[:, 1].min() if jaw == "upper" else vertices[:, 1].max()
    curve = np.c_[outer * np.sin(theta), np.full(61, edge), pivot + outer * np.cos(theta)]
    curve += [0, -_DOWN_M[jaw], _FORWARD_M[jaw]]
    return curve


def _row(head: Head, person: Person, jaw: str, rng: np.random.Generator) -> Cloud:
    curve = _arch(head, jaw)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))]
    place = length - np.interp(0.0, curve[:, 0], length)
    up = 1.0 if jaw == "upper" else -1.0
    position, normal, colour, size = [], [], [], []
    grid_a, grid_b = np.meshgrid(np.linspace(-1, 1, _COLUMNS), np.linspace(0, 1.25, _ROWS + 2))
    a, b = grid_a.ravel(), grid_b.ravel()
    for side in (-1.0, 1.0):
        start = 0.0
        for number, (width, height) in enumerate(_UPPER if jaw == "upper" else _LOWER):
            middle = side * (start + 0.5 * width) * 1e-3
            start += width
            gum = b > 1.0
            narrow = np.where(gum, 1.0, 0.96 - 0.16 * smoothstep(0.4, 1.0, b) - 0.05 * smoothstep(0.12, 0, b))
            along = middle + 0.5e-3 * width * a * narrow
            base = np.stack([np.interp(along, place, curve[:, k]) for k in range(3)], 1)
            ahead = np.stack([np.interp(along + 1e-3, place, curve[:, k]) for k in range(3)], 1)
            tangent = unit(ahead - base)
            out = unit(np.cross(tangent, [0.0, 1.0, 0.0]))
            out *= np.sign((out * [0.0, 0, 1]).sum(1, keepdims=True) + 1e-9)
            corner = 0.05 * height * np.abs(a) ** 4 * (b < 0.1)
            bulge = 0.9e-3 * (1 - a**2) * (1 - 0.6 * (b - 0.4) ** 2) - 1.0e-3 * smoothstep(0.25, 0, b)
            jitter = rng.normal(0, 0.06e-3, 2)
            lift = 1e-3 * (b * height + corner) + jitter[0]
            lift = lift + (0.5e-3 if number == 1 and jaw == "upper" else 0.0)  # lateral incisors sit higher
            point = base + out * (bulge + jitter[1] + np.where(gum, 0.5e-3, 0))[:, None]
            point[:, 1] += up * lift
            position.append(point)
            normal.append(
                unit(out + 0.65 * a[:, None] * tangent + 0.4 * up * (b - 0.45)[:, None] * [0.0, 1, 0])
            )
            colour.append(_tooth_colour(person, number, a, b, rng))
            cell = np.array([width / _COLUMNS, height / _ROWS]) * 1e-3
            size.append(np.tile([0.78 * cell[0], 0.74 * cell[1], 0.25e-3], (len(a), 1)))
    points, normals, albedo = np.concatenate(position), np.concatenate(normal), np.concatenate(colour)
    gums = np.tile(b > 1.0, 12)
    albedo[gums] *= (1 + 0.12 * value_noise(points[gums], 900.0, 5))[:, None]
    # The cheeks shade the back teeth.
    sideways = np.abs(points[:, 0]) * 1e3
    albedo *= (1 - 0.86 * smoothstep(9, 23, sideways))[:, None]
    faces = head.faces_of(f"{jaw}_teeth")
    return cloud(
        MOUTH,
        nearest_face(head, points, faces),
        points,
        frame_from(normals, np.array([1.0, 0, 0])),
        np.concatenate(size),
        albedo,
        0.97,
        normals,
        specular=np.where(gums, 0.4, 0.8),
        gloss=45.0,
        canonical=1e3 * (points - head.eye_midpoint),
    )


def _tooth_colour(person: Person, number: int, a: Array, b: Array, rng: np.random.Generator) -> Array:
    enamel = linear(238, 228, 212) * (1 - np.array([0.02, 0.05, 0.12]) * (1.2 * person.age + (number == 2)))
    enamel = enamel * (1 + 0.03 * rng.normal())
    colour = mix(enamel, linear(196, 196, 200), 0.45 * smoothstep(0.14, 0.0, b))  # glassy biting edge
    colour *= 1 - (0.16 * smoothstep(0.7, 1.0, b))[:, None] * np.array([0.4, 0.8, 1.2])
    colour *= 1 - 0.55 * smoothstep(0.75, 1.0, np.abs(a))[:, None] * np.array([0.8, 1, 1.1])
    return mix(colour, linear(178, 96, 94), smoothstep(0.97, 1.03, b - 0.06 * (1 - a**2)))
