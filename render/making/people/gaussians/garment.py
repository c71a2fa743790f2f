"""The garment: knitted cloth with folds over the shoulders, and its collar."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.making.people.features import above_neckline
from render.making.people.fields import fbm, linear, smoothstep, unit, value_noise
from render.making.people.gaussians.sampling import (
    CLOTH,
    Cloud,
    Samples,
    cloud,
    frame_from,
    nearest_face,
    poisson_samples,
)
from render.making.people.head import Head
from render.making.people.person import Clothes, Person

Array = NDArray[np.float64]

_RING = 330  # Gaussians around the collar
_BOTTOM_MM = -300.0


def make_garment(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Cloth over the shoulders and a ribbed collar."""
    clothes = person.clothes
    faces = head.faces_of("body")
    corners = head.canonical[head.faces[faces]]
    low = above_neckline(corners.reshape(-1, 3), clothes).reshape(-1, 3).min(1) < 3
    faces = faces[low & (corners[:, :, 1].max(1) < -98)]
    s = poisson_samples(
        head,
        faces,
        lambda c, uv: np.where(
            above_neckline(c, clothes) > -25, 5.0e-3, np.where(c[:, 2] > -110, 6.4e-3, 11e-3)
        ),
        rng,
    )
    edge = above_neckline(s.canonical, clothes)

    here = _fold_height(s.canonical)
    gradient = np.stack([_fold_height(s.canonical + step) - here for step in np.eye(3) * 2.0], 1) / 2.0
    keep = edge < -3.5
    position = s.position + s.normal * (1e-3 * (5.0 + 3.6 * here))[:, None]
    normal = unit(s.normal - 9.0 * gradient)
    knit = 0.05 * value_noise(s.canonical, (0.22, 0.1, 0.22), 130) + 0.06 * value_noise(s.canonical, 0.6, 131)
    shade = (1 + knit + 0.06 * rng.normal(size=len(s))) * (1 - 0.35 * np.exp(-0.5 * ((edge + 11.5) / 2) ** 2))
    shade = shade * (1 + 0.16 * np.clip(here, -1, 0.4))
    opacity = 0.99 * smoothstep(_BOTTOM_MM - 18, _BOTTOM_MM, s.canonical[:, 1])
    sigma = 0.62 * s.spacing
    cloth = cloud(
        CLOTH,
        s.face,
        position,
        frame_from(s.normal),
        np.c_[sigma, sigma, 0.08 * sigma],
        linear(*clothes.colour) * shade[:, None],
        opacity,
        normal,
        specular=0.05,
        gloss=6.0,
        canonical=s.canonical,
    )
    return [cloth.where(keep), _collar(head, clothes, s, edge, rng)]


def _fold_height(c: Array) -> Array:
    """Height of the cloth's folds, about -1..1: drapes from the collar, pulls at the arm pits, crumples."""
    x, y = np.abs(c[:, 0]), c[:, 1]
    turn = np.arctan2(x, -(y + 150))  # direction from the collar
    drape = (
        np.sin(turn * 9 + 2.2 * value_noise(c, 0.012, 140))
        * smoothstep(-170, -230, y)
        * smoothstep(230, 130, x)
    )
    pit = np.hypot(x - 150, (y + 268) * 1.2)
    pull = np.sin(pit * 0.22 + 3 * value_noise(c, 0.014, 141)) * np.exp(-((pit / 62) ** 2))
    crumple = fbm(c * np.array([1, 0.5, 1]), 0.016, 120, 2)
    return np.asarray(0.45 * crumple + 0.40 * drape + 0.45 * pull)


def _collar(head: Head, clothes: Clothes, s: Samples, edge: Array, rng: np.random.Generator) -> Cloud:
    """A rolled, ribbed band along the neckline: an ordered grid, since its ribs must be even."""
    near = np.abs(edge) < 5
    turn = np.arctan2(s.canonical[near, 0], s.canonical[near, 2] + 104.5)
    order = np.argsort(turn)
    around = np.linspace(-np.pi, np.pi, _RING, endpoint=False)
    kernel = np.exp(-0.5 * (np.minimum(np.arange(_RING), _RING - np.arange(_RING)) / 5.0) ** 2)
    kernel /= kernel.sum()

    def loop(values: Array) -> Array:
        even = np.interp(around, turn[order], values[near][order], period=2 * np.pi)
        return np.fft.irfft(np.fft.rfft(even) * np.fft.rfft(kernel), _RING)

    drop = 1e-3 * edge[:, None] * np.array([0.0, 1.0, 0.0])
    centre = np.stack([loop((s.position - drop)[:, k]) for k in range(3)], 1)
    out = unit(np.stack([loop(s.normal[:, k]) for k in range(3)], 1))
    along = unit(np.roll(centre, -1, 0) - np.roll(centre, 1, 0))
    down = np.cross(out, along)
    down *= -np.sign(down[:, 1:2])
    step = np.linalg.norm(np.roll(centre, -1, 0) - centre, axis=1) * 0.62
    face = nearest_face(head, centre, head.faces_of("body"))
    rib = np.cos(np.arange(_RING) * 2 * np.pi * 82 / _RING)
    rows: dict[str, list[ArrayLike]] = {"position": [], "normal": [], "frame": [], "scale": [], "albedo": []}
    for v in np.linspace(-0.15, 1.05, 10):
        x = 2 * v - 0.9
        height = np.sqrt(max(0.0, 1 - x * x))
        facing = unit(out * (height + 0.15) + down * x)
        tone = (1 + 0.20 * rib + 0.05 * rng.normal(size=_RING))[:, None]
        rows["position"].append(centre + down * (v * 12.5e-3 - 2e-3) + out * (3e-3 + 4.5e-3 * height))
        rows["normal"].append(facing)
        rows["frame"].append(frame_from(facing, along))
        rows["scale"].append(np.c_[step, np.full(_RING, 1.05e-3), np.full(_RING, 0.3e-3)])
        rows["albedo"].append(0.97 * linear(*clothes.colour) * tone)
    stacked = {k: np.concatenate([np.asarray(r) for r in v]) for k, v in rows.items()}
    return cloud(
        CLOTH,
        np.tile(face, 10),
        stacked["position"],
        stacked["frame"],
        stacked["scale"],
        stacked["albedo"],
        0.98,
        stacked["normal"],
        specular=0.05,
        gloss=6.0,
    )
