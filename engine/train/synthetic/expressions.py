"""Faces that people make: combinations of a few actions, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from render.making.people.head import both_sides

# Actions of a region of the face, of which one expression takes at most one each; `@` is Left and Right.
_ACTIONS: dict[str, tuple[dict[str, float], ...]] = {
    "mouth": (
        {"mouthSmile@": 1.0, "cheekSquint@": 0.7, "mouthUpperUp@": 0.2},
        {"jawOpen": 0.8, "mouthLowerDown@": 0.3},
        {"mouthSmile@": 0.8, "jawOpen": 0.45, "cheekSquint@": 0.5, "mouthUpperUp@": 0.4},
        {"mouthPucker": 1.0, "mouthFunnel": 0.3},
        {"mouthFunnel": 0.9, "jawOpen": 0.3},
        {"mouthFrown@": 1.0, "mouthShrugLower": 0.6},
        {"mouthStretch@": 0.9, "jawOpen": 0.2},
        {"mouthPress@": 1.0, "mouthRollLower": 0.4},
        {"mouthLeft": 0.9},
        {"mouthSmileRight": 1.0, "mouthUpperUpRight": 0.5},
        {"mouthUpperUp@": 0.9, "noseSneer@": 1.0},
    ),
    "brows": (
        {"browInnerUp": 1.0, "browOuterUp@": 0.8},
        {"browDown@": 1.0},
        {"browInnerUp": 1.0},
        {"browOuterUpLeft": 1.0, "browDownRight": 0.4},
    ),
    "eyes": (
        {"eyeSquint@": 0.9, "cheekSquint@": 0.3},
        {"eyeWide@": 0.9},
        {"eyeBlink@": 1.0},
        {"eyeBlinkLeft": 0.9, "cheekSquintLeft": 0.6},
        {"eyeLookOutLeft": 0.7, "eyeLookInRight": 0.7},
        {"eyeLookDown@": 0.8},
        {"eyeLookUp@": 0.6},
    ),
}
_HABIT = {"mouth": 0.9, "brows": 0.6, "eyes": 0.6}  # how often a region acts


def unit_vector(names: tuple[str, ...], units: Mapping[str, float]) -> Tensor:
    """Named weights as a vector [E]; `@` at a name's end means Left and Right. Raises KeyError."""
    vector = torch.zeros(len(names))
    for name, weight in units.items():
        for full in both_sides(name):
            if full not in names:
                raise KeyError(full)
            vector[names.index(full)] = weight
    return vector


def random_expression(names: tuple[str, ...], rng: np.random.Generator) -> Tensor:
    """Unit weights [E] of one face, at least one region of it in action."""
    total = torch.zeros(len(names))
    while not bool(total.any()):
        for region, actions in _ACTIONS.items():
            if rng.random() < _HABIT[region]:
                action = unit_vector(names, actions[int(rng.integers(len(actions)))])
                total = torch.maximum(total, action * float(rng.uniform(0.45, 1.0)))
    return total
