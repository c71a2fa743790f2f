"""Eyeballs with iris, pupil, veins and the catchlights on the cornea; lashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.people.features import IRIS_M
from render.making.people.fields import blob, linear, mix, smoothstep, unit, value_noise
from render.making.people.gaussians.sampling import (
    EYE,
    GLINT,
    LASH,
    Cloud,
    cloud,
    frame_from,
    nearest_face,
    poisson_samples,
)
from render.making.people.head import Head
from render.making.people.person import Person
from render.normals import vertex_normals

Array = NDArray[np.float64]

_FINE_M = 7.2e-3  # within this distance of the axis the ball is sampled finely
_LARGEST_BALL = 0.985  # share of the fitted sphere
_LID_CLEARANCE_M = 0.5e-3
# Catchlights of a window, its cross bar and two fill lights: direction from the eye's centre, size, colour.
_GLINTS = (
    ((-0.150, 0.085, 1.0), (0.55e-3, 0.72e-3), (1.0, 1.0, 1.0), 0.97),
    ((-0.130, 0.120, 1.0), (1.0e-3, 1.2e-3), (0.92, 0.96, 1.0), 0.20),
    ((0.20, 0.03, 1.0), (0.55e-3, 1.10e-3), (0.80, 0.88, 1.0), 0.34),
    ((0.10, -0.20, 1.0), (1.70e-3, 0.70e-3), (0.80, 0.85, 0.90), 0.10),
)


def make_eyes(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Both eyeballs and their catchlights."""
    parts = []
    still = still_faces(head)
    for side, sign in (("left", 1), ("right", -1)):
        centre, sphere = head.eye(side)
        radius = _ball_radius(head, centre, sphere)
        faces = head.faces_of(f"{side}_eye")
        count = 5600
        index = np.arange(count) + 0.5
        z = 1 - index / count * 1.40  # the rear is never seen, not even when the eye looks aside
        turn = index * np.pi * (3 - 5**0.5)
        out = np.c_[np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z]
        from_axis = np.hypot(out[:, 0], out[:, 1]) * radius
        keep = (from_axis < _FINE_M) | (np.arange(count) % 7 == 0)
        out, from_axis = out[keep], from_axis[keep]
        sigma = 0.66 * np.where(from_axis < _FINE_M, 0.95e-3, 2.5e-3)
        position = centre + out * radius
        parts.append(
            cloud(
                EYE,
                nearest_face(head, position, faces),
                position,
                frame_from(out),
                np.c_[sigma, sigma, 0.08 * sigma],
                _eye_colour(person, out, from_axis, radius, sign),
                0.98,
                out,
            )
        )
        for direction, size, colour, opacity in _GLINTS:
            towards = unit(np.array([direction]))
            point = centre + towards * (radius + 1.1e-3)
            parts.append(
                cloud(
                    GLINT,
                    nearest_face(head, point, still),
                    point,
                    frame_from(towards, np.array([1.0, 0, 0])),
                    (*size, 0.2e-3),
                    colour,
                    opacity,
                    towards,
                )
            )
    return parts


def _ball_radius(head: Head, centre: Array, sphere: float) -> float:
    """Radius at which the ball stays below the lids, at rest and on the straight lines they move on."""
    faces = head.faces_of("body")
    nearest = _LARGEST_BALL * sphere
    for closed in (0.0, 0.5):
        vertices = head.posed({"eyeBlink@": closed})
        normals = vertex_normals(vertices, head.faces)[head.faces[faces]].mean(1)
        offset = vertices[head.faces[faces]].mean(1) - centre
        distance = np.linalg.norm(offset, axis=1)
        outside = (offset * normals).sum(1) / distance > 0.5
        in_front = (offset[:, 2] / distance > 0.5) & (distance < sphere + 4e-3)
        lids = distance[outside & in_front]
        if len(lids):
            nearest = min(nearest, float(np.quantile(lids, 0.03)) - _LID_CLEARANCE_M)
    return max(nearest, 0.93 * sphere)


def still_faces(head: Head) -> NDArray[np.int64]:
    """Body triangles no face unit moves (scalp, ears): what is bound to them is rigid with the head."""
    moved = np.max([np.abs(unit_).max(1) for unit_ in head.units.values()], axis=0)
    faces = head.faces_of("body")
    return faces[
        (moved[head.faces[faces]].max(1) < 2e-4) & (head.canonical[head.faces[faces]][:, :, 1].min(1) > -40)
    ]


def _eye_colour(person: Person, out: Array, from_axis: Array, radius: float, sign: int) -> Array:
    """Linear colours [N, 3] over the ball; `out` are unit directions from its centre."""
    rim = smoothstep(0.35, 0.95, np.abs(out[:, 0]))
    vein = smoothstep(0.35, 0.8, 1 - np.abs(value_noise(out, 9, 81 + sign)) * 3)
    vein = vein * smoothstep(0.3, 0.8, np.hypot(out[:, 0], out[:, 1]))
    clear = 1 - rim[:, None] * np.array([0.06, 0.26, 0.26]) - (0.10 * vein)[:, None] * np.array([0.2, 1, 1])

    q = from_axis / IRIS_M
    turn = np.arctan2(out[:, 1], out[:, 0])
    ring = np.c_[np.cos(turn), np.sin(turn), np.zeros(len(turn))]
    fibre = 0.6 * value_noise(ring * 11 + [0, 0, 1] * (q * 1.2)[:, None], 1.0, 91)
    fibre += 0.5 * value_noise(ring * 24 + [0, 0, 1] * (q * 2)[:, None], 1.0, 92)
    inner, outer = linear(*person.eyes.iris_inner), linear(*person.eyes.iris_outer)
    iris = mix(inner, outer, smoothstep(0.42, 0.78, q + 0.08 * fibre))
    iris *= (1 + 0.5 * fibre)[:, None]
    lens = np.c_[out[:, :2] * radius / IRIS_M, 0 * q]
    iris *= (1.05 + 0.65 * blob(lens, (0.25, -0.45, 0), (0.5, 0.35, 1)))[:, None]  # light through the cornea
    iris *= (1 - 0.80 * smoothstep(0.78, 1.0, q))[:, None]
    iris = mix(iris, linear(8, 6, 6), smoothstep(0.45, 0.37, q))
    colour = mix(iris, linear(*person.eyes.white) * clear, smoothstep(0.95, 1.07, q))
    above = out[:, 1] * radius * 1e3
    return (
        colour * ((1 - 0.62 * smoothstep(-0.5, 7.0, above)) * (1 - 0.22 * smoothstep(3, 8, -above)))[:, None]
    )


def make_lashes(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Fine hairs along MakeHuman's lash strips, pointing from the lid to the strip's free edge."""
    parts = []
    for side, sign in (("left", 1), ("right", -1)):
        centre, radius = head.eye(side)
        for row, spacing, strength, length in (
            ("upper", 0.80e-3, 0.60, 1.15e-3),
            ("lower", 1.5e-3, 0.10, 0.8e-3),
        ):
            faces = head.faces_of(f"{side}_{row}_lashes")

            samples = poisson_samples(head, faces, spacing, rng)
            near = np.linalg.norm(samples.position - centre, axis=1) - radius
            from_middle = np.abs(np.abs(samples.canonical[:, 0]) - 29.5)
            samples = samples.where((near < 1e-2) if row == "upper" else (near < 3.5e-3) & (from_middle < 11))
            corners = head.vertices[head.faces[samples.face]]
            rho = np.linalg.norm(corners - centre, axis=2)
            e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
            a, b, c2 = (e1 * e1).sum(1), (e1 * e2).sum(1), (e2 * e2).sum(1)
            d1, d2 = rho[:, 1] - rho[:, 0], rho[:, 2] - rho[:, 0]
            det = a * c2 - b * b
            outwards = ((c2 * d1 - b * d2) / det)[:, None] * e1 + ((a * d2 - b * d1) / det)[:, None] * e2
            lean = smoothstep(0, 20, np.abs(samples.canonical[:, 0]) - 28.9)
            outwards = unit(unit(outwards) + 0.30 * sign * lean[:, None] * np.array([1.0, 0, 0]))
            outwards = unit(outwards + 0.12 * rng.normal(size=outwards.shape))
            tip = np.linalg.norm(samples.position - centre, axis=1) - radius
            thin = 1 - 0.9 * smoothstep(1.0e-3, 6.5e-3 if row == "upper" else 4e-3, tip)
            parts.append(
                cloud(
                    LASH,
                    samples.face,
                    samples.position,
                    frame_from(unit(np.cross(e1, e2)), outwards),
                    np.c_[np.full(len(samples), length), 0.21e-3 * thin + 4e-5, 0.17e-3 * thin + 4e-5],
                    linear(24, 17, 14),
                    np.clip(person.eyes.lash_strength * strength * thin, 0, 0.95),
                    (0.0, 0.0, 1.0),
                )
            )
    return parts
