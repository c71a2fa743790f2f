"""The hairstyles: how strands grow, and what is drawn of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people.fields import fbm, smoothstep, unit, value_noise
from render.making.people.gaussians.eyes import still_faces
from render.making.people.gaussians.hair import Scalp, make_scalp, strand_colours, strands_to_cloud
from render.making.people.gaussians.sampling import HAIR, Cloud, cloud, frame_from, nearest_face
from render.making.people.head import Head
from render.making.people.person import Person

Array = NDArray[np.float64]


def bob(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Chin-length hair from a side parting, ends turned in."""
    scalp = make_scalp(head, person, 5.2, rng)
    points, side = _grow_bob(scalp, rng)
    count, nodes = points.shape[:2]
    # Strands gather into locks towards their ends.
    guides = rng.permutation(count)[: count // 11]
    tree = cKDTree(np.c_[scalp.root[guides], 50 * side[guides]])
    guide = guides[tree.query(np.c_[scalp.root, 50 * side])[1]]
    gather = 0.60 * np.linspace(0, 1, nodes)[None, :, None] ** 1.5
    apart = np.linalg.norm(points[guide] - points, axis=2, keepdims=True)
    points = points + gather * (points[guide] - points) * np.where(apart < 45, 1, 0.2)

    middle = 0.5 * (points[:, 1:] + points[:, :-1])
    length = np.linalg.norm(np.diff(points, axis=1), axis=2)
    end = -86.5 + 10 * value_noise(scalp.root, 0.025, 160) + 5 * rng.normal(size=count)
    end = 0.6 * end[guide] + 0.4 * end
    drawn = np.logical_and.accumulate((middle[:, :, 1] > end[:, None]) & (length > 2), 1)
    to_tip = np.cumsum(drawn[:, ::-1], 1)[:, ::-1] * drawn
    place = np.linspace(0, 1, nodes - 1)[None]
    base = strand_colours(person, scalp.root[guide] * 0.5 + scalp.root * 0.5, rng)
    colour = (
        np.repeat(base[:, None], nodes - 1, 1) * (1 - 0.30 * (1 - smoothstep(0, 0.25, place)))[:, :, None]
    )
    colour *= (1 + 0.30 * smoothstep(0.45, 1, place))[:, :, None] * (
        1 + 0.06 * rng.normal(size=(count, nodes - 1, 1))
    )
    layer = rng.random((count, 1))
    width = (
        (1.9 - 0.5 * layer)
        * (0.42 + 0.58 * smoothstep(0.0, 0.22, place))
        * np.where(to_tip < 3, 0.45 + 0.18 * to_tip, 1)
    )
    opacity = (
        0.80 * np.where(to_tip < 3, 0.35 + 0.2 * to_tip, 1) * (0.85 + 0.15 * smoothstep(-0.02, 0.1, place))
    )
    opacity = opacity * (1 - 0.25 * rng.random((count, 1)))
    parts = [strands_to_cloud(head, points, drawn, colour, width, opacity)]
    parts.append(_flyaways(head, points, drawn, colour, 110, rng))
    parts.append(_baby_hairs(head, scalp, base, points[:, 2] - points[:, 1], 700, rng))
    return parts


def _grow_bob(scalp: Scalp, rng: np.random.Generator) -> tuple[Array, Array]:
    """Strand nodes [K, S, 3] and the side of the parting each falls to [K]."""
    root, normal = scalp.root, scalp.normal
    count = len(root)
    parting = 20 + 3 * value_noise(root, 0.03, 150)
    side = np.where(root[:, 0] > parting, 1.0, -1.0)
    top, front = smoothstep(41, 86, root[:, 1]), smoothstep(-70, -15, root[:, 2])
    layer = rng.random(count)
    clearance = 4.5 + 10 * layer * (1 - 0.5 * top) + 4 * top
    back = (1 - smoothstep(-140, -85, root[:, 2]))[:, None]
    crown = unit(root - np.array([12.0, 116, -100]))
    swept = np.c_[side * (0.35 + 0.9 * top), 0.35 * top - 0.5 * (1 - top), -0.55 * front + 0.05]
    heading = unit((1 - back) * swept + back * crown + 0.05 * rng.normal(size=(count, 3)))
    heading = unit(heading - (heading * normal).sum(1, keepdims=True) * normal + 0.2 * normal)
    nodes = [root - 5 * heading + normal, root]
    phase = 6 * value_noise(root, 0.05, 170)
    x, grown = root.copy(), np.zeros(count)
    for _ in range(18):
        down = np.c_[np.zeros(count), -np.ones(count), np.zeros(count)]
        backwards = (smoothstep(-80, -30, x[:, 2]) * smoothstep(-38, 32, x[:, 1]))[:, None]
        backwards = backwards * np.c_[0.30 * side, np.zeros(count), np.full(count, -0.75)]
        inwards = (1 - smoothstep(-84, -34, x[:, 1]))[:, None] * 0.36 * unit([0, 0, -89.5] - x * [1, 0, 1])
        wave = 0.0013 * np.sin(0.06 * grown + phase)[:, None] * np.c_[x[:, 2] + 89.5, 0 * grown, -x[:, 0]]
        weight = (0.35 + 0.65 * smoothstep(0, 60, grown))[:, None]
        heading = unit(0.74 * heading + 0.26 * down * weight + 0.22 * backwards + 0.9 * inwards + wave)
        moved = x + 15 * heading
        grown += 15
        moved = scalp.outside(moved, clearance * smoothstep(0, 85, grown) + 1.2)
        facing = (moved[:, 2] > -52) & (moved[:, 1] < 56)
        limit = 54 + 4 * layer + 2 * (moved[:, 1] < -28)
        out = facing & (np.abs(moved[:, 0]) < limit)
        moved[out, 0] = (side * limit)[out]
        heading = unit(moved - x)
        x = moved
        nodes.append(x)
    return np.stack(nodes, 1), side


def short(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """A man's cut: short at the sides, longer on top and brushed over."""
    scalp = make_scalp(head, person, 3.2, rng, jitter=4.0)
    root, normal = scalp.root, scalp.normal
    count = len(root)
    top = smoothstep(62, 90, root[:, 1])
    front = smoothstep(-75, -10, root[:, 2])
    length = 14 + 16 * top + 7 * top * front + 3 * value_noise(root, 0.05, 210)
    length *= (
        (1 - 0.45 * smoothstep(38, 66, np.abs(root[:, 0])))
        * rng.uniform(0.75, 1.15, count)
        * smoothstep(-2, 14, scalp.height + 6)
    )
    side = np.where(root[:, 0] > 24 + 4 * value_noise(root, 0.03, 211), 1.0, -1.0)
    back = 1 - smoothstep(-120, -70, root[:, 2])
    brushed = np.c_[-0.65 + 0 * side, 0.15 + 0 * side, -0.55 + 0.2 * front]
    brushed = np.where((side > 0)[:, None], np.c_[0.5 + 0 * side, -0.3 + 0 * side, -0.6 + 0 * side], brushed)
    lying = np.c_[0.15 * np.sign(root[:, 0]), -0.9 + 0 * side, -0.5 + 0 * side]
    whorl = unit(root - np.array([8.0, 112, -115])) * [1, 0.6, 1]
    heading = (
        top[:, None] * ((1 - back)[:, None] * brushed + back[:, None] * whorl) + (1 - top)[:, None] * lying
    )
    swirl = np.stack([fbm(root, 0.03, 220 + k) for k in range(3)], 1)
    heading = unit(heading + 0.20 * swirl + 0.09 * rng.normal(size=(count, 3)))
    heading = unit(heading - (heading * normal).sum(1, keepdims=True) * normal)
    lift = (0.24 + 0.45 * top * (0.5 + 0.5 * front))[:, None]
    segments = 4
    x = root - 1.5 * heading + 0.8 * normal
    nodes = [x]
    d = unit(heading + 1.3 * lift * normal)
    for k in range(segments):
        step = (length / segments)[:, None]
        bend = 0.35 * (k + 1) / segments
        fall = np.array([0.0, -0.22, 0.0]) * (k + 1) / segments
        d = unit(d + bend * (heading - 0.7 * lift * normal) + fall + 0.05 * rng.normal(size=(count, 3)))
        x = scalp.outside(x + step * d, 2.0 + 1.6 * k * lift[:, 0])
        nodes.append(x)
    points = np.stack(nodes, 1)
    base = strand_colours(person, root, rng)
    place = np.linspace(0, 1, segments)[None]
    colour = np.repeat(base[:, None], segments, 1) * (0.72 + 0.35 * smoothstep(0, 0.8, place))[:, :, None]
    drawn = np.ones((count, segments), bool)
    drawn[:, 3:] = (length > 15)[:, None]
    width = np.broadcast_to(1.15 - 0.50 * place, (count, segments)) * (0.85 + 0.25 * top)[:, None]
    edge = smoothstep(-2, 12, scalp.height)[:, None]
    opacity = (0.30 + 0.45 * edge) * (1 - 0.35 * place) * rng.uniform(0.7, 1, (count, 1))
    parts = [strands_to_cloud(head, points, drawn, colour, width, opacity, overlap=0.6)]
    parts.append(_baby_hairs(head, scalp, 1.6 * base, heading * 8, 160, rng))
    return parts


def afro(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """Natural curls in a rounded shape: a dark core and a shell of small coils."""
    scalp = make_scalp(head, person, 5.0, rng, jitter=1.5)
    core = _shell(head, scalp, person, 2200, (0.25, 0.75), rng)
    core_cloud = cloud(
        HAIR,
        core.face,
        core.world,
        frame_from(core.outwards),
        (4.2e-3, 4.2e-3, 2.1e-3),
        0.6 * core.colour,
        0.9,
        core.outwards,
        canonical=core.local,
    )
    coils = _shell(head, scalp, person, 8500, (0.62, 1.0), rng)
    count = len(coils.world)
    around = np.cross(coils.outwards, rng.normal(size=(count, 3)))
    turn = unit(around + 0.35 * coils.outwards * rng.normal(size=(count, 1)))
    tip = smoothstep(0.88, 1.0, coils.share)  # single curls at the outline are fine and let light through
    size = 1e-3 * rng.uniform(0.8, 1.25, count) * (1 - 0.35 * tip)
    coil_cloud = cloud(
        HAIR,
        coils.face,
        coils.world,
        frame_from(coils.outwards, turn),
        size[:, None] * [1.9, 0.72, 0.5],
        coils.colour,
        0.74 - 0.30 * tip,
        unit(coils.outwards + 0.45 * rng.normal(size=(count, 3))),
        canonical=coils.local,
    )
    return [core_cloud, coil_cloud]


@dataclass(frozen=True)
class _Tufts:
    """Points in the volume of rounded hair."""

    world: Array  # [N, 3] metres
    local: Array  # [N, 3] millimetres from the eyes' midpoint
    face: NDArray[np.int64]  # [N]
    outwards: Array  # [N, 3]
    colour: Array  # [N, 3]
    share: Array  # [N] depth: 0 at the scalp, 1 at the outline


def _shell(
    head: Head, scalp: Scalp, person: Person, count: int, depth: tuple[float, float], rng: np.random.Generator
) -> _Tufts:
    """Tufts at depths between the two shares of the hair's thickness."""
    pick = rng.integers(0, len(scalp.root), count)
    root = scalp.root[pick] + 2.2 * np.clip(rng.normal(size=(count, 3)), -1.6, 1.6)
    outwards = unit(0.6 * scalp.normal[pick] + 0.4 * unit(root - np.array([0.0, 22, -80])))
    thick = (20 + 22 * smoothstep(-10, 90, root[:, 1])) * smoothstep(-8, 26, scalp.height[pick] + 3)
    lumps = 1 + 0.12 * fbm(root, 0.035, 230) + 0.05 * np.clip(rng.normal(size=count), -2, 1.5)
    share = rng.uniform(*depth, count) ** 0.7
    local = root + outwards * (thick * lumps * share)[:, None]
    colour = strand_colours(person, root, rng) * (0.75 + 0.5 * share)[:, None]
    world = head.eye_midpoint + 1e-3 * local
    return _Tufts(world, local, nearest_face(head, world, still_faces(head)), outwards, colour, share)


def _flyaways(
    head: Head, points: Array, drawn: NDArray[np.bool_], colour: Array, count: int, rng: np.random.Generator
) -> Cloud:
    """Single hairs that stand off the surface."""
    chosen = rng.permutation(len(points))[:count]
    nodes = points[chosen].copy()
    steps = np.arange(nodes.shape[1])[None, :, None]
    outwards = unit((nodes - [0.0, 1.5, -89.5]) * [1, 0.8, 1])
    stand_off = rng.uniform(2, 8, (count, 1, 1)) * (0.3 + steps / 8)
    wobble = 2.0 * np.sin(0.9 * steps + 6 * rng.random((count, 1, 3)))
    nodes += stand_off * outwards + wobble
    shown = drawn[chosen] & (np.arange(nodes.shape[1] - 1)[None] > 1)
    thin = np.full(shown.shape, 0.34)
    return strands_to_cloud(head, nodes, shown, 1.1 * colour[chosen], thin, np.full(shown.shape, 0.32))


def _baby_hairs(
    head: Head, scalp: Scalp, colour: Array, heading: Array, count: int, rng: np.random.Generator
) -> Cloud:
    """Short fine hairs that break up the hairline around the face."""
    edge = np.flatnonzero((scalp.height < 16) & (scalp.root[:, 2] > -105))
    pick = rng.choice(edge, count) if len(edge) else np.zeros(0, int)
    direction = unit(
        unit(heading[pick]) * [1, 0.3, 1] + [0, 0.25, 0] + 0.18 * rng.normal(size=(len(pick), 3))
    )
    start = (
        scalp.root[pick]
        - unit(heading[pick]) * rng.uniform(-2, 5, (len(pick), 1))
        + rng.normal(0, 1.6, (len(pick), 3))
    )
    start = scalp.outside(start - [0, 2, 0], 0.6, most=8.0)
    tip = scalp.outside(start + 6 * direction, 1.3, most=8.0)
    nodes = np.stack([start, tip], 1)
    shown = np.ones((len(pick), 1), bool)
    return strands_to_cloud(
        head,
        nodes,
        shown,
        0.9 * colour[pick][:, None],
        np.full(shown.shape, 0.36),
        np.full(shown.shape, 0.22),
    )


_STYLES = {"bob": bob, "short": short, "afro": afro}


def make_hair(head: Head, person: Person, rng: np.random.Generator) -> list[Cloud]:
    """The person's hairstyle."""
    return _STYLES[person.hair.style](head, person, rng)
