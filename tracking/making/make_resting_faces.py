"""The prior of resting faces: `python -m tracking.making.make_resting_faces`; minutes on two cores.

Random identities of the built-in head wear the built-in people's looks. Each is rendered and detected at rest
and making a few faces. Nothing of it was filmed: the people are MakeHuman's, CC0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from capture.frame import Frame
from render.avatars.avatar import Avatar
from render.avatars.library import open_avatar
from render.motion import Motion
from render.rigs.head import load_head
from render.rigs.rig import Rig
from tracking.calibration.measure import random_faces, ridge
from tracking.calibration.stored import response_of
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.face.neutral import with_shut_lips
from tracking.face.resting import PARTS, RESTING_FACES, PartModes, RestingFaces, features
from tracking.face.signals import FaceTrack, track_of_detections
from tracking.face.solver import Neutral
from tracking.face.units import unit_limits

Array = NDArray[np.float64]

NUM_PEOPLE, PER_PERSON = 300, 5  # pictures; the first is at rest
_LOOKS = ("vera", "amara", "elias")
_SIZE = 384
_BACKGROUND = (0.8, 0.82, 0.85)
_RIDGE = 0.1
_FOLDS = 5
_RANK = 60
# Standard deviations in eye units that people differ by beyond what the built-in ones show: the detector's
# shake, and brows, of which there are three pairs.
_NOISE = {"mouth": 0.004, "brows": 0.014, "lids": 0.004, "gaze": 0.008}
_LEAST_SPREAD = 0.3  # modes of less are the people's own whatever was seen


def pictures(num_people: int, seed: int = 5) -> Iterator[Frame]:
    """`PER_PERSON` pictures of each person."""
    from render.cpu.renderer import CpuRenderer

    head, looks = load_head(), [open_avatar(name) for name in _LOOKS]
    units = looks[0].rig.units
    names = looks[0].rig.unit_names
    faces = random_faces(units, unit_limits(units), num_people * PER_PERSON)
    shapes = np.random.default_rng(seed).normal(size=(num_people, head.num_shapes))
    renderer = CpuRenderer(_SIZE, _SIZE)
    for index, face in enumerate(faces):
        person = index // PER_PERSON
        look = looks[person % len(looks)]
        if index % PER_PERSON == 0:
            rest = np.zeros(len(names))
            face = Motion(names, rest, 0.3 * face.head_rotation, np.zeros(3))
        avatar = with_shape(look, head.with_shape(torch.tensor(shapes[person], dtype=torch.float32)))
        with torch.inference_mode():
            gaussians = avatar.pose(avatar.params(face))
            picture = renderer.render_rgb8(gaussians, look.default_camera(_SIZE, _SIZE), _BACKGROUND)
        yield Frame(rgb=np.ascontiguousarray(picture), capture_ns=index * 33_333_333, index=index)
    renderer.close()


def with_shape(look: Avatar, shaped: Rig) -> Avatar:
    """The avatar with another identity's face under its own looks."""
    rig = replace(look.rig, template=shaped.template, joints_template=shaped.joints_template)
    return look.replace(rig=rig)


def fitted(detections: Sequence[Detection]) -> RestingFaces:
    """The prior from the detections of `pictures`, found or not."""
    frames = [i for i, d in enumerate(detections) if d.found and detections[i - i % PER_PERSON].found]
    track = track_of_detections([detections[i] for i in frames])
    people = np.array(frames) // PER_PERSON
    rest = _rest_of(track, np.array(frames) % PER_PERSON == 0, people)
    mean = np.mean([rest[p] for p in np.unique(people)], 0)
    blank = RestingFaces(mean, np.zeros((0, 0)), np.zeros((0, 0)), {})
    rotations = {p: blank.upright(track[people == p])[1] for p in rest}
    points = np.array([each @ rotations[p] for each, p in zip(track.points, people, strict=True)])
    rest = {p: each @ rotations[p] for p, each in rest.items()}
    mean = np.mean([rest[p] for p in np.unique(people)], 0)
    inputs = features(replace(track, points=points), mean)
    moved = (points - np.array([rest[p] for p in people])).reshape(len(track), -1)
    missed = np.zeros_like(moved)  # by the regression, on people it has not seen
    for fold in range(_FOLDS):
        out = people % _FOLDS == fold
        missed[out] = inputs[out] @ ridge(inputs[~out], moved[~out], _RIDGE) - moved[out]
    u, values, vt = np.linalg.svd(ridge(inputs, moved, _RIDGE), full_matrices=False)
    down, up = u[:, :_RANK] * np.sqrt(values[:_RANK]), np.sqrt(values[:_RANK])[:, None] * vt[:_RANK]
    acting = np.array(frames) % PER_PERSON != 0
    return RestingFaces(
        mean,
        down,
        up,
        {name: _modes(part, moved[acting], missed[acting], _NOISE[name]) for name, part in PARTS.items()},
    )


def _rest_of(track: FaceTrack, resting: NDArray[np.bool_], people: NDArray[np.intp]) -> dict[int, Array]:
    """Each person's points at rest, the lips shut: those of the built-in people rest a little apart."""
    avatar = open_avatar(_LOOKS[0])
    response = response_of(avatar)
    assert response is not None
    jaw = response.unit_points[avatar.rig.unit_names.index("jawOpen")]
    return {
        int(people[i]): with_shut_lips(Neutral(track.points[i], track.angles[i]), jaw).points
        for i in np.flatnonzero(resting)
    }


def _modes(part: NDArray[np.intp], moved: Array, missed: Array, noise: float) -> PartModes:
    """Simultaneous diagonalisation of both covariances. Source: K. Fukunaga, "Introduction to statistical
    pattern recognition", 1990, section 2.3."""
    rows = (part[:, None] * 3 + np.arange(3)).ravel()
    between = np.cov(missed[:, rows].T) + noise**2 * np.eye(len(rows))
    spread, into = eigh(np.cov(moved[:, rows].T), between)
    kept = spread > _LEAST_SPREAD
    return PartModes(spread[kept], into[:, kept].T, (between @ into)[:, kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESTING_FACES)
    parser.add_argument("--people", type=int, default=NUM_PEOPLE)
    args = parser.parse_args()
    with DetectorProcess(FaceDetectorFactory("image")) as detector:
        detections = list(detector.detect_all(pictures(args.people)))
    fitted(detections).save(args.output)
    print(f"{args.output}: {sum(d.found for d in detections)} of {len(detections)} pictures")


if __name__ == "__main__":
    main()
