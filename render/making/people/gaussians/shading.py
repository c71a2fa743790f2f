"""From baked light to colours: skin diffusion, highlights as degree-1 harmonics, changes by expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from render.making.people import wrinkles
from render.making.people.fields import smoothstep, to_display, unit
from render.making.people.gaussians.lighting import Baked, bake, view_directions
from render.making.people.gaussians.sampling import EYE, GLINT, HAIR, MOUTH, SKIN, UNDERLAY, Cloud
from render.making.people.head import Head
from render.making.people.light import SHINE, Light, environment
from render.sh import SH_C0, sh_basis

Array = NDArray[np.float64]

_REST_LIGHTS, _POSE_LIGHTS = 200, 110
# Weight of the frontal cameras over the oblique ones when highlights are fitted.
_FRONTAL = 2.0
_CAVITY = 1.9  # darkening of furrows per unit of hollowness


@dataclass(frozen=True)
class ExpressionShade:
    """One coefficient of the colour deformation: which units drive it, and the pose it is baked in."""

    name: str
    drivers: dict[str, float]  # unit -> share, `@` of each side; the coefficient is their clamped sum
    pose: dict[str, float]
    folds: dict[str, float]  # wrinkle -> depth
    side: int = 0  # +1 only the subject's left half, -1 only the right


def expression_shades() -> tuple[ExpressionShade, ...]:
    """The units whose folds and shadows a face cannot do without."""
    shades = []
    for side, sign in (("Left", 1), ("Right", -1)):
        shades.append(ExpressionShade(f"blink{side}", {f"eyeBlink{side}": 1.0}, {"eyeBlink@": 1.0}, {}, sign))
        shades.append(
            ExpressionShade(
                f"smile{side}",
                {f"mouthSmile{side}": 1.0, f"cheekSquint{side}": 0.5},
                {"mouthSmile@": 0.85},
                {"nasolabial": 0.30, "crows_feet": 0.22, "under_eye": 0.14},
                sign,
            )
        )
    shades += [
        ExpressionShade(
            "browUp",
            {"browInnerUp": 0.6, "browOuterUp@": 0.25},
            {"browInnerUp": 0.9, "browOuterUp@": 0.9},
            {"forehead": 0.26},
        ),
        ExpressionShade("browDown", {"browDown@": 0.5}, {"browDown@": 1.0}, {"glabella": 0.34}),
        ExpressionShade(
            "sneer",
            {"noseSneer@": 0.5, "mouthUpperUp@": 0.25},
            {"noseSneer@": 0.9, "mouthUpperUp@": 0.6},
            {"nose_bridge": 0.22, "nasolabial": 0.22},
        ),
        ExpressionShade("jawOpen", {"jawOpen": 1.25}, {"jawOpen": 0.8}, {}),
    ]
    return tuple(shades)


@dataclass(frozen=True)
class Shaded:
    """Colours of a person, ready to be stored."""

    sh: Array  # [N, 4, 3]
    shades: tuple[ExpressionShade, ...]
    indices: NDArray[np.int64]  # [M] Gaussians whose colour follows the expression
    d_sh0: Array  # [B, M, 3]


def shade(cloud: Cloud, head: Head, light: Light) -> Shaded:
    """Light the person at rest and in each expression pose."""
    views = view_directions()
    rest = bake(cloud, cloud.position, cloud.normal, cloud.rotation, environment(light, _REST_LIGHTS), views)
    neutral = _rest_light(cloud, rest)
    display = _display(cloud, neutral, light.exposure)
    shades = expression_shades()
    deltas = np.zeros((len(shades), len(cloud), 3))
    posed: dict[str, Array] = {}
    for number, one in enumerate(shades):
        key = repr(sorted(one.pose.items()))
        if key not in posed:
            posed[key] = _pose_display(cloud, head, light, one, neutral)
        side = 1.0 if one.side == 0 else smoothstep(-3, 3, one.side * cloud.canonical[:, 0])
        change = (posed[key] - display[:, 0]) * (_responds(cloud) * side)[:, None]
        # Bare skin hardly brightens in a fold, whatever a coarse mesh says; lids and lips come out of shadow.
        unfolds = (cloud.lid > 0.1) | (cloud.lip > 0.1) | (cloud.part == MOUTH) | one.name.startswith("blink")
        most = np.where(unfolds, np.where(cloud.lip > 0.1, 0.2, 0.35), 0.05)
        deltas[number] = np.clip(change, -0.30, most[:, None])
    strength = np.abs(deltas).max((0, 2))
    indices = np.flatnonzero(strength > 0.035)
    return Shaded(_harmonics(display, views), shades, indices, deltas[:, indices] / SH_C0)


def _responds(cloud: Cloud) -> Array:
    """1 where colours may follow the expression: the face, not hair, cloth or eyes."""
    able = np.isin(cloud.part, (SKIN, UNDERLAY, MOUTH)) & (cloud.canonical[:, 1] > -112)
    return np.asarray(able * smoothstep(-70, -40, cloud.canonical[:, 2]))


def _rest_light(cloud: Cloud, rest: Baked) -> Baked:
    """Light at rest after diffusion; the mouth's inside is lit as it is when open, or it would be black."""
    diffuse = _diffused(cloud, cloud.position, cloud.normal, cloud.rotation[:, :, 2], rest.diffuse)
    specular = rest.specular.copy()
    inside = (cloud.part == MOUTH) | (cloud.inner > 0.5)
    fill = smoothstep(-24, 18, cloud.canonical[:, 2])[:, None] * np.array([0.50, 0.45, 0.43])
    lining = np.where(cloud.part == MOUTH, 1.0, 0.15)[:, None]
    diffuse = np.where(inside[:, None], np.maximum(diffuse, fill * lining), diffuse)
    # Eyeballs turn: the lids' shadow is painted on them, not baked where it would turn along.
    eyes = cloud.part == EYE
    bright = np.quantile(diffuse[eyes], 0.9, axis=0)
    diffuse[eyes] = 0.85 * bright + 0.15 * diffuse[eyes]
    return Baked(diffuse, specular)


def _pose_display(cloud: Cloud, head: Head, light: Light, one: ExpressionShade, neutral: Baked) -> Array:
    """Frontal display colours [N, 3] in a pose, with the pose's folds pressed into the skin."""
    position, turn = deform(cloud, head, one.pose)
    normal = unit(np.einsum("nij,nj->ni", turn, cloud.normal))
    front = view_directions()[:1]
    rotation = np.einsum("nij,njk->nik", turn, cloud.rotation)
    lit = bake(cloud, position, normal, rotation, environment(light, _POSE_LIGHTS), front)
    diffuse = _diffused(cloud, position, normal, unit(rotation[:, :, 2]), lit.diffuse)
    inside = (cloud.part == MOUTH) | (cloud.inner > 0.5)
    diffuse = np.where(inside[:, None], np.maximum(diffuse, neutral.diffuse), diffuse)
    relief = np.ones(len(cloud))
    for name, depth in one.folds.items():
        furrow, ridge = wrinkles.fold(name, cloud.canonical)
        relief *= 1 - depth * furrow + 0.15 * depth * ridge
    flesh = np.isin(cloud.part, (SKIN,))
    diffuse = np.where(flesh[:, None], diffuse * relief[:, None] ** np.array([0.8, 1.05, 1.1]), diffuse)
    return _display(cloud, Baked(diffuse, lit.specular), light.exposure)[:, 0]


def _cavity(position: Array, facing: Array) -> Array:
    """How hollow the surface is around each point, [N]: 0 flat, positive in furrows, negative on ridges.

    The mean sine of the neighbours' elevation over the tangent plane.
    """
    near = cKDTree(position).query(position, k=28)[1][:, 1:]
    offset = position[near] - position[:, None]
    rise = (offset * facing[:, None]).sum(2) / np.maximum(np.linalg.norm(offset, axis=2), 1e-9)
    # Skin that touches other skin (lips, lids) is not hollow: neighbours must face the same way.
    same = (facing[near] * facing[:, None]).sum(2) > 0.2
    return np.asarray((rise * same).sum(1) / np.maximum(same.sum(1), 1))


def _diffused(cloud: Cloud, position: Array, normal: Array, facing: Array, light: Array) -> Array:
    """Light scattered inside skin: red spreads furthest. Lips and lids keep most of their detail.

    `normal` [N, 3] is rough, `facing` [N, 3] the smooth surface: its furrows are darkened after scattering.
    """
    light = light.copy()
    skin = np.flatnonzero(cloud.part == SKIN)
    near = cKDTree(position[skin]).query(position[skin], k=9)[1]
    weight = np.clip((normal[skin][near] * normal[skin][:, None]).sum(2), 0, 1) + 0.02
    weight /= weight.sum(1, keepdims=True)
    keep = 1 - np.maximum(0.35 * cloud.lid[skin], 0.68 * cloud.lip[skin])
    for channel, rounds in ((0, 7), (1, 4), (2, 3)):
        spread = light[skin, channel]
        for _ in range(rounds):
            spread = (spread[near] * weight).sum(1)
        light[skin, channel] += 0.9 * keep * (spread - light[skin, channel])
    hollow = _cavity(position[skin], facing[skin])
    relief = np.clip(1 - _CAVITY * hollow, 0.30, 1.10)[:, None] ** np.array([0.85, 1.05, 1.1])
    light[skin] *= np.where(cloud.inner[skin, None] > 0.5, 1, relief)
    return light


def _display(cloud: Cloud, lit: Baked, exposure: float) -> Array:
    """Display colours [N, W, 3] towards each view."""
    base = cloud.albedo * lit.diffuse * exposure
    colour = base[:, None] + SHINE * cloud.specular[:, None, None] * lit.specular
    hair = cloud.part == HAIR
    sheen = 0.9 * (0.003 + 0.36 * cloud.albedo[hair])[:, None] * lit.specular[hair]
    colour[hair] = 1.05 * base[hair][:, None] + sheen
    glint = cloud.part == GLINT
    colour[glint] = cloud.albedo[glint][:, None]
    return to_display(colour)


def _harmonics(display: Array, views: Array) -> Array:
    """Degree-1 coefficients [N, 4, 3] that fit display colours [N, W, 3] over the views, 3DGS convention."""
    along = -views  # from the camera to the Gaussian
    basis = sh_basis(torch.from_numpy(along), 1).numpy()
    weight = np.exp(_FRONTAL * (views[:, 2] - 1))[:, None]
    # A small ridge: a Gaussian that is the same from everywhere gets no slope from rounding.
    normal = basis.T @ (weight * basis) + 1e-4 * np.eye(4)
    solve = np.linalg.solve(normal, (weight * basis).T)
    return np.einsum("kw,nwc->nkc", solve, display - 0.5)


def deform(cloud: Cloud, head: Head, pose: dict[str, float]) -> tuple[Array, Array]:
    """Posed positions [N, 3] and affine maps [N, 3, 3] of the Gaussians' triangles."""

    def basis(vertices: Array) -> tuple[Array, Array]:
        p = vertices[head.faces[cloud.face]]
        e1, e2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
        n = np.cross(e1, e2)
        return p[:, 0], np.stack([e1, e2, n / np.sqrt(np.linalg.norm(n, axis=1, keepdims=True) + 1e-18)], -1)

    start, rest = basis(head.vertices)
    end, posed = basis(head.posed(pose))
    turn = posed @ np.linalg.inv(rest)
    return end + np.einsum("nij,nj->ni", turn, cloud.position - start), turn
