"""What Blender's process is told of people, by messages of plain values and the arrays that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.making.people.scene.lighting import Lighting
from render.making.people.scene.model import PersonModel
from render.making.people.scene.surface import Material, Surface

Arrays = dict[str, NDArray[Any]]


class Messages:
    """Parts of messages; each picture's hash is reckoned once."""

    def __init__(self) -> None:
        self._digests: dict[Path, str] = {}

    def surfaces(
        self, surfaces: Mapping[str, Surface], sizes: Mapping[str, int]
    ) -> tuple[dict[str, Any], Arrays]:
        """Surfaces with their number of vertices, by name."""
        described: dict[str, Any] = {}
        arrays: Arrays = {}
        for name, surface in surfaces.items():
            arrays |= {f"{name}.{key}": getattr(surface, key) for key in ("corners", "counts", "uv")}
            if surface.rest is not None:
                arrays[f"{name}.rest"] = surface.rest
            described[name] = {
                "vertices": sizes[name],
                "subdivisions": surface.subdivisions,
                "material": self.material(surface.material),
            }
        return described, arrays

    def material(self, material: Material) -> dict[str, Any]:
        """A material with the hashes of its pictures."""
        picture = material.picture
        return {
            "shader": material.shader,
            "numbers": dict(material.numbers),
            "picture": None if picture is None else str(picture.absolute()),
            "digest": None if picture is None else self._digest_of(picture),
            "further": {
                name: {"path": str(path.absolute()), "digest": self._digest_of(path)}
                for name, path in material.further.items()
            },
        }

    def _digest_of(self, picture: Path) -> str:
        if picture not in self._digests:
            self._digests[picture] = hashlib.sha256(picture.read_bytes()).hexdigest()
        return self._digests[picture]


def lighting_message(model: PersonModel, lighting: Lighting) -> dict[str, Any]:
    """Lamps and room about a person's eyes."""
    return {**asdict(lighting), "eyes": model.body.eye_midpoint.round(6).tolist()}


def placed(camera: Camera) -> NDArray[np.float64]:
    """Where a camera stands, [4, 4] camera to world."""
    return np.asarray(np.linalg.inv(camera.world_to_camera.double().numpy()).round(9))
