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
