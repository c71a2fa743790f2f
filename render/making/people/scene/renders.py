"""Path-traced pictures of people, each kept under a hash of what it shows: none is drawn twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from render.camera import Camera
from render.making.people.scene.blender import SCRIPTS, Blender, BlenderError
from render.making.people.scene.lighting import STUDIO, Lighting
from render.making.people.scene.messages import Arrays, Messages, lighting_message, placed
from render.making.people.scene.model import Moment, PersonModel


@dataclass(frozen=True)
class Exposure:
    """How a picture is taken."""

    camera: Camera
    lighting: Lighting = STUDIO
    samples: int = 24
    border: tuple[int, int, int, int] | None = None  # left, top, width and height of the part that is drawn


class Renders:
    """A folder of pictures and the process that draws them; use as a context manager.

    The process starts with the first picture that is not there yet; `python` as `Blender` takes it.
    """

    def __init__(self, folder: Path, python: Path | None = None) -> None:
        self.folder = folder
        self._python = python
        self._blender: Blender | None = None
        self._shown = ""  # hash of the person in the process
        self._script_digest = hashlib.sha256(b"".join(script.read_bytes() for script in SCRIPTS)).hexdigest()
        self._messages = Messages()

    def __enter__(self) -> Renders:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._blender is not None:
            self._blender.close()
            self._blender = None

    def picture(self, model: PersonModel, moment: Moment, exposure: Exposure) -> Path:
        """The file of a picture [H, W, 4] (8 bit, sRGB, straight alpha), drawn if it is not there.

        Raises BlenderError where it cannot be drawn.
        """
        person_message, person_arrays = self._person(model, moment)
        person = _digest(person_message, person_arrays)
        message, arrays = _picture_message(model, moment, exposure)
        path = self.folder / f"{_digest({'person': person, **message}, arrays)[:24]}.png"
        if path.exists():
            return path
        if self._blender is None:
            self._blender = Blender(self._python)
        if self._shown != person:
            self._blender.ask(person_message, person_arrays)
            self._shown = person
        # Renamed when whole: a kill leaves no half picture behind.
        partial = path.with_name(f"partial_{os.getpid()}.png")
        self._blender.ask({**message, "path": str(partial.absolute())}, arrays)
        if not _is_whole(partial):
            partial.unlink(missing_ok=True)
            raise BlenderError(
                f"{path}: not written whole: is the disk full? The same command goes on from here"
            )
        partial.replace(path)
        return path

    def _person(self, model: PersonModel, moment: Moment) -> tuple[dict[str, Any], Arrays]:
        sizes = {name: len(vertices) for name, vertices in moment.vertices.items()}
        surfaces, arrays = self._messages.surfaces(model.surfaces, sizes)
        strands = {}
        for name, hairs in model.strands.items():
            arrays |= {f"{name}.{key}": getattr(hairs, key) for key in ("points", "radius", "melanin")}
            strands[name] = {"material": self._messages.material(model.strand_material)}
        message = {"kind": "person", "script": self._script_digest, "surfaces": surfaces, "strands": strands}
        return message, arrays


def _is_whole(path: Path) -> bool:
    """Whether a PNG goes on to its end: on a full disk Blender writes a part, or nothing, and is content."""
    return path.exists() and path.read_bytes().endswith(b"IEND\xaeB`\x82")


def _picture_message(model: PersonModel, moment: Moment, exposure: Exposure) -> tuple[dict[str, Any], Arrays]:
    camera = exposure.camera
    message = {
        "kind": "picture",
        "lighting": lighting_message(model, exposure.lighting),
        "camera": {
            "width": camera.width, "height": camera.height, "focal": camera.fy, "border": exposure.border,
        },
        "samples": exposure.samples,
    }  # fmt: skip
    arrays: Arrays = {f"{name}.vertices": v for name, v in moment.vertices.items()}
    arrays |= {f"{name}.state": state for name, state in moment.states.items()}
    arrays |= {f"{name}.placement": matrix for name, matrix in moment.placements.items()}
    arrays |= {f"{name}.points": points for name, points in moment.strands.items()}
    arrays["camera_to_world"] = placed(camera)
    return message, arrays


def _digest(message: Mapping[str, Any], arrays: Arrays) -> str:
    """Hash of what is shown; where files lie does not count."""

    def without_places(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: without_places(v) for k, v in value.items() if k not in ("picture", "path")}
        return value

    total = hashlib.sha256(json.dumps(without_places(message), sort_keys=True).encode())
    for name in sorted(arrays):
        total.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()
