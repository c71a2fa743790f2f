"""Surfaces that are path-traced, and what covers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """A shader of path_tracer.py, its numbers, and the picture it is painted with."""

    shader: str
    numbers: Mapping[str, float | Sequence[float]]
    picture: Path | None = None
    further: Mapping[str, Path] = field(default_factory=dict)  # pictures by what they hold


@dataclass(frozen=True)
class Surface:
    """Polygons that a material covers; smoothed by Catmull and Clark's subdivision."""

    corners: NDArray[np.int32]  # [C] vertices, polygon after polygon
    counts: NDArray[np.int32]  # [F] corners of each polygon
    uv: NDArray[np.float32]  # [C, 2] origin bottom left
    material: Material
    subdivisions: int
    # [V, 3] metres: where patterns that follow the surface are looked up.
    rest: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls, polygons: list[list[int]], corner_uv: Array, material: Material, subdivisions: int = 1
    ) -> Surface:
        corners = np.array([c for polygon in polygons for c in polygon], np.int32)
        counts = np.array([len(polygon) for polygon in polygons], np.int32)
        return cls(corners, counts, corner_uv.astype(np.float32), material, subdivisions)
