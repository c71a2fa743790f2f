"""MakeHuman's clothes dyed in one colour: folds and seams of their pictures stay, stripes and marks go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter

from render.making.items import Assets
from render.making.people.fields import smoothstep
from render.making.people.person import Clothes
from render.making.people.scene.colour import from_srgb8, to_srgb8

Picture = NDArray[np.floating[Any]]
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the picture

_SHADE = 0.3  # densities by which a fold may be darker or lighter than its cloth
_ALIEN_CHROMA, _ALIEN_SHADE = 0.22, 0.35  # densities by which trim and print differ from the cloth
_VERSION = 1


@dataclass(frozen=True)
class Outfit:
    """Which part of an item's picture is the garment that is dyed, and what it is made of."""

    dyed: tuple[Box, ...]
    keeps_folds: float = 1.0  # 0: its picture shows a pattern rather than folds
    only_darker: float = 1.0  # linear grey; a suit's shirt and tie are lighter, and stay
    threads_per_cm: float = 9.0
    fuzz: float = 0.25
    creases_mm: float = 1.2  # height of what cloth does between its seams
    normal: bool = False  # whether MakeHuman made a map of its normals


OUTFITS = {
    "female_casualsuit01": Outfit(((0, 0, 1, 0.43), (0.72, 0.43, 1, 0.9))),
    "female_sportsuit01": Outfit(((0, 0, 1, 0.43), (0.72, 0.43, 1, 0.9)), normal=True),
    "female_elegantsuit01": Outfit(
        ((0, 0.47, 1, 1), (0.78, 0, 1, 0.47)), keeps_folds=0.0, fuzz=0.12, creases_mm=1.0, normal=True
    ),
    "male_casualsuit02": Outfit(((0, 0, 1, 0.41), (0.76, 0.41, 1, 1))),
    "male_casualsuit04": Outfit(((0, 0, 1, 0.42),)),
    "male_casualsuit06": Outfit(((0, 0, 1, 0.43),), normal=True),
    "male_elegantsuit01": Outfit(((0, 0, 1, 1),), only_darker=0.09, threads_per_cm=14, creases_mm=0.6),
    "male_worksuit01": Outfit(((0, 0, 1, 1),), keeps_folds=1.0, threads_per_cm=12, creases_mm=1.0),
}


def clothes_picture(clothes: Clothes, assets: Assets, folder: Path) -> Path:
    """The item's picture (8 bit, sRGB, RGBA) in the described colour; made if not there."""
    name = diffuse(clothes.item)
    described = [_VERSION, clothes.item, clothes.colour, assets.digest(name)]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    path = folder / f"clothes_{digest[:16]}.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.asarray(Image.open(assets.file(name)).convert("RGBA"))
        painted = dye(picture, clothes.colour, OUTFITS[clothes.item])
        partial = path.with_name(f"partial_{path.name}")
        Image.fromarray(painted).save(partial, compress_level=1)
        partial.replace(path)
    return path


def diffuse(item: str) -> str:
    """Path of an item's picture among the assets."""
    return f"clothes/{item}/{item}_diffuse.png"


def material_numbers(item: str) -> Mapping[str, float]:
    """What the cloth's shader is told of an outfit."""
    outfit = OUTFITS[item]
    return {
        "threads_per_m": 100 * outfit.threads_per_cm,
        "fuzz": outfit.fuzz,
        "creases_m": 1e-3 * outfit.creases_mm,
    }


def dye(picture: NDArray[np.uint8], colour: tuple[float, float, float], outfit: Outfit) -> NDArray[np.uint8]:
    """A picture [H, W, 4] with its garment in one colour (sRGB 0..255), print and trim painted out."""
    linear = from_srgb8(picture[..., :3])
    density = -np.log(np.maximum(linear, 0.004))
    height, width = density.shape[:2]
    dyed = np.zeros((height, width), bool)
    for left, top, right, bottom in outfit.dyed:
        dyed[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    dyed &= (linear.mean(-1) < outfit.only_darker) & (picture[..., 3] > 0)
    if not dyed.any():
        return picture.copy()
    grey = density.mean(-1)
    usual = np.median(density[dyed], 0)
    chroma = np.linalg.norm((density - grey[..., None]) - (usual - usual.mean()), axis=-1)
    alien = (chroma > _ALIEN_CHROMA) | (np.abs(grey - usual.mean()) > _ALIEN_SHADE)
    kept = dyed & ~binary_dilation(alien, iterations=max(width // 500, 1))
    shade = _filled(grey - usual.mean(), kept)
    shade = outfit.keeps_folds * _SHADE * np.tanh(shade / _SHADE)
    base = from_srgb8(np.array(colour, np.uint8))
    result = picture.copy()
    result[..., :3][dyed] = to_srgb8(base * np.exp(-shade[..., None]))[dyed]
    return result


def _filled(values: Picture, known: NDArray[np.bool_]) -> Picture:
    """Values [H, W] where they are known, and smoothly what is around elsewhere."""
    weight, result = known.astype(np.float32), np.where(known, values, 0).astype(np.float32)
    trust = weight.copy()
    for radius in (4, 12, 40):
        around = gaussian_filter(weight, radius)
        mean = gaussian_filter(values * weight, radius) / np.maximum(around, 1e-5)
        share = (1 - trust) * smoothstep(0.02, 0.3, around)
        result, trust = result + share * mean, trust + share
    return np.asarray(result, np.float32)
