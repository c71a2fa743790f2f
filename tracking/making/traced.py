"""Path-traced pictures of people drawn at random, acting: what Gaussian heads do not show of real faces.

    python -m tracking.making.traced [--traced FOLDER] [--people N] [--makehuman DIR] [--blender PYTHON]

draws them, three seconds a picture, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from capture.frame import Frame
from render.camera import Camera
from render.making.items import Assets
from render.making.makehuman import face_unit_names
from render.making.people.scene.anybody import anybody
from render.making.people.scene.body import Pose
from render.making.people.scene.lighting import random_lighting
from render.making.people.scene.model import PersonModel
from render.making.people.scene.pictures import over
from render.making.people.scene.renders import Renders, Shot
from tracking.face.head_pose import rotation_of_angles
from tracking.making.acting import acted_weights

Array = NDArray[np.float64]

NUM_PEOPLE, PER_PERSON, AT_REST = 60, 10, 2  # pictures of each; the first are at rest
_SIZE, _SAMPLES = 256, 5  # the detector looks at a face in no more pixels
_TURN_SPREAD_DEG = (13.0, 8.5, 5.5)  # standard deviations of yaw, pitch, roll
_TURN_AT_REST = 0.4  # of the spread
_FOV_DEG = (28.0, 62.0)
_HALF_VIEW_M = (0.13, 0.2)  # half of the picture's height at the face
_BELOW_EYES_M = 0.03
_LIGHT, _GAMMA, _NOISE = (0.35, 1.1), (0.7, 1.5), (0.0, 5.0)


@dataclass(frozen=True)
class Traced:
    """A picture and what is true of it."""

    frame: Frame
    camera: Camera
    person: int
    at_rest: bool
    weights: Array  # [U] of `face_unit_names`
    head: Array  # [3, 3] turn from level


def traced_pictures(assets: Assets, renders: Renders, num_people: int = NUM_PEOPLE) -> Iterator[Traced]:
    """`PER_PERSON` pictures of each person, drawn where they are not there yet."""
    names = face_unit_names()
    for person in range(num_people):
        generator = np.random.default_rng([person, 3])
        model = PersonModel(anybody(person), assets)
        lighting = random_lighting(generator)
        gamma, light, noise = (generator.uniform(*limits) for limits in (_GAMMA, _LIGHT, _NOISE))
        for number in range(PER_PERSON):
            at_rest = number < AT_REST
            weights = np.zeros(len(names)) if at_rest else acted_weights(names, generator)
            angles = generator.normal(0, _TURN_SPREAD_DEG) * (_TURN_AT_REST if at_rest else 1.0)
            head = rotation_of_angles(angles)
            camera = _random_camera(model.body.eye_midpoint, generator)
            moment = model.at(Pose(dict(zip(names, weights, strict=True)), head))
            path = renders.picture(model, moment, Shot(camera, lighting, _SAMPLES))
            shown = (over(path, generator.uniform(0.1, 0.9, 3)) / 255) ** gamma * light * 255
            shown = shown + generator.normal(0, noise, shown.shape)
            index = person * PER_PERSON + number
            frame = Frame(np.clip(shown, 0, 255).astype(np.uint8), index * 33_333_333, index)
            yield Traced(frame, camera, person, at_rest, weights, head)


def _random_camera(eyes: Array, generator: np.random.Generator) -> Camera:
    """Some lens that sees the face somewhere in the picture."""
    fov, half = generator.uniform(*_FOV_DEG), generator.uniform(*_HALF_VIEW_M)
    aside = generator.uniform(-1, 1, 2) * (0.35, 0.3) * half
    away = half / np.tan(np.radians(fov) / 2)
    x, y, z = eyes + np.array([aside[0], aside[1] - _BELOW_EYES_M, away])
    return Camera.look_at((x, y, z), (x, y, z - 1), width=_SIZE, height=_SIZE, vertical_fov_deg=fov)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where pictures are kept and what draws them."""
    parser.add_argument("--traced", type=Path, default=Path("traced"), metavar="FOLDER")
    parser.add_argument("--makehuman", type=Path, metavar="DIR", help="MakeHuman's official assets")
    parser.add_argument("--blender", type=Path, metavar="PYTHON", help="a Python that has bpy")


def traced_by(options: argparse.Namespace, num_people: int = NUM_PEOPLE) -> Iterator[Traced]:
    """All pictures as `add_options` says, with a bar; raises MakeHumanDataError and BlenderError."""
    with Renders(options.traced, options.blender) as renders:
        pictures = traced_pictures(Assets.open(options.makehuman), renders, num_people)
        yield from track(pictures, "people path-traced", total=num_people * PER_PERSON)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("--people", type=int, default=NUM_PEOPLE, metavar="N")
    arguments = parser.parse_args()
    for _ in traced_by(arguments, arguments.people):
        pass


if __name__ == "__main__":
    main()
