"""Takes all pictures that a person is trained on: python -m render.making.people.scene.shooting NAME FOLDER.

Rest from all around, and faces that act from the front: every unit more than once, in changing company, left
without right, so that what each does can be told apart; and a turned head from the front, for its neck and
collar. Some views at rest, some turns, and some faces that units make in pairs and triples are held out.
Where only the face moves, only the face is drawn. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from render.camera import Camera
from render.making import make_head
from render.making.items import Assets
from render.making.makehuman import MakeHumanDataError
from render.making.people.described import NAMES, DescriptionError, person_called
from render.making.people.head import both_sides
from render.making.people.person import Person
from render.making.people.scene import renders
from render.making.people.scene.blender import BlenderError
from render.making.people.scene.body import Pose
from render.making.people.scene.model import PersonModel
from render.making.people.shoot import (
    STRANDS,
    SURFACES,
    Shot,
    Start,
    Strands,
    Surface,
    turn_of,
    write_shots,
    write_start,
)

Array = NDArray[np.float64]

# Those that are measured are the cleanest: what is learned from many pictures averages their noise.
SIZE, HELD_OUT_SAMPLES, REST_SAMPLES, FACE_SAMPLES = 512, 96, 16, 12
_DISTANCE_M, _FOV_DEG = 1.05, 20.0
_TARGET_M = (0.0, -0.05, -0.03)  # from the eyes' midpoint
_MARGIN_PX = 8  # around what moves
_MOVES_M = 3e-4
# Yaw and pitch of the camera, degrees: the face most densely, then sides, back and top.
_REST_VIEWS = (
    *((yaw, pitch) for pitch in (-15, 6, 28) for yaw in range(-75, 76, 15)),
    *((yaw, pitch) for pitch in (0, 22) for yaw in (100, 130, 160, -170, -140, -110)),
    (0, 60), (180, 55), (45, -35),
)  # fmt: skip
_REST_HELD_OUT = ((22, 4), (-37, 12), (58, -6), (-88, 5), (145, 10), (8, -22))
# How far a head turns, degrees to the person's left and up; light moves over a face that turns, which no
# avatar shows: only what is below is drawn.
_TURNS = ((-60, 0), (60, 0), (-30, 0), (30, 0), (0, 28), (0, -25), (-45, 15), (45, -15))
_TURNS_HELD_OUT = ((50, 5), (-20, -18))
_BELOW_EYES_M = 0.07
_NUM_HELD_OUT = 12
_FACE_VIEWS = ((0, 0), (-38, 4), (38, 8), (12, -16))
_HELD_OUT_VIEWS = ((6, 4), (-26, -4), (30, 12))

# What brows, eyes and mouth do; every face is one of each, so that no two are always seen together.
_BROWS = (
    ("browInnerUp",), ("browOuterUpLeft",), ("browDownRight",), ("browOuterUpRight",), ("browDownLeft",),
    ("browInnerUp", "browOuterUp@"), ("browDown@",),
)  # fmt: skip
_EYES = (
    ("eyeBlinkLeft",), ("eyeSquintRight",), ("eyeLookUp@",), ("eyeWideLeft",), ("cheekSquintRight",),
    ("eyeBlinkRight",), ("eyeLookOutLeft", "eyeLookInRight"), ("eyeSquintLeft",), ("eyeBlink@",),
    ("eyeWideRight",), ("eyeLookDown@",), ("cheekSquintLeft",), ("eyeSquint@",),
    ("eyeLookInLeft", "eyeLookOutRight"), ("eyeWide@",), ("cheekSquint@",),
)  # fmt: skip
_SIDED_MOUTH = (
    "mouthSmile", "mouthFrown", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthDimple", "mouthPress",
    "noseSneer",
)  # fmt: skip
_APART = 3  # in that list: what the right half does while the left does its own
_WHOLE_MOUTH = (
    ("jawOpen",), ("mouthPucker",), ("mouthFunnel",), ("mouthRollLower",), ("mouthRollUpper",),
    ("mouthShrugLower",), ("mouthShrugUpper",), ("mouthLeft",), ("mouthRight",), ("jawLeft",), ("jawRight",),
    ("jawForward",), ("cheekPuff",), ("jawOpen", "tongueOut"), ("jawOpen", "mouthClose"),
    ("jawOpen", "mouthSmile@"), ("jawOpen", "mouthFunnel"), ("mouthSmile@", "mouthPucker"),
    ("jawOpen", "mouthUpperUp@", "mouthLowerDown@"), ("mouthShrugLower", "mouthShrugUpper"),
    ("mouthRollLower", "mouthRollUpper"), ("jawOpen", "mouthStretch@"), ("mouthPucker", "jawForward"),
    ("mouthFrown@", "mouthShrugLower"),
)  # fmt: skip
_MOUTHS = (
    *((f"{u}Left", f"{_SIDED_MOUTH[k - _APART]}Right") for k, u in enumerate(_SIDED_MOUTH)),
    *((f"{u}@",) for u in _SIDED_MOUTH),
    *_WHOLE_MOUTH,
)
_MOST = {"jawLeft": 0.7, "jawRight": 0.7, "mouthLeft": 0.7, "mouthRight": 0.7}


# Surfaces and strands that training takes for one part.
_DRAWN_AS = {"skin": ("skin", "caruncles"), "eyes": ("eyeballs", "irises")}
_GROWN_AS = {"hair": ("hair", "knot", "flyaways", "fine", "undercoat", "parting")}


@dataclass(frozen=True)
class Planned:
    """A picture to take."""

    weights: dict[str, float]
    camera: Camera
    held_out: bool
    head_deg: tuple[float, float] | None = None

    @property
    def samples(self) -> int:
        if self.weights:
            return FACE_SAMPLES
        return HELD_OUT_SAMPLES if self.held_out else REST_SAMPLES


def faces() -> list[dict[str, float]]:
    """Weights of the faces that are learned from, one for each thing the mouth does."""
    rng = np.random.default_rng(1)
    return [
        _weights((_BROWS[k % len(_BROWS)], _EYES[k % len(_EYES)], mouth), rng, least=0.8)
        for k, mouth in enumerate(_MOUTHS)
    ]


def held_out_faces() -> list[dict[str, float]]:
    """Weights of the faces that are measured: what was learned, by twos and threes in other company."""
    rng = np.random.default_rng(2)
    chosen = []
    for number in range(_NUM_HELD_OUT):
        groups = [_MOUTHS, (_BROWS, _EYES)[number % 2]] if number % 3 else [_MOUTHS, _EYES, _BROWS]
        acts = tuple(group[rng.integers(len(group))] for group in groups)
        chosen.append(_weights(acts, rng, least=0.4))
    return chosen


def _weights(acts: tuple[tuple[str, ...], ...], rng: np.random.Generator, least: float) -> dict[str, float]:
    weights = {}
    for act in acts:
        amount = rng.uniform(least, 1.0)
        for unit in act:
            for name in both_sides(unit):
                weights[name] = round(float(amount * _MOST.get(name, 1.0)), 3)
    return weights


def plan(model: PersonModel) -> list[Planned]:
    """All pictures of a person: about 48 at rest, 8 turned and 40 faces from 4 sides; held out are 6, 2 and
    12 from 3 sides."""
    planned = [Planned({}, camera(model, *view), held_out=False) for view in _REST_VIEWS]
    planned += [Planned({}, camera(model, *view), held_out=True) for view in _REST_HELD_OUT]
    for turns, held_out in ((_TURNS, False), (_TURNS_HELD_OUT, True)):
        planned += [Planned({}, camera(model, 0, 0), held_out, head_deg=turn) for turn in turns]
    for weights in faces():
        planned += [Planned(weights, camera(model, *view), held_out=False) for view in _FACE_VIEWS]
    for weights in held_out_faces():
        planned += [Planned(weights, camera(model, *view), held_out=True) for view in _HELD_OUT_VIEWS]
    return planned


def camera(model: PersonModel, yaw_deg: float, pitch_deg: float, size: int = SIZE) -> Camera:
    """One of the cameras around a person, pictures of `size` pixels a side."""
    x, y, z = model.body.eye_midpoint + _TARGET_M
    return Camera.orbit(
        (x, y, z), distance_m=_DISTANCE_M, yaw_deg=yaw_deg, pitch_deg=pitch_deg, width=size, height=size,
        vertical_fov_deg=_FOV_DEG,
    )  # fmt: skip


def shoot(model: PersonModel, drawn: renders.Renders) -> None:
    """Take all pictures into the folder of `drawn` and write what is known of them."""
    shots = take(model, drawn, plan(model))
    write_start(drawn.folder, start_of(model))
    write_shots(drawn.folder, model.person.name, model.person.shape, shots)


def take(model: PersonModel, drawn: renders.Renders, pictures: Sequence[Planned]) -> list[Shot]:
    """Draw what is not there yet, and tell what is known of each picture."""
    shots = []
    for planned in track(pictures, f"pictures of {model.person.name}"):
        border = _border(model, planned)
        turn = None if planned.head_deg is None else turn_of(planned.head_deg).as_matrix()
        path = drawn.picture(
            model,
            model.at(Pose(planned.weights, turn)),
            renders.Exposure(planned.camera, samples=planned.samples, border=border),
        )
        shots.append(
            Shot(
                file=path.name,
                width=planned.camera.width,
                height=planned.camera.height,
                focal_px=planned.camera.fy,
                camera_to_world=_camera_to_world(planned.camera),
                weights=planned.weights,
                head_deg=planned.head_deg,
                held_out=planned.held_out,
                border=border,
            )
        )
    return shots


def start_of(model: PersonModel) -> Start:
    """The person at rest, as training starts from it; what only bends light is left out."""
    moment = model.at(Pose({}))
    surfaces = {}
    for part in SURFACES:
        drawn = [name for name in _DRAWN_AS.get(part, (part,)) if name in model.surfaces]
        vertices, faces, count = [], [], 0
        for name in drawn:
            surface = model.surfaces[name]
            vertices.append(moment.vertices[name])
            faces.append(_triangles(surface.corners, surface.counts) + count)
            count += len(vertices[-1])
        if drawn:
            surfaces[part] = Surface(np.concatenate(vertices), np.concatenate(faces))
    strands = {}
    for part in STRANDS:
        grown = [model.strands[name] for name in _GROWN_AS.get(part, (part,)) if name in model.strands]
        if grown:
            nodes = max(hairs.points.shape[1] for hairs in grown)
            padded = [
                np.pad(hairs.points, ((0, 0), (0, nodes - hairs.points.shape[1]), (0, 0)), mode="edge")
                for hairs in grown
            ]
            thickness = np.concatenate([hairs.radius.max(1) for hairs in grown])
            strands[part] = Strands(np.concatenate(padded), thickness)
    return Start(surfaces, strands)


def _triangles(corners: NDArray[np.int32], counts: NDArray[np.int32]) -> NDArray[np.int32]:
    first = np.r_[0, np.cumsum(counts)[:-1]]
    fans = [
        np.stack(
            [corners[first[counts > k]], corners[first[counts > k] + k - 1], corners[first[counts > k] + k]],
            1,
        )
        for k in range(2, int(counts.max()))
    ]
    return np.concatenate(fans)


def _camera_to_world(camera: Camera) -> Array:
    """With the axes of a shoot: x right, y up, z backwards."""
    return np.linalg.inv(camera.world_to_camera.double().numpy()) @ np.diag([1.0, -1, -1, 1])


def _border(model: PersonModel, planned: Planned) -> tuple[int, int, int, int] | None:
    """The part of the picture that is drawn; None: all of it. Of a face that acts it is what differs from
    rest, of a turned head what is below it."""
    if planned.head_deg is not None:
        x, y, z = model.body.eye_midpoint - (0.0, _BELOW_EYES_M, 0.0)
        top = int(planned.camera.project(torch.tensor([[x, y, z]]))[0, 1])
        return 0, top, planned.camera.width, planned.camera.height - top
    if not planned.weights:
        return None
    rest, acting = model.body.rest, model.body.posed(Pose(planned.weights)).acting
    moved = np.linalg.norm(acting - rest, axis=1) > _MOVES_M
    # Brows, lashes and shadows lie around what moves: the face is drawn whole.
    moved[make_head.topology().source_vertices[make_head.topology().group("left_eye")]] = True
    moved[make_head.topology().source_vertices[make_head.topology().group("right_eye")]] = True
    points = np.concatenate([rest[moved], acting[moved]])
    pixels = planned.camera.project(torch.from_numpy(points)).numpy()[:, :2]
    size = (planned.camera.width, planned.camera.height)
    low = np.clip(np.floor(pixels.min(0)) - _MARGIN_PX, 0, size).astype(int)
    high = np.clip(np.ceil(pixels.max(0)) + _MARGIN_PX, 0, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def take_pictures(person: Person, folder: Path, makehuman: Path | None, blender: Path | None) -> None:
    """A person's whole shoot; what is there is not drawn again.

    Raises MakeHumanDataError, BlenderError, and OSError when the disk refuses.
    """
    model = PersonModel(person, Assets.open(makehuman))
    with renders.Renders(folder, blender) as drawn:
        shoot(model, drawn)


def add_scene_options(parser: argparse.ArgumentParser) -> None:
    """What the scene is made of, and by."""
    parser.add_argument("--makehuman", type=Path, metavar="DIR", help="MakeHuman's official assets")
    parser.add_argument("--blender", type=Path, metavar="PYTHON", help="a Python that has bpy")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m render.making.people.scene.shooting", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("name", metavar="NAME", help=NAMES)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for the pictures; some 60 MB")
    add_scene_options(parser)
    options = parser.parse_args()
    try:
        take_pictures(person_called(options.name), options.folder, options.makehuman, options.blender)
    except (DescriptionError, MakeHumanDataError, BlenderError, OSError) as error:
        sys.exit(f"shooting: {error}")
    except KeyboardInterrupt:
        sys.exit("shooting: stopped; the same command goes on from here")


if __name__ == "__main__":
    main()
