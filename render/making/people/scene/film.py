"""Path-traced films whose motion is known, to measure trackers by.

    python -m render.making.people.scene.film NAME OUT.mp4 [options]

NAME is one of the people, `anybody-7`, the person of seed 7, or one's own description, a TOML file. A level
head at rest for .6 s, then turns of the head with blinks, a wink, syllables, smiles, pucker, funnel, brows
and gaze at once. Beside OUT.mp4 lies OUT.npz as `bench.truth` reads it. Frames are kept as pictures: it goes
on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.spatial.transform import Rotation

from render.camera import Camera
from render.making import makehuman
from render.making.items import Assets
from render.making.makehuman import MakeHumanDataError, face_unit_names
from render.making.people.described import NAMES, person_called
from render.making.people.head import both_sides
from render.making.people.scene.blender import BlenderError
from render.making.people.scene.body import Body, Pose
from render.making.people.scene.lighting import STUDIO, random_lighting
from render.making.people.scene.model import PersonModel
from render.making.people.scene.pictures import over
from render.making.people.scene.renders import Exposure, Renders
from render.making.people.scene.shooting import add_scene_options
from render.making.people.scene.uv import canonical_body

Array = NDArray[np.float64]

_REST_S = 0.6
_WALL = ((0.55, 0.53, 0.5), (0.42, 0.42, 0.42))  # display colours at the top and at the bottom
_MOST_YPR_DEG = (20.0, 11.0, 8.0)
_YPR_PERIODS_S = (3.1, 2.3, 2.7)
_GAZE, _GAZE_PERIODS_S = (0.6, 0.3), (1.7, 1.3)  # of the eyeLook units, aside and up
_BLINK_EVERY_S, _BLINK_S = 1.15, 0.055
# What is acted: when, for how long (a standard deviation), and which units how far.
_EVENTS: tuple[tuple[float, float, dict[str, float]], ...] = (
    (1.5, 0.25, {"mouthSmile@": 0.8, "cheekSquint@": 0.5}),
    (2.35, 0.08, {"eyeBlinkLeft": 0.95}),
    (2.4, 0.18, {"mouthPucker": 0.9}),
    (3.0, 0.20, {"browInnerUp": 0.9, "browOuterUp@": 0.8, "eyeWide@": 0.3}),
    (3.5, 0.15, {"mouthFunnel": 0.7, "jawOpen": 0.25}),
    (3.9, 0.20, {"browDown@": 0.8, "noseSneer@": 0.3}),
    (4.4, 0.12, {"jawOpen": 0.9}),
    (4.9, 0.25, {"mouthSmile@": 0.5, "jawOpen": 0.2, "mouthUpperUp@": 0.4}),
    (5.5, 0.20, {"mouthFrown@": 0.7, "mouthShrugLower": 0.4}),
)
_SYLLABLE = {"jawOpen": 0.45, "mouthLowerDown@": 0.3, "mouthUpperUp@": 0.15}
_SYLLABLES_HZ, _TALK_PERIOD_S = 3.3, 2.9
# Places of the face whose way is compared: canonical millimetres (see `features`) and a radius.
_PLACES = {
    "corner": ((25, -66, 20), 6), "upperLip": ((0, -60, 32), 6), "lowerLip": ((0, -73, 32), 6),
    "chin": ((0, -100, 20), 10), "browInner": ((12, 22, 20), 8), "browOuter": ((38, 22, 10), 8),
    "cheek": ((40, -35, 10), 10), "lid": ((29, 5, 12), 5),
}  # fmt: skip


@dataclass(frozen=True)
class Performance:
    """What a head does in T frames."""

    names: tuple[str, ...]
    weights: Array  # [T, U]
    head_ypr_deg: Array  # [T, 3] to the person's left, up, to their right shoulder

    @property
    def head(self) -> Array:
        """Turns from level [T, 3, 3]."""
        return Rotation.from_euler("YXZ", self.head_ypr_deg * (1, -1, -1), degrees=True).as_matrix()

    def pose(self, frame: int) -> Pose:
        return Pose(dict(zip(self.names, self.weights[frame].tolist(), strict=True)), self.head[frame])


def perform(seconds: float, fps: float, seed: int) -> Performance:
    """The performance of one seed."""
    rng = np.random.default_rng(seed)
    names = tuple(face_unit_names())
    t = np.arange(round(seconds * fps)) / fps
    begun = np.clip((t - _REST_S) / 0.4, 0, 1)
    weights = np.zeros((len(t), len(names)))

    def act(curve: Array, units: dict[str, float]) -> None:
        for unit, most in units.items():
            for name in both_sides(unit):
                weights[:, names.index(name)] += most * curve

    def bump(at: float, width: float) -> Array:
        return np.asarray(np.exp(-0.5 * ((t - at) / width) ** 2))

    def wave(period: float, phase: float) -> Array:
        return begun * np.sin(2 * np.pi * ((t - _REST_S) / period + phase))

    angles = [
        most * wave(p, rng.uniform(-0.1, 0.1)) for most, p in zip(_MOST_YPR_DEG, _YPR_PERIODS_S, strict=True)
    ]
    for at in np.arange(0.9, t[-1], _BLINK_EVERY_S):
        act(bump(at + rng.uniform(-0.1, 0.1), _BLINK_S), {"eyeBlink@": 1.0})
    syllables = np.clip(np.sin(2 * np.pi * _SYLLABLES_HZ * t + rng.uniform(0, 6)), 0, 1) ** 1.5
    talking = np.clip(1.6 * np.sin(2 * np.pi * t / _TALK_PERIOD_S + rng.uniform(0, 6)), 0, 1)
    act(begun * syllables * talking, _SYLLABLE)
    for at, width, units in _EVENTS:
        act(bump(at + rng.uniform(-0.1, 0.1), width), units)
    left, up = (
        most * wave(period, rng.uniform(0, 0.3)) for most, period in zip(_GAZE, _GAZE_PERIODS_S, strict=True)
    )
    for outer, inner, look in (("Left", "Right", left), ("Right", "Left", -left)):
        act(np.clip(look, 0, 1), {f"eyeLookOut{outer}": 1.0, f"eyeLookIn{inner}": 1.0})
    act(np.clip(up, 0, 1), {"eyeLookUp@": 1.0})
    act(np.clip(-up, 0, 1), {"eyeLookDown@": 1.0})
    return Performance(names, np.clip(weights, 0, 1), np.stack(angles, 1))


def places_of(body: Body, names: tuple[str, ...]) -> tuple[list[str], Array]:
    """Names [R] of places of the face, and how far each unit moves them: [U, R, 3] millimetres."""
    canonical = canonical_body()
    on_skin = np.zeros(len(canonical), bool)
    on_skin[makehuman.group_vertices("body")] = True
    rest = body.posed(Pose({})).acting
    moved = np.stack([1e3 * (body.posed(Pose({name: 1.0})).acting - rest) for name in names])
    regions, basis = [], []
    for place, (centre, radius) in _PLACES.items():
        for side, sign in (("", 1),) if centre[0] == 0 else (("Left", 1), ("Right", -1)):
            away = np.linalg.norm(canonical - np.multiply(centre, (sign, 1, 1)), axis=1)
            near = on_skin & (away < radius) & (canonical[:, 2] > 0)
            regions.append(place + side)
            basis.append(moved[:, near].mean(1))
    return regions, np.stack(basis, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m render.making.people.scene.film", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("name", metavar="NAME", help=NAMES)
    parser.add_argument("output", type=Path, metavar="OUT.mp4")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--size", default="640x480", metavar="WxH")
    parser.add_argument(
        "--fov", type=float, default=42.0, metavar="DEGREES", help="height of the lens's view"
    )
    parser.add_argument("--distance", type=float, default=0.55, metavar="METRES", help="of the camera")
    parser.add_argument("--aside", type=float, default=0.0, metavar="METRES", help="how far left they sit")
    parser.add_argument("--light", type=float, default=1.0, help="1 is a studio's, 0.3 a dim room")
    parser.add_argument("--lamps", type=int, metavar="SEED", help="light of a random room, not a studio's")
    parser.add_argument("--seed", type=int, default=3, help="of what is acted")
    parser.add_argument("--samples", type=int, default=12, help="a pixel")
    parser.add_argument("--renders", type=Path, default=Path("renders"), metavar="FOLDER")
    add_scene_options(parser)
    options = parser.parse_args()
    try:
        make_film(options)
    except (MakeHumanDataError, BlenderError, ValueError, OSError) as error:
        sys.exit(f"film: {error}")
    except KeyboardInterrupt:
        sys.exit("film: stopped; the same command goes on from here")


def make_film(options: argparse.Namespace) -> None:
    """Draw, encode, and write what is true; see `main` for the options."""
    person = person_called(options.name)
    width, height = _size(options.size)
    performance = perform(options.seconds, options.fps, options.seed)
    model = PersonModel(person, Assets.open(options.makehuman))
    x, y, z = model.body.eye_midpoint - (options.aside, 0.03, 0)
    camera = Camera.look_at(
        (x, y, z + options.distance), (x, y, z), width=width, height=height, vertical_fov_deg=options.fov
    )
    lighting = STUDIO if options.lamps is None else random_lighting(np.random.default_rng(options.lamps))
    exposure = Exposure(camera, lighting.dimmed(options.light), options.samples)
    with Renders(options.renders, options.blender) as renders:
        frames = [
            renders.picture(model, model.at(performance.pose(k)), exposure)
            for k in track(range(len(performance.weights)), options.output.name)
        ]
    top, bottom = options.light * np.array(_WALL)
    wall = np.linspace(top, bottom, height)[:, None]
    _encode(options.output, [over(path, wall) for path in frames], options.fps)
    regions, basis = places_of(model.body, performance.names)
    pose_deg = [performance.pose(k).gaze_deg("left") for k in range(len(frames))]
    np.savez_compressed(
        options.output.with_suffix(".npz"),
        names=np.array(performance.names),
        weights=performance.weights.astype(np.float32),
        head_matrix=performance.head.astype(np.float32),
        head_ypr_deg=performance.head_ypr_deg.astype(np.float32),
        gaze_deg=np.array(pose_deg, np.float32),
        fps=options.fps,
        focal_px=camera.fy,
        camera_m=camera.position().numpy(),
        eyes_middle_m=model.body.eye_midpoint,
        regions=np.array(regions),
        region_basis=basis.astype(np.float32),
    )


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"--size {text}: a size is WIDTHxHEIGHT, such as 640x480")
    return int(width), int(height)


def _encode(path: Path, frames: list[NDArray[np.uint8]], fps: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "16"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
