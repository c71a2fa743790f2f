"""The reading of faces: `python -m tracking.making.make_reading`; six minutes on two cores.

Random identities of the built-in head wear the built-in people's looks, act faces as people make them, with
what goes along (cheeks with a smile, wide eyes with raised brows), and are filmed in several lights.
Every picture is also used as its mirror image. Nobody was filmed: the people are MakeHuman's, CC0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from capture.frame import Frame
from render import axis_angle
from render.avatars.library import open_avatar
from render.motion import Motion
from render.rigs.head import load_head
from tracking.calibration.measure import ridge
from tracking.detect.detection import SCORE_NAMES, Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.face.head_pose import rotation_of_angles
from tracking.face.reading import READING, FaceReading, features
from tracking.face.signals import MIRRORED_PLACES, NUM_ROWS, FaceTrack, track_of_detections
from tracking.making.make_resting_faces import with_shape

Array = NDArray[np.float64]

NUM_PEOPLE, PER_PERSON, AT_REST = 800, 18, 2  # pictures of each; the first are at rest
_LOOKS = ("vera", "amara", "elias")
_SIZE = 384
_TURN_SPREAD_DEG, _SHIFT_SPREAD_M = np.array((12.0, 8.0, 5.0)), np.array((0.01, 0.01, 0.02))
_TURN_AT_REST = 0.3  # of the spread
_GAMMA, _LIGHT, _NOISE = (0.7, 1.7), (0.2, 1.1), (0.0, 5.0)
_GAZE_SPREAD = 0.35
_MOST_ACTED = 4
_ONE_SIDED, _OTHER_SIDE = 0.2, 0.6  # share of faces, and most of what their other side does
_RIDGE = 0.3
_SEEN = 0.3  # of a unit's weight that is read, at least, for it to be played in full

# How often a unit is acted, relative to the others, and how far at most (1).
_OFTEN = {
    "jawOpen": 4.0, "mouthSmile": 3.0, "browInnerUp": 2.0, "mouthPucker": 2.0, "mouthFunnel": 2.0,
    "eyeBlink": 2.0, "mouthUpperUp": 2.0, "browDown": 1.5, "mouthFrown": 1.3, "mouthLowerDown": 0.7,
    "browOuterUp": 0.7, "eyeSquint": 0.7, "eyeWide": 0.7, "cheekSquint": 0.7, "noseSneer": 0.7,
    "mouthStretch": 0.7, "mouthDimple": 0.7, "mouthPress": 0.7, "mouthRollLower": 0.7, "mouthRollUpper": 0.7,
    "mouthShrugLower": 0.7, "mouthShrugUpper": 0.7, "mouthLeft": 0.7, "mouthRight": 0.7, "jawLeft": 0.7,
    "jawRight": 0.7, "mouthClose": 0.7,
}  # fmt: skip
_MOST = {"mouthClose": 0.3, "jawLeft": 0.6, "jawRight": 0.6, "mouthLeft": 0.6, "mouthRight": 0.6}
# What goes along with a unit: how often, and how far on average.
_ALONG: dict[str, tuple[tuple[str, float, float], ...]] = {
    "mouthSmile": (("cheekSquint", 0.5, 0.3), ("eyeSquint", 0.2, 0.3)),
    "mouthFunnel": (("mouthPucker", 0.4, 0.5), ("jawOpen", 0.3, 0.4)),
    "browDown": (("eyeSquint", 0.3, 0.3), ("noseSneer", 0.3, 0.3)),
    "browInnerUp": (("browOuterUp", 0.8, 0.6), ("eyeWide", 0.3, 0.3)),
    "noseSneer": (("mouthUpperUp", 0.6, 0.6), ("cheekSquint", 0.5, 0.3)),
    "jawOpen": (("mouthLowerDown", 0.2, 0.3), ("mouthUpperUp", 0.1, 0.2)),
    "mouthFrown": (("mouthShrugLower", 0.4, 0.4),),
    "mouthUpperUp": (("noseSneer", 0.3, 0.3),),
}


@dataclass(frozen=True)
class Acted:
    """What was acted in N pictures."""

    person: NDArray[np.intp]  # [N]
    at_rest: NDArray[np.bool_]  # [N]
    weights: Array  # [N, U]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Acted:
        return Acted(self.person[chosen], self.at_rest[chosen], self.weights[chosen])


def acted_weights(names: Sequence[str], generator: np.random.Generator) -> Array:
    """Weights [U] of a face that a person may make."""
    weights = np.zeros(len(names))

    def act(stem: str, amount: float, weak_side: str) -> None:
        for row, name in enumerate(names):
            if name in (stem, f"{stem}Left", f"{stem}Right"):
                less = generator.uniform(0, _OTHER_SIDE) if weak_side and name.endswith(weak_side) else 1.0
                weights[row] = max(weights[row], amount * less)

    stems = list(_OFTEN)
    often = np.array(list(_OFTEN.values())) / sum(_OFTEN.values())
    for stem in generator.choice(stems, generator.integers(1, _MOST_ACTED + 1), replace=False, p=often):
        weak_side = str(generator.choice(("Left", "Right"))) if generator.random() < _ONE_SIDED else ""
        act(stem, generator.beta(1.2, 1.2) * _MOST.get(stem, 1.0), weak_side)
        for other, share, mean in _ALONG.get(stem, ()):
            if generator.random() < share:
                act(other, min(2 * mean * generator.random(), 1.0), weak_side)
    left, up = generator.normal(0, _GAZE_SPREAD, 2)
    for side, outward in (("Left", left), ("Right", -left)):
        for direction, amount in (("Out", outward), ("In", -outward), ("Up", up), ("Down", -up)):
            weights[names.index(f"eyeLook{direction}{side}")] = max(0.0, amount)
    return np.clip(weights, 0, 1)


def pictures(num_people: int, acted: list[tuple[int, bool, Array]], seed: int = 11) -> Iterator[Frame]:
    """`PER_PERSON` pictures of each person; what is acted in each goes to `acted`."""
    from render.cpu.renderer import CpuRenderer

    head, looks = load_head(), [open_avatar(name) for name in _LOOKS]
    names = looks[0].rig.unit_names
    generator = np.random.default_rng(seed)
    renderer = CpuRenderer(_SIZE, _SIZE)
    for person in range(num_people):
        look = looks[person % len(looks)]
        shape = torch.tensor(generator.normal(size=head.num_shapes), dtype=torch.float32)
        avatar = with_shape(look, head.with_shape(shape))
        gamma, light, noise = (generator.uniform(*limits) for limits in (_GAMMA, _LIGHT, _NOISE))
        for number in range(PER_PERSON):
            at_rest = number < AT_REST
            weights = np.zeros(len(names)) if at_rest else acted_weights(names, generator)
            angles = generator.normal(size=3) * _TURN_SPREAD_DEG * (_TURN_AT_REST if at_rest else 1.0)
            turn = axis_angle.from_matrix(rotation_of_angles(angles))
            motion = Motion(names, weights, turn, generator.normal(size=3) * _SHIFT_SPREAD_M)
            background = tuple(generator.uniform(0.1, 0.9, 3).tolist())
            with torch.inference_mode():
                gaussians = avatar.pose(avatar.params(motion))
                picture = renderer.render_rgb8(gaussians, look.default_camera(_SIZE, _SIZE), background)
            shown = (picture / 255.0) ** gamma * light * 255 + generator.normal(0, noise, picture.shape)
            index = len(acted)
            acted.append((person, at_rest, weights))
            yield Frame(np.clip(shown, 0, 255).astype(np.uint8), index * 33_333_333, index)
    renderer.close()


def fitted(track: FaceTrack, acted: Acted, names: tuple[str, ...]) -> FaceReading:
    """The reading from what was seen and acted in the same N pictures.

    A regression plays what it is unsure of too weakly. Each unit is scaled so that its spread is that of what
    people acted whom the regression had not seen; one that is hardly seen at all is left small, and eyes are
    not made to look past what they look at.
    """
    halves = [acted.person % 2 == half for half in (0, 1)]
    product, square = np.zeros(len(names)), np.zeros(len(names))
    for learned, kept_back in (halves, halves[::-1]):
        seen, moved = _pairs(track[kept_back], acted[kept_back], names)
        read = seen @ ridge(*_pairs(track[learned], acted[learned], names), _RIDGE)
        product += (read * moved).sum(0)
        square += (moved**2).sum(0)
    slope = product / np.maximum(square, 1e-9)
    strengthened = (slope > _SEEN) & [not name.startswith("eyeLook") for name in names]
    amplitude = np.where(strengthened, np.clip(slope, _SEEN, 1.0) ** -0.5, 1.0)
    seen, moved = _pairs(track, acted, names)
    response = ridge(moved, seen, _RIDGE)
    scores = response[:, NUM_ROWS : NUM_ROWS + len(SCORE_NAMES)]
    return FaceReading(names, ridge(seen, moved, _RIDGE) * amplitude, scores)


def _pairs(track: FaceTrack, acted: Acted, names: tuple[str, ...]) -> tuple[Array, Array]:
    """How far faces are from rest, and the weights they act, each picture and its mirror image."""
    inputs, outputs = [], []
    mirrored = mirror_order(names)
    for person in np.unique(acted.person):
        own = acted.person == person
        rest, acting = own & acted.at_rest, own & ~acted.at_rest
        if rest.any() and acting.any():
            weights = acted.weights[acting]
            for seen, still in (
                (track[acting], track[rest]),
                (_mirrored(track[acting]), _mirrored(track[rest])),
            ):
                inputs.append(_from_rest(seen, still))
            outputs += [weights, weights[:, mirrored]]
    return np.concatenate(inputs), np.concatenate(outputs)


def mirror_order(names: Sequence[str]) -> list[int]:
    """For every name the place of that of the other side, or its own."""
    places = {name: place for place, name in enumerate(names)}
    swapped = {"Left": "Right", "Right": "Left"}
    other = [
        next((name.removesuffix(a) + b for a, b in swapped.items() if name.endswith(a)), name)
        for name in names
    ]
    return [places.get(name, place) for place, name in enumerate(other)]


def _mirrored(track: FaceTrack) -> FaceTrack:
    return replace(
        track,
        points=track.points[:, MIRRORED_PLACES] * (-1.0, 1.0, 1.0),
        angles=track.angles * (-1.0, 1.0, -1.0),
        scores=track.scores[:, mirror_order(SCORE_NAMES)],
    )


def _from_rest(acting: FaceTrack, rest: FaceTrack) -> Array:
    return features(acting, rest.points.mean(0), rest.scores.mean(0), rest.angles.mean(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=READING)
    parser.add_argument("--people", type=int, default=NUM_PEOPLE)
    args = parser.parse_args()
    done: list[tuple[int, bool, Array]] = []
    with DetectorProcess(FaceDetectorFactory("image")) as detector:
        detections: list[Detection] = list(detector.detect_all(pictures(args.people, done)))
    found = [i for i, d in enumerate(detections) if d.found]
    person, at_rest, weights = (np.array(column) for column in zip(*(done[i] for i in found), strict=True))
    track = track_of_detections([detections[i] for i in found])
    reading = fitted(track, Acted(person, at_rest, weights), open_avatar(_LOOKS[0]).rig.unit_names)
    reading.save(args.output)
    print(f"{args.output}: {len(found)} of {len(detections)} pictures")


if __name__ == "__main__":
    main()
