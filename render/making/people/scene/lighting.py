"""Lamps and room of a path-traced picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class AreaLamp:
    """A square lamp that shines at the eyes."""

    place: Vector  # metres from the eyes' midpoint: to the person's left, up, in front
    size: float  # metres
    watts: float
    colour: Vector = (1.0, 1.0, 1.0)  # linear


@dataclass(frozen=True)
class Lighting:
    """All that shines on a person."""

    lamps: tuple[AreaLamp, ...]
    room: float  # strength of the light from everywhere
    room_colour: Vector = (0.75, 0.8, 0.88)  # linear

    def dimmed(self, share: float) -> Lighting:
        """The same light, `share` as strong."""
        lamps = tuple(replace(lamp, watts=share * lamp.watts) for lamp in self.lamps)
        return replace(self, lamps=lamps, room=share * self.room)


STUDIO = Lighting(  # key, fill and rim
    lamps=(
        AreaLamp((-0.9, 0.75, 1.1), 1.0, 29.0, (1.0, 0.97, 0.93)),
        AreaLamp((1.3, 0.1, 0.9), 1.4, 12.0, (0.97, 0.98, 1.0)),
        AreaLamp((0.6, 0.9, -1.2), 0.5, 18.0),
    ),
    room=0.22,
    room_colour=(0.97, 0.98, 1.0),
)


def random_lighting(rng: np.random.Generator) -> Lighting:
    """Light as rooms have it: a window or lamp on some side, more or less of the rest, warm or cold."""
    azimuth, height = rng.uniform(-75, 75), rng.uniform(0.0, 1.2)
    warm = rng.uniform(-1, 1)
    tint = (1.0 + 0.08 * warm, 1.0, 1.0 - 0.12 * warm)
    key = AreaLamp(
        (1.5 * np.sin(np.radians(azimuth)), height, 1.5 * np.cos(np.radians(azimuth))),
        float(rng.uniform(0.25, 1.2)),
        float(rng.uniform(8, 34)),
        tint,
    )
    screen = AreaLamp(
        (rng.uniform(-0.3, 0.3), -0.15, 0.6), 0.4, float(rng.choice([0, 0, 1, 2.5])), (0.9, 0.95, 1.1)
    )
    lamps = tuple(lamp for lamp in (key, screen) if lamp.watts)
    return Lighting(lamps, float(rng.uniform(0.12, 0.6)), (1.0 + 0.1 * warm, 1.0, 1.0 - 0.1 * warm))
