"""A person's skin picture, made of MakeHuman's photographic skins.

Those hold the light of the photographs, lashes, brows and scalps, and are of few people. What is kept of them
is the fine detail of one (pores, freckles, veins) and the zones of pigment of all that are mixed (cheeks,
lips, palms, nails); light is taken out, and melanin and haemoglobin are moved to what the description says.

In densities (minus the logarithm of linear reflectance) pigments add up, as Beer and Lambert have it, and a
lamp's light is a grey density: three channels, three unknowns.
Source: Tsumura et al., Image-based skin color and texture analysis/synthesis, SIGGRAPH 2003.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from render.making.items import Assets
from render.making.people.features import above_hairline, mask
from render.making.people.fields import BARE_SKIN, PIGMENTS, blob, fbm, smoothstep, value_noise
from render.making.people.person import Hair, Person
from render.making.people.scene.colour import from_srgb8, to_srgb8
from render.making.people.scene.uv import FlatBody, flat_body, mirrored, places

Array = NDArray[np.float64]
Picture = NDArray[np.floating[Any]]

SIZE, COARSE = 2048, 512  # pixels a side of MakeHuman's pictures, and of what varies slowly
_DARKEST = 0.25  # of detail, in densities
_DETAIL_GAIN = 1.5  # scattering blurs once more what was photographed through it
_DETAIL_PX = 2.5  # of the coarse picture: about 4 mm on the face; what is finer is detail
_DARK, _LIGHT = "young_darkskinned_male_diffuse", "young_lightskinned_male_diffuse"
_ASYMMETRY_TAKEN = 0.42  # 0.5: both sides the same
_BROAD_PX, _BROAD_TAKEN = 14.0, 0.9  # of the coarse picture; of what varies that slowly over a head
_ZONES_KEPT = 0.5  # of what melanin differs by over a face; the rest was light
_LIP, _LIP_TAKES = 0.5, 0.95  # of the lips' described blood, and of the skin's melanin, in the lips
# Little melanin takes blue first; what is added over `_MUCH` takes all colours more alike.
_MUCH, _DEEP_MELANIN = 0.8, np.array([0.98, 1.10, 1.22])
_VERSION = 9  # of what is done here: counts in the pictures' names


@dataclass(frozen=True)
class Zones:
    """Pigments [COARSE, COARSE] of one skin without light, hair and detail: melanin, and haemoglobin."""

    melanin: Picture
    haemoglobin: Picture


def skin_picture(person: Person, assets: Assets, folder: Path) -> Path:
    """The person's skin as a picture [SIZE, SIZE, 3] (8 bit, sRGB) in the body's UV; made if not there.

    Raises MakeHumanDataError where a picture that it is mixed of is missing.
    """
    described = {
        "skin": asdict(person.skin),
        "age": person.age,
        "hair": asdict(person.hair),
        "seed": person.seed,
    }
    sources = {name: assets.digest(_file(name)) for name in (*person.skin.pictures, _DARK, _LIGHT)}
    digest = hashlib.sha256(json.dumps([_VERSION, described, sources], sort_keys=True).encode()).hexdigest()
    path = folder / f"skin_{person.name}_{digest[:16]}.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"partial_{path.name}")
        Image.fromarray(to_srgb8(paint_skin(person, assets))).save(partial, compress_level=1)
        partial.replace(path)
    return path


def paint_skin(person: Person, assets: Assets) -> Picture:
    """Linear reflectance [SIZE, SIZE, 3] of the person's skin."""
    shares = person.skin.pictures
    total = sum(shares.values())
    paths = {name: assets.file(_file(name)) for name in shares}
    zones = [(share / total, zones_of(slow_density(paths[name]))) for name, share in shares.items()]
    melanin = np.sum([share * z.melanin for share, z in zones], 0)
    haemoglobin = np.sum([share * z.haemoglobin for share, z in zones], 0)
    melanin, haemoglobin = _toned(person, melanin, haemoglobin, where_melanin_goes(assets))
    painted = pigment_density(_finer(melanin), _finer(haemoglobin))
    painted += _marks(person)
    most = paths[max(shares, key=lambda name: shares[name])]
    density = _density(most)
    painted += _DETAIL_GAIN * _detail(density, slow_density(most))
    # The mouth's lining and what else is not skin keeps the picture's own colour.
    own = _own_colour()[..., None]
    painted = own * (density + np.log(BARE_SKIN)) + (1 - own) * painted
    painted = painted[tuple(flat_body(SIZE).nearest)]  # seams are looked up a pixel beside the mesh, too
    return np.clip(BARE_SKIN * np.exp(-painted), 0.003, 0.9).astype(np.float32)


@cache
def slow_density(path: Path) -> Picture:
    """What varies slowly in a picture: densities [COARSE, COARSE, 3], hair filled from around."""
    return _slow(_density(path))


def zones_of(slow: Picture) -> Zones:
    """Pigments of slowly varying densities [COARSE, COARSE, 3] without the lamps' light.

    Light leaves a grey shade, which is dropped. It falls from one side, and what is left of it looks like
    pigment: a face's own zones are alike on both sides, so most of the sides' difference goes too.
    """
    matrix = np.stack([np.ones(3), *PIGMENTS])
    _, *pigments = np.moveaxis((slow + np.log(BARE_SKIN)) @ np.linalg.inv(matrix), -1, 0)
    rows, columns = mirrored(COARSE)
    even = [p - _ASYMMETRY_TAKEN * (p - p[rows, columns]) for p in pigments]
    return Zones(*(p.astype(np.float32) for p in even))


def where_melanin_goes(assets: Assets) -> Picture:
    """Share [COARSE, COARSE] of a face's melanin that each place takes: hardly any in palms, soles and nails.

    Measured: by what MakeHuman's dark and light men differ.
    """
    dark, light = (zones_of(slow_density(assets.file(_file(name)))).melanin for name in (_DARK, _LIGHT))
    more = dark - light
    measured = 0.1 + 0.9 * smoothstep(0.3, 0.75, more / face_mean(more))
    # Above the hands the two photographs differ by their lamps only.
    above = smoothstep(-540, -500, flat_body(COARSE).points[..., 1])
    return np.asarray(above + (1 - above) * measured, np.float32)


def pigment_density(melanin: Picture, haemoglobin: Picture) -> Picture:
    """Densities [..., 3] of pigments [...]: as `skin_colour` has it, but that much melanin is nearly grey."""
    much = np.maximum(melanin - _MUCH, 0)[..., None]
    brown = melanin[..., None] * PIGMENTS[0] + much * (_DEEP_MELANIN - PIGMENTS[0])
    return np.asarray(brown + haemoglobin[..., None] * PIGMENTS[1])


def depth_of(melanin: float) -> float:
    """Melanin of a described skin in `skin_colour`'s units.

    Descriptions count it for painters, whose light and curve darken deep tones; here only pigment does.
    """
    return melanin * (1 + 0.4 * melanin)


def face_mean(values: Picture) -> float:
    """Mean of a coarse picture over forehead and cheeks."""
    points = flat_body(COARSE).points
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    forehead = (x < 32) & (y > 28) & (y < 52)
    cheeks = (x > 26) & (x < 50) & (y > -48) & (y < -22)
    return float(values[(forehead | cheeks) & (z > -20) & flat_body(COARSE).covered].mean())


def _file(name: str) -> str:
    return f"skins/textures/{name}.png"


def _density(path: Path) -> Picture:
    picture = np.asarray(Image.open(path).convert("RGB"))
    return -np.log(np.maximum(from_srgb8(picture), 0.004))


def _toned(person: Person, melanin: Picture, haemoglobin: Picture, takes: Picture) -> tuple[Picture, Picture]:
    """Pigments with the means, flush and lips that are asked."""
    skin, flat = person.skin, flat_body(COARSE)
    shape = melanin.shape
    points = flat.points.reshape(-1, 3).astype(float)
    uv = places(COARSE)
    lips = smoothstep(0.1, 0.6, mask("lips", uv, 2.0)).reshape(shape)
    usual, blood = face_mean(melanin), face_mean(haemoglobin)
    # What varies over a hand's breadth of the head a lamp has left: warm light falls off as melanin does.
    head = flat.covered * smoothstep(-260, -170, flat.points[..., 1])
    broad = gaussian_filter(melanin * head, _BROAD_PX) / np.maximum(gaussian_filter(head, _BROAD_PX), 1e-3)
    more = melanin - usual - _BROAD_TAKEN * head * (broad - usual)
    even = usual + np.where(more < 0, _ZONES_KEPT * more, _ZONES_KEPT * 0.4 * np.tanh(more / 0.4))
    toned = even + (depth_of(skin.melanin) - usual) * takes
    flush = haemoglobin - blood
    body = np.clip(flush, -0.25, 0.5)
    # Lips have their own pigment: the picture says how it is spread.
    lip_flush = float((flush * lips).sum() / lips.sum())
    pattern = np.clip(flush / max(lip_flush, 0.1), 0.4, 1.5)
    painted_flush = _flush(points).reshape(shape)
    body = body + painted_flush - face_mean(painted_flush)
    reddened = (
        skin.haemoglobin + (1 - lips) * skin.ruddiness * body + lips * _LIP * skin.lip_pigment[1] * pattern
    )
    toned = (1 - lips) * toned + lips * (depth_of(skin.melanin) * _LIP_TAKES + skin.lip_pigment[0])
    # Skin is never one colour: blotches a few centimetres wide.
    blotches = 0.10 * fbm(points, 0.05, person.seed + 11) + 0.09 * fbm(points, 0.2, person.seed + 13)
    reddened = reddened + (0.4 + 0.6 * skin.ruddiness + 0.5 * person.age) * blotches.reshape(shape)
    toned = toned + (0.10 + 0.10 * depth_of(skin.melanin)) * _tanned(points).reshape(shape)
    toned = toned * (1 + 0.08 * fbm(points, 0.035, person.seed + 5).reshape(shape))
    # The zones above are not balanced: the face's mean is what is described.
    toned = toned + (1 - lips) * takes * (depth_of(skin.melanin) - face_mean(toned))
    reddened = reddened + (1 - lips) * (skin.haemoglobin - face_mean(reddened))
    return np.maximum(toned, 0.04), np.maximum(reddened, 0.08)


def _flush(points: Array) -> Array:
    """Where blood shines through, [N] at canonical points: cheeks, nose, ears, chin and below the eyes."""
    side = np.c_[np.abs(points[:, 0]), points[:, 1:]]
    return (
        0.30 * blob(side, (43, -30, 10), (15, 12, 40))
        + 0.26 * blob(side, (0, -34, 42), (10, 10, 20))
        + 0.26 * blob(side, (16, -41, 22), (5, 6, 12))
        + 0.16 * blob(side, (0, -96, 20), (15, 10, 40))
        + 0.10 * blob(side, (0, -55, 30), (26, 10, 40))
        + 0.24 * blob(side, (28, -15, 10), (14, 5, 20))
        + 0.35 * blob(side, (30, 2, 12), (15, 8, 20))
        + 0.45 * blob(side, (78, -8, -90), (8, 26, 30))
        - 0.12 * blob(side, (0, 50, 20), (45, 25, 40))
    )


def _tanned(points: Array) -> Array:
    """Where faces are darker, [N]: forehead, round the eyes, round the mouth of dark people."""
    side = np.c_[np.abs(points[:, 0]), points[:, 1:]]
    return (
        0.8 * blob(side, (28, -15, 10), (16, 6, 20))
        + 0.9 * blob(side, (30, 8, 10), (17, 8, 20))
        + 0.4 * blob(side, (0, 50, 20), (50, 25, 50))
        - 0.5 * blob(side, (40, -24, 10), (18, 9, 30))
        + 0.5 * blob(side, (0, -66, 30), (34, 16, 40))
    )


def _slow(density: Picture) -> Picture:
    step = SIZE // COARSE
    flat = flat_body(SIZE)
    use = (flat.covered & (_finer(_hidden()) < 0.3)).astype(np.float32)

    def coarse(values: Picture) -> Picture:
        return values.reshape(COARSE, step, COARSE, step, -1).mean((1, 3))

    weight = coarse(use[..., None])
    value = coarse(density * use[..., None])
    result, trust = np.zeros_like(value), np.zeros_like(weight)
    for radius in (_DETAIL_PX, 2 * _DETAIL_PX, 4 * _DETAIL_PX, 12 * _DETAIL_PX):
        around = gaussian_filter(weight, (radius, radius, 0), truncate=2.5)
        mean = gaussian_filter(value, (radius, radius, 0), truncate=2.5) / np.maximum(around, 1e-6)
        share = (1 - trust) * smoothstep(0.02, 0.5, around)
        result, trust = result + share * mean, trust + share
    # Where nothing is known for a hand's breadth around, as everywhere.
    mean = value.sum((0, 1)) / weight.sum()
    return np.asarray(result + (1 - trust) * mean, np.float32)


def _detail(density: Picture, slow: Picture) -> Picture:
    """What is finer than zones [SIZE, SIZE, 3], in densities; where hair was, that of the forehead."""
    fine = density - _finer(slow)
    # Creases and openings are dark by themselves where they are path-traced; moles and pores are less so.
    grey = np.abs(fine.mean(-1, keepdims=True))
    fine *= _DARKEST * np.tanh(grey / _DARKEST) / np.maximum(grey, 1e-6)
    fine = np.clip(fine, -0.5, 0.5)
    patch = _forehead(fine)
    patch -= gaussian_filter(patch, (12, 12, 0), mode="mirror")
    height, width = patch.shape[:2]
    both = np.concatenate([patch, patch[::-1]])
    tile = np.concatenate([both, both[:, ::-1]], 1)
    tiled = np.tile(tile, (SIZE // (2 * height) + 1, SIZE // (2 * width) + 1, 1))[:SIZE, :SIZE]
    hidden = _finer(_hidden())[..., None]
    return np.asarray((1 - hidden) * fine + hidden * tiled, np.float32)


def _forehead(values: Picture) -> Picture:
    points = flat_body(SIZE).points
    inside = (
        (np.abs(points[..., 0]) < 24) & (points[..., 1] > 32) & (points[..., 1] < 56) & (points[..., 2] > 0)
    )
    rows, columns = np.nonzero(inside & flat_body(SIZE).covered)
    middle = np.median(rows), np.median(columns)
    return values[int(middle[0]) - 44 : int(middle[0]) + 44, int(middle[1]) - 18 : int(middle[1]) + 18].copy()


@cache
def _hidden() -> Picture:
    """Share [COARSE, COARSE] of the pictures' brows, lashes, eyes and scalp, which are not skin."""
    flat = flat_body(COARSE)
    points = flat.points.reshape(-1, 3).astype(float)
    side = np.c_[np.abs(points[:, 0]), points[:, 1:]]
    wander = 3 * value_noise(points, 0.15, 3)
    above = above_hairline(points, Hair()) + wander
    ears = mask("ears", places(COARSE), 2.0)
    # Photographed hair reaches down the temples.
    reach = 10 + 16 * smoothstep(36, 54, side[:, 0])
    scalp = smoothstep(-12, 0, above + reach) * (1 - smoothstep(0.2, 0.6, ears)) * (points[:, 1] > -90)
    front = side[:, 2] > -25
    eye = np.hypot((side[:, 0] - 30.5) / 21.0, (side[:, 1] - 0.5) / 9.0)
    eyes = front * smoothstep(1.15, 0.85, eye)
    arch = 17.0 + 5.0 * np.sin(np.clip((side[:, 0] - 10) / 52, 0, 1) * 2.2)
    brows = front * smoothstep(9, 6, np.abs(side[:, 1] - arch)) * smoothstep(64, 58, side[:, 0])
    brows *= smoothstep(6, 9, side[:, 0])
    return np.maximum.reduce([scalp, eyes, brows]).reshape(COARSE, COARSE).astype(np.float32)


@cache
def _own_colour() -> Picture:
    """Share [SIZE, SIZE] of what keeps its picture's colour: the mouth's lining."""
    lining = mask("inside-mouth", places(COARSE), 1.0).reshape(COARSE, COARSE)
    return np.asarray(smoothstep(0.3, 0.7, _finer(lining)), np.float32)


def _marks(person: Person) -> Picture:
    """Densities [SIZE, SIZE, 3] of freckles, of stubble and of the roots of the scalp's hair."""
    flat = flat_body(SIZE)
    rng = np.random.default_rng((person.seed, 21))
    density = np.zeros((SIZE, SIZE, 3), np.float32)
    if person.skin.freckles:
        density += _freckles(person.skin.freckles, flat, rng)[..., None] * PIGMENTS[0].astype(np.float32)
    rows, columns = np.nonzero(flat.covered & flat.head)
    points = flat.points[rows, columns].astype(float)
    dots = rng.random(len(points)) ** 3
    if person.skin.stubble:
        beard = beard_share(points) * (
            1 - smoothstep(0.02, 0.2, mask("lips", places(SIZE), 2.0))[rows * SIZE + columns]
        )
        # Roots seen through skin are blue-grey: red is taken most.
        shadow = person.skin.stubble * beard * (0.35 + 1.3 * dots) * (1 + 0.4 * value_noise(points, 0.08, 22))
        density[rows, columns] += (shadow[:, None] * np.array([1.0, 0.93, 0.88])).astype(np.float32)
    above = above_hairline(points, person.hair) + 5 * value_noise(points, 0.09, person.seed + 43)
    ears = mask("ears", places(SIZE), 2.0)[rows * SIZE + columns]
    scalp = smoothstep(-4, 10, above) * (1 - smoothstep(0.2, 0.5, ears)) * (points[:, 1] > -80)
    roots = scalp * (0.5 + 1.1 * dots) * person.hair.melanin * (1 - person.hair.white)
    density[rows, columns] += roots[:, None].astype(np.float32)
    return density


def beard_share(points: Array) -> Array:
    """Where a beard grows, [N] in 0..1 at canonical points [N, 3]."""
    side = np.c_[np.abs(points[:, 0]), points[:, 1:]]
    wander = 4 * value_noise(points, 0.12, 7)
    edge = np.interp(side[:, 0], (0, 14, 26, 40, 56, 70, 76), (-46, -46, -50, -62, -54, -22, -10))
    jaw = smoothstep(-8, 10, edge - side[:, 1] + wander) * smoothstep(-150, -118, points[:, 1])
    jaw *= smoothstep(-75, -50, points[:, 2])
    bare = np.maximum(blob(side, (16, -87, 30), (5, 5, 30)), 0.8 * blob(side, (0, -50, 35), (2, 6, 20)))
    return np.asarray(jaw * (1 - 0.6 * bare))


def _freckles(count: int, flat: FlatBody, rng: np.random.Generator) -> Picture:
    """Melanin [SIZE, SIZE] of freckles, most on nose and cheeks."""
    rows, columns = np.nonzero(flat.covered & (flat.points[..., 2] > -40) & (flat.points[..., 1] > -110))
    points = flat.points[rows, columns].astype(float)
    side = np.c_[np.abs(points[:, 0]), points[:, 1:]]
    likely = 0.06 + blob(side, (30, -24, 20), (20, 13, 40)) + 0.8 * blob(side, (0, -20, 35), (10, 16, 30))
    likely += 0.25 * blob(side, (15, 45, 20), (35, 14, 40))
    eye = np.hypot(side[:, 0] - 29, 1.2 * side[:, 1])
    likely *= smoothstep(12, 20, eye) * (1 - mask("lips", places(SIZE), 2.0)[rows * SIZE + columns])
    likely *= 0.4 + 0.6 * smoothstep(-0.3, 0.5, value_noise(points, 0.06, 9))  # they come in groups
    chosen = rng.choice(len(rows), count, replace=False, p=likely / likely.sum())
    melanin = np.zeros((SIZE, SIZE), np.float32)
    y, x = np.mgrid[-6:7, -6:7]
    for place in chosen:
        radius = rng.uniform(0.7, 1.6)  # pixels of about .45 mm
        stretch = rng.uniform(0.75, 1.3)
        spot = np.exp(-0.5 * ((x * stretch) ** 2 + (y / stretch) ** 2) / radius**2)
        row, column = rows[place], columns[place]
        melanin[row - 6 : row + 7, column - 6 : column + 7] += rng.uniform(0.1, 0.4) * spot
    return 0.7 * np.tanh(melanin / 0.7)


def _finer(coarse: Picture) -> Picture:
    """A coarse picture [COARSE, COARSE] (with channels or not) at full size, interpolated."""
    if coarse.ndim == 3:
        return np.stack([_finer(channel) for channel in np.moveaxis(coarse, -1, 0)], -1)
    full = Image.fromarray(np.asarray(coarse, np.float32)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(full)
