"""Light on a cloud: shadows by depth maps, and what each Gaussian sends to the eye."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.machine_code import kept_njit
from render.making.people.fields import unit, value_noise
from render.making.people.gaussians.sampling import BROW, GLINT, HAIR, LASH, MOUTH, SKIN, UNDERLAY, Cloud
from render.making.people.light import DRY_WRAP, FLESH_WRAP, Environment

Array = NDArray[np.float64]

_MAP_M = 0.80  # side of a shadow map
_TEXEL_M = 1.1e-3
_MAP_CENTRE = np.array([0.0, -0.01, -0.05])


@dataclass(frozen=True)
class Baked:
    """Light leaving each Gaussian: the same to all sides, and the highlight towards each view."""

    diffuse: Array  # [N, 3] irradiance to be multiplied by the albedo
    specular: Array  # [N, W, 3] before the Gaussian's own strength


def view_directions() -> Array:
    """Directions from the head to the cameras the highlights are fitted for, [W, 3]; the first is frontal."""
    views = [(0.0, 0.03, 1.0)]
    for yaw in (-60, -40, -20, 0, 20, 40, 60):
        for pitch in (-18, 0, 18):
            a, b = np.radians(yaw), np.radians(pitch)
            views.append((np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)))
    return unit(np.array(views))


@kept_njit(fastmath=True)
def _visible(
    points: Array,
    occluders: Array,
    radius: Array,
    direction: Array,
    softness: Array,
    bias: Array,
    map_m: float,
    texel: float,
    out: Array,
) -> None:
    """Soft shadow test of `points` along `direction` against discs, by a depth map seen from the light."""
    axis = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.7 else np.array([0.0, 1.0, 0.0])
    u = np.cross(axis, direction)
    u /= np.sqrt((u * u).sum())
    v = np.cross(direction, u)
    n = int(map_m / texel)
    depth = np.full((n, n), -1e9)
    for i in range(occluders.shape[0]):
        p = occluders[i]
        x = (p[0] * u[0] + p[1] * u[1] + p[2] * u[2]) / texel + n * 0.5
        y = (p[0] * v[0] + p[1] * v[1] + p[2] * v[2]) / texel + n * 0.5
        z = p[0] * direction[0] + p[1] * direction[1] + p[2] * direction[2]
        k = int(radius[i] / texel + 0.5)
        for b in range(max(0, int(y) - k), min(n, int(y) + k + 1)):
            for a in range(max(0, int(x) - k), min(n, int(x) + k + 1)):
                if depth[b, a] < z:
                    depth[b, a] = z
    for i in range(points.shape[0]):
        p = points[i]
        x = int((p[0] * u[0] + p[1] * u[1] + p[2] * u[2]) / texel + n * 0.5)
        y = int((p[0] * v[0] + p[1] * v[1] + p[2] * v[2]) / texel + n * 0.5)
        z = p[0] * direction[0] + p[1] * direction[1] + p[2] * direction[2]
        total, taps = 0.0, 0
        for b in range(max(0, y - 1), min(n, y + 2)):
            for a in range(max(0, x - 1), min(n, x + 2)):
                total += np.exp(-max(0.0, depth[b, a] - z - bias[i]) / softness[i])
                taps += 1
        out[i] = total / max(taps, 1)


@kept_njit(fastmath=True)
def _add_highlights(
    normal: Array,
    tangent: Array,
    is_hair: NDArray[np.bool_],
    gloss: Array,
    facing: Array,
    lit: Array,
    halves: Array,
    energy: Array,
    out: Array,
) -> None:
    """Blinn-Phong on surfaces, Kajiya-Kay on hair, for one light and all views; adds to out [N, W, 3]."""
    for i in range(normal.shape[0]):
        if lit[i] < 0.01 or facing[i] <= (-0.1 if is_hair[i] else 0.0):
            continue
        for w in range(halves.shape[0]):
            h = halves[w]
            if is_hair[i]:
                along = tangent[i, 0] * h[0] + tangent[i, 1] * h[1] + tangent[i, 2] * h[2]
                base = np.sqrt(max(0.0, 1 - along * along))
            else:
                base = normal[i, 0] * h[0] + normal[i, 1] * h[1] + normal[i, 2] * h[2]
            if base < 0.7:
                continue
            s = lit[i] * np.exp(gloss[i] * np.log(base))
            for c in range(3):
                out[i, w, c] += s * energy[c]


def bake(
    cloud: Cloud, position: Array, normal: Array, rotation: Array, lights: Environment, views: Array
) -> Baked:
    """Light a posed cloud, which casts its own shadows: positions, normals [N, 3] and rotations [N, 3, 3]."""
    hairy = cloud.part == HAIR
    occluders, radius = _occluders(cloud, position, rotation)
    softness = np.where(hairy, 10e-3, 4.0e-3)
    bias = np.where(hairy, 4.5e-3, 2.4e-3)
    probe = position + normal * np.where(hairy, 0, 2.6e-3)[:, None]
    # Light bleeds round the terminator of flesh, red furthest.
    fleshy = np.isin(cloud.part, (SKIN, UNDERLAY, BROW, MOUTH))[:, None]
    wrap = np.where(fleshy, np.array(FLESH_WRAP), DRY_WRAP)
    tangent = rotation[:, :, 0]
    fuzz = 0.12 + 0.10 * value_noise(1e3 * cloud.position, 0.09, 200)
    strand = unit(tangent + fuzz[:, None] * normal)
    gloss = np.where(hairy, 70.0, cloud.gloss)
    strongest = lights.radiance.max()

    visible = np.zeros(len(cloud))
    open_sky, sky = np.zeros(len(cloud)), np.full(len(cloud), 1e-9)
    diffuse, specular = np.zeros((len(cloud), 3)), np.zeros((len(cloud), len(views), 3))
    for direction, radiance in zip(lights.towards, lights.radiance, strict=True):
        _visible(
            probe - _MAP_CENTRE,
            occluders - _MAP_CENTRE,
            radius,
            direction,
            softness,
            bias,
            _MAP_M,
            _TEXEL_M,
            visible,
        )
        facing = normal @ direction
        sky += np.clip(facing + 0.1, 0, None)
        open_sky += visible * np.clip(facing + 0.1, 0, None)
        falloff = np.clip((facing[:, None] + wrap) / (1 + wrap) ** 2, 0, None)
        across = np.sqrt(np.clip(1 - (tangent[hairy] @ direction) ** 2, 0, 1))
        falloff[hairy] = 0.9 * (0.35 * across + 0.65 * np.clip(0.3 + 0.7 * facing[hairy], 0, 1))[:, None]
        diffuse += visible[:, None] * falloff * radiance
        if radiance.max() > 0.04 * strongest:
            _add_highlights(
                normal, strand, hairy, gloss, facing, visible, unit(views + direction), radiance, specular
            )
    ambient = np.where(hairy, 1, 0.45 + 0.55 * np.clip(open_sky / sky * 1.25, 0, 1))
    diffuse *= np.stack(
        [ambient**0.75, ambient**1.1, ambient**1.2], 1
    )  # blood reddens what light reaches late
    weight = 4 / len(lights.towards)
    return Baked(diffuse * weight, specular * (weight * (gloss + 2) / 8)[:, None, None])


def seen_share(cloud: Cloud) -> Array:
    """Largest share [N] of each Gaussian that any of the cameras around and above the head sees."""
    hairy = cloud.part == HAIR
    occluders, radius = _occluders(cloud, cloud.position, cloud.rotation)
    softness, bias = np.where(hairy, 5e-3, 3e-3), np.where(hairy, 5e-3, 3e-3)
    seen, best = np.zeros(len(cloud)), np.zeros(len(cloud))
    for pitch in (-25, 0, 30, 60):
        for yaw in range(0, 360, 24):
            a, b = np.radians(yaw), np.radians(pitch)
            view = np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
            probe, casters = cloud.position - _MAP_CENTRE, occluders - _MAP_CENTRE
            _visible(probe, casters, radius, view, softness, bias, _MAP_M, _TEXEL_M, seen)
            best = np.maximum(best, seen)
    return best


def _occluders(cloud: Cloud, position: Array, rotation: Array) -> tuple[Array, Array]:
    """Discs that cast shadows: hairs as three along their length; lashes, brows and glints cast none."""
    solid = ~np.isin(cloud.part, (LASH, BROW, GLINT)) & (cloud.opacity > 0.15)
    long = cloud.scale[:, 0] > 2.2 * cloud.scale[:, 1]
    radius = np.where(long, 1.6 * cloud.scale[:, 1], 1.2 * cloud.scale[:, 0])
    points, radii = [position[solid]], [radius[solid]]
    hair = solid & (cloud.part == HAIR) & long
    reach = rotation[hair][:, :, 0] * cloud.scale[hair, :1]
    for end in (-0.8, 0.8):
        points.append(position[hair] + end * reach)
        radii.append(radius[hair])
    return np.concatenate(points), np.concatenate(radii)
