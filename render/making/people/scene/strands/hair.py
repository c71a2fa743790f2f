"""The hair of the head, rigid with it: a hairstyle's strands, what covers the scalp, and fine hairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import smoothstep, value_noise
from render.making.people.person import Hair, HairStyle, Person
from render.making.people.scene.body import Body
from render.making.people.scene.strands.comb import (
    CROWN,
    along_skin,
    loose,
    march,
    short,
    swept,
    to_length,
    trimmed,
)
from render.making.people.scene.strands.curls import coils, knot
from render.making.people.scene.strands.roots import Roots, Skin
from render.making.people.scene.strands.scalp import HeadSurface, scalp_roots
from render.making.people.scene.strands.strand import Strands, smooth, taper

Array = NDArray[np.float64]

_HAIR_UM = 62.0  # radius; a third more than hair has, which is how few stand for many
_KNOT = np.array([0.0, 18.0, -184.0])  # of a bun, millimetres from the eyes' midpoint


@dataclass(frozen=True)
class Ground:
    """What a style grows on."""

    person: Person
    skin: Skin
    surface: HeadSurface
    rng: np.random.Generator

    @property
    def hair(self) -> Hair:
        return self.person.hair

    def roots(self, per_mm2: float) -> tuple[Roots, Array]:
        return scalp_roots(self.skin, self.hair, per_mm2, self.rng)

    def strands(self, nodes: Array, radius_um: Array) -> Strands:
        """Nodes in millimetres, coloured by where they are rooted."""
        melanin = melanin_of(nodes[:, 0], self.hair, self.hair.melanin, self.hair.white, self.rng)
        return Strands.of(nodes, self.skin.body.eye_midpoint, radius_um, melanin)


def grow_hair(person: Person, body: Body, worn: Array | None = None) -> dict[str, Strands]:
    """The person's hair at rest, sets of strands by name; `worn` [K, 3] are points of clothes, metres."""
    skin = Skin(body)
    points = None if worn is None else 1e3 * (worn - body.eye_midpoint)
    ground = Ground(person, skin, HeadSurface(skin, points), np.random.default_rng((person.seed, 6)))
    grow: dict[HairStyle, Callable[[Ground], dict[str, Strands]]] = {
        "bob": _falling,
        "long": _falling,
        "short": _cropped,
        "afro": _curled,
        "bun": _knotted,
    }
    hair = {**grow[person.hair.style](ground), "undercoat": _undercoat(ground)}
    if person.hair.style in ("bob", "long", "bun"):
        hair["parting"] = _parting(ground)
    return hair


def melanin_of(root: Array, hair: Hair, melanin: float, grey: float, rng: np.random.Generator) -> Array:
    """Melanin [N] of strands with those roots [N, 3]: locks and strands lighter and darker, and as white
    ones as the head has, a share of `grey`."""
    pale = (1 - melanin) * (1 + 0.25 * value_noise(root, 0.07, 180) + 0.22 * rng.normal(size=len(root)))
    # White hairs begin at the temples.
    share = np.clip(grey * (1.25 - 0.5 * smoothstep(30, 95, root[:, 1])), 0, 1)
    white = rng.random(len(root)) < share
    pure = hair.white_melanin
    return np.where(white, pure + min(0.08, 3 * pure) * rng.random(len(root)), np.clip(1 - pale, 0.02, 1))


def _edge_um(within_mm: Array, rng: np.random.Generator) -> Array:
    """Radii [N]: hairs are finer at the hairline."""
    fine = 0.5 + 0.5 * smoothstep(0, 12, within_mm)
    return np.asarray(_HAIR_UM * fine * rng.uniform(0.8, 1.15, len(within_mm)))


def _falling(ground: Ground) -> dict[str, Strands]:
    """A bob or long hair: loose from a parting, the bob's ends trimmed level."""
    hair, rng = ground.hair, ground.rng
    # Long hair falls below the undercoat, and is to hide what is behind it by itself.
    roots, within = ground.roots(0.30 if hair.style == "bob" else 0.48)
    nodes, length = loose(roots, ground.surface, hair, rng)
    if hair.style == "bob":
        level = hair.level_mm + 5 * value_noise(roots.position, 0.03, 160) + 3.5 * rng.normal(size=len(roots))
        layered = rng.random(len(roots)) < 0.22
        level = np.where(layered, level + rng.uniform(0, 60, len(roots)), level)
        length = trimmed(nodes, length, level)
    else:
        length = length * np.where(rng.random(len(roots)) < 0.25, rng.uniform(0.55, 1, len(roots)), 1)
    length = length * (0.25 + 0.75 * smoothstep(-1, 6, within + 3 * rng.random(len(roots))))
    count = 18 if hair.style == "bob" else 26
    kept = to_length(nodes, length, count)
    return {
        "hair": ground.strands(kept, taper(_edge_um(within, rng), count)),
        "flyaways": _flyaways(ground, kept, 260),
        "fine": _fine_hairs(ground, roots, within, kept[:, 3] - kept[:, 0], 900),
    }


def _cropped(ground: Ground) -> dict[str, Strands]:
    hair, rng = ground.hair, ground.rng
    roots, within = ground.roots(0.62)
    nodes, length = short(roots, ground.surface, hair, rng)
    length = length * (0.35 + 0.65 * smoothstep(0, 12, within))
    kept = to_length(nodes, length, 7)
    return {
        "hair": ground.strands(kept, taper(1.1 * _edge_um(within, rng), 7)),
        "fine": _fine_hairs(ground, roots, within, kept[:, 3] - kept[:, 0], 400),
    }


def _curled(ground: Ground) -> dict[str, Strands]:
    rng = ground.rng
    roots, within = ground.roots(0.24)
    nodes = coils(roots, within, ground.hair.length_mm, 36, rng)
    return {
        "hair": ground.strands(nodes, taper(1.15 * _edge_um(within, rng), 36, 0.5)),
        "fine": _fine_hairs(ground, roots, within, nodes[:, 4] - nodes[:, 0], 300),
    }


def _knotted(ground: Ground) -> dict[str, Strands]:
    rng = ground.rng
    roots, within = ground.roots(0.30)
    nodes = swept(roots, ground.surface, _KNOT, ground.hair.parting_mm, rng)
    whole = np.full(len(nodes), 1e3)
    kept = to_length(nodes, whole, 16)
    bun = knot(_KNOT, 3200, 22, rng)
    return {
        "hair": ground.strands(kept, taper(_edge_um(within, rng), 16, 0.8)),
        "knot": ground.strands(bun, taper(np.full(len(bun), 1.1 * _HAIR_UM), 22)),
        "flyaways": _flyaways(ground, kept, 160),
        "fine": _fine_hairs(ground, roots, within, kept[:, 4] - kept[:, 0], 1100),
    }


def _flyaways(ground: Ground, nodes: Array, count: int) -> Strands:
    """Single hairs that left their lock."""
    rng = ground.rng
    x, y, z = np.moveaxis(nodes, 2, 0)
    over_face = ((z > -45) & (y < 55) & (np.abs(x) < 66)).any(1)  # there they look like scratches
    kept = nodes[~over_face]
    own = kept[rng.permutation(len(kept))[:count]]
    along = np.linspace(0, 1, own.shape[1])[None, :, None]
    swing = np.cumsum(rng.normal(size=own.shape), 1) * (0.25 + 0.9 * along)
    away = (own - [0.0, 0.0, -85.0]) * [1, 0.7, 1]
    away /= np.maximum(np.linalg.norm(away, axis=2, keepdims=True), 1e-6)
    loose_ends = smooth(own + along * (swing + rng.uniform(0, 7, (len(own), 1, 1)) * away), 2)
    for k in range(2, own.shape[1]):
        loose_ends[:, k] = ground.surface.outside(loose_ends[:, k], 0.3, over_ears=False)
    return ground.strands(loose_ends, taper(np.full(len(own), 0.65 * _HAIR_UM), own.shape[1]))


def _fine_hairs(ground: Ground, roots: Roots, within: Array, heading: Array, count: int) -> Strands:
    """Short fine hairs that break up the hairline around the face."""
    rng = ground.rng
    edge = np.flatnonzero((within < 7) & (roots.canonical[:, 2] > -110))
    own = rng.choice(edge, count)
    rooted = roots.where(own)
    moved = rooted.position + rng.normal(0, 1.2, (count, 3)) - [0, 0.8, 0]
    rooted = Roots(rooted.anchors, ground.surface.outside(moved, 0.0, over_ears=False), rooted.normal,
                   rooted.canonical)  # fmt: skip
    lean = heading[own] / np.linalg.norm(heading[own], axis=1, keepdims=True) + 0.35 * rng.normal(
        size=(count, 3)
    )
    first = along_skin(lean, rooted.normal, 0.15 + 0.25 * rng.random(count))
    length = rng.uniform(4, 15, count)
    nodes = march(
        rooted,
        first,
        length / 5,
        5,
        lambda _x, h, _g: h + 0.12 * rng.normal(size=h.shape),
        lambda x, g: ground.surface.outside(x, np.minimum(0.15 * g, 1.0), over_ears=False),
    )
    return ground.strands(to_length(nodes, length, 6), taper(np.full(count, 0.33 * _HAIR_UM), 6))


def _undercoat(ground: Ground) -> Strands:
    """Short thick hairs close to the scalp: it does not shine through, as under 100,000 it would not."""
    rng = ground.rng
    roots, within = ground.roots(2.4)
    # Where hair starts nothing lies over its roots yet: they are dense at a parting and at the hairline.
    parted = smoothstep(9, 5, np.abs(roots.position[:, 0] - ground.hair.parting_mm))
    parted = np.maximum(parted, smoothstep(24, 12, np.linalg.norm(roots.position - CROWN, axis=1)))
    front = 0.33 * smoothstep(45, 25, within) * (roots.canonical[:, 2] > -70)
    share = {
        "bob": np.maximum(parted, front),
        "long": np.maximum(parted, front),
        "bun": np.maximum(parted, front),
        "afro": np.full(len(roots), 0.33),
    }
    dense = np.maximum(share.get(ground.hair.style, front), 0.12)
    kept = rng.random(len(roots)) < dense * smoothstep(0, 9, within)
    roots, within = roots.where(kept), within[kept]
    if ground.hair.style == "afro":
        nodes = coils(roots, within + 20, 11.0, 8, rng)
    elif ground.hair.style == "short":
        nodes, length = short(roots, ground.surface, ground.hair, rng)
        nodes = to_length(nodes, 0.5 * length, 5)
    else:
        nodes = _combed(ground, roots, 22, 38)
    radius = 1.35 * _HAIR_UM * (0.4 + 0.6 * smoothstep(2, 14, within))
    return ground.strands(nodes, taper(radius, nodes.shape[1]))


def _combed(ground: Ground, roots: Roots, shortest_mm: float, longest_mm: float) -> Array:
    """The first millimetres of hair that is parted: nodes [N, 6, 3]. All of a bun's are 28 mm long."""
    if ground.hair.style == "bun":
        nodes = swept(roots, ground.surface, _KNOT, ground.hair.parting_mm, ground.rng)
        return to_length(nodes, np.full(len(roots), 28.0), 6)
    nodes, _ = loose(roots, ground.surface, replace(ground.hair, length_mm=40.0), ground.rng)
    return to_length(nodes, ground.rng.uniform(shortest_mm, longest_mm, len(roots)), 6)


def _parting(ground: Ground) -> Strands:
    """More of the undercoat at the parting, where nothing lies over the skin: it stays a line."""
    roots, within = ground.roots(6.0)
    near = smoothstep(6, 3, np.abs(roots.position[:, 0] - ground.hair.parting_mm))
    near *= smoothstep(50, 75, roots.position[:, 1]) * smoothstep(2, 12, within)
    kept = ground.rng.random(len(roots)) < near
    roots, within = roots.where(kept), within[kept]
    radius = _HAIR_UM * (0.5 + 0.5 * smoothstep(2, 14, within))
    return ground.strands(_combed(ground, roots, 14, 26), taper(radius, 6))
