"""The light on a person: a room and soft lamps, sampled as distant lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import unit

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

# How far light bleeds round the terminator: red furthest in flesh, hardly at all on anything dry.
FLESH_WRAP, DRY_WRAP = (0.38, 0.20, 0.13), 0.12
SHINE = 0.07  # of a surface whose own strength is 1


@dataclass(frozen=True)
class Lamp:
    """A soft light; `sharpness` 12 is a window at arm's length."""

    towards: Vector
    sharpness: float
    colour: Vector  # linear
    strength: float = 1.0


@dataclass(frozen=True)
class Light:
    """A whole environment, linear colours."""

    room: float
    room_level: float  # share of the room's light at the height of the eyes; the rest comes from above
    room_colour: Vector
    floor: Vector  # what is thrown back from below
    lamps: tuple[Lamp, ...]  # the key first
    exposure: float


@dataclass(frozen=True)
class Environment:
    """Distant lights that stand for a whole environment."""

    towards: Array  # [D, 3] unit
    radiance: Array  # [D, 3] linear RGB


def environment(light: Light, count: int) -> Environment:
    """The light as `count` distant lights, evenly from all sides."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    turn = index * np.pi * (3 - 5**0.5)
    d = np.c_[np.sqrt(1 - y * y) * np.cos(turn), y, np.sqrt(1 - y * y) * np.sin(turn)]
    height = d[:, 1:2]
    level = light.room * (light.room_level + (1 - light.room_level) * height)
    lit = level * np.array(light.room_colour) + np.clip(-height, 0, 1) * np.array(light.floor)
    for lamp in light.lamps:
        lobe = np.exp(lamp.sharpness * (d @ unit(lamp.towards) - 1))[:, None]
        lit = lit + lobe * np.array(lamp.colour) * lamp.strength * lamp.sharpness / 2
    return Environment(d, lit)


# A large soft key from the upper left of the picture, a weak fill, two rims and a bright room.
STUDIO = Light(
    room=0.32,
    room_level=0.62,
    room_colour=(0.97, 0.99, 1.03),
    floor=(0.16, 0.12, 0.09),
    lamps=(
        Lamp((-0.62, 0.55, 0.80), 12, (1.72, 1.60, 1.44)),
        Lamp((0.80, 0.20, 0.70), 7, (0.34, 0.36, 0.40)),
        Lamp((0.85, 0.45, -0.75), 14, (0.80, 0.84, 0.92)),
        Lamp((-0.90, 0.50, -0.60), 14, (0.55, 0.55, 0.57)),
    ),
    exposure=1.10,
)


def random_light(seed: int) -> Light:
    """A room with a soft key on one side, a fill and a rim light whose places and colours vary."""
    rng = np.random.default_rng([seed, 2])
    side = float(rng.choice([-1.0, 1.0]))
    warm = float(rng.uniform(-1, 1))
    tint = (1 + 0.07 * warm, 1.0, 1 - 0.10 * warm)
    cool = (2 - tint[0], 2 - tint[1], 2 - tint[2])
    key = (side * float(rng.uniform(0.4, 0.8)), float(rng.uniform(0.35, 0.7)), 0.85)
    return Light(
        room=0.34,
        room_level=0.65,
        room_colour=cool,
        floor=(0.15, 0.12, 0.1),
        lamps=(
            Lamp(key, 10, tint, float(rng.uniform(1.2, 1.7))),
            Lamp((-side * 0.8, 0.2, 0.7), 6, cool, float(rng.uniform(0.2, 0.5))),
            Lamp((-side * 0.85, 0.45, -0.75), 12, (0.9, 0.95, 1.05), float(rng.uniform(0.4, 0.9))),
        ),
        exposure=1.05,
    )
