from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from bench.short_cuts import unit_differences
from capture.source import open_input
from render.avatars.library import open_avatar
from render.motion import Motion
from tests.tracking.face.synthetic_faces import NAMES, detection_of, made_up_response
from tests.tracking.face.test_solver import UNITS
from tracking.calibration.view import AvatarView
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.errors import TrackingError
from tracking.face.driver import Driver, DriverConfig
from tracking.face.neutral import LiveNeutral, LiveNeutralConfig
from tracking.face.resting import PARTS, RestingFaces, resting_faces
from tracking.face.signals import LIPS, NUM_POINTS, FaceTrack, places, track_of_detections
from tracking.face.solver import ExpressionSolver
from tracking.face.units import unit_limits


def _weights(motions: list[Motion], *names: str) -> np.ndarray:
    columns = [motions[0].unit_names.index(name) for name in names]
    return np.array([m.weights for m in motions])[:, columns].mean(1)


def _smiling(avatar_name: str, num: int, smile: float) -> list[Detection]:
    """Another person who smiles all the time, and talks a little."""
    avatar = open_avatar(avatar_name)
    smiles = {"mouthSmileLeft": smile, "mouthSmileRight": smile}
    with AvatarView(avatar, 320) as view:
        talk = 0.15 * (1 - np.cos(np.arange(num)))
        return list(view.detect([Motion.of({**smiles, "jawOpen": float(t)}) for t in talk]))


def test_the_first_second_of_a_smile_shows_it(models_dir: Path) -> None:
    smiling, sober = _smiling("elias", 12, 0.8), _smiling("elias", 12, 0.0)
    smile = ("mouthSmileLeft", "mouthSmileRight")
    with Driver(open_avatar("vera"), DriverConfig(refine=None)) as driver:
        solved = {face: driver.solve_clip(seen, 30.0) for face, seen in (("smile", smiling), ("rest", sober))}
        driver.restart()
        live = [driver.update(detection) for detection in smiling]
    # Taken for the person's rest, a constant smile is 0.0; so is no smile.
    assert np.median(_weights(solved["smile"], *smile)) > 0.25
    assert np.median(_weights(solved["rest"], *smile)) < 0.15
    assert _weights(live, *smile).min() > 0.2  # from the first frame on


def test_short_cuts_of_a_real_clip_agree_with_the_whole(models_dir: Path, testdata_dir: Path) -> None:
    with open_input(str(testdata_dir / "videos" / "lp_d14.mp4")) as source:
        frames = list(islice(iter(source.read, None), 130))

    def detected(part: slice) -> list[Detection]:
        with DetectorProcess(FaceDetectorFactory()) as detector:
            return list(detector.detect_all(iter(frames[part])))

    with Driver(open_avatar("vera"), DriverConfig(refine=None)) as driver:
        whole = driver.solve_clip(detected(slice(0, 130)), 30.0)
        for part in (slice(0, 30), slice(90, 130)):
            cut = driver.solve_clip(detected(part), 30.0)
            differences = unit_differences(
                np.array([m.weights for m in cut]), np.array([m.weights for m in whole[part]])
            )
            assert np.nanmedian(differences) < 0.1
            # She smiles in the first second; taken for rest, its weights were 0.37 off.
            smile = ("mouthSmileLeft", "mouthSmileRight")
            assert np.median(np.abs(_weights(cut, *smile) - _weights(whole[part], *smile))) < 0.25


def _track_of(points: np.ndarray) -> FaceTrack:
    num = len(points)
    still = np.zeros((num, 3))
    return FaceTrack(points, still, np.zeros((num, 52)), still, still, still)


def _moved_by_expression(prior: RestingFaces, size: float) -> np.ndarray:
    """Points [P, 3] moved along what sets expressions of the mouth most apart from people."""
    moved = np.zeros((NUM_POINTS, 3))
    part = prior.parts["mouth"]
    strongest = int(np.argsort(part.spread)[-3])
    moved[PARTS["mouth"]] = part.out[:, strongest].reshape(-1, 3)
    return moved * (size / np.abs(moved).max())


def test_the_prior_gives_way_as_frames_vary() -> None:
    prior = resting_faces()
    smile = _moved_by_expression(prior, 0.05)
    measured = prior.mean + smile
    still = np.repeat(smile[None], 30, 0)
    moving = smile * np.linspace(-2, 2, 30)[:, None, None]

    def left(expressions: np.ndarray, seconds: float) -> float:
        found = prior.believed(measured, prior.mean, expressions, seconds)
        return float(np.abs(found - prior.mean).max() / np.abs(smile).max())

    briefly, still_long, moving_long = left(still, 1.0), left(still, 600.0), left(moving, 600.0)
    assert briefly < 0.5
    assert briefly < still_long < moving_long
    assert moving_long > 0.5


def test_what_no_expression_explains_is_the_persons_own() -> None:
    prior = resting_faces()
    forehead = prior.mean.copy()
    rest = prior.believed(forehead, prior.mean, np.zeros((1, NUM_POINTS, 3)), 0.0)
    np.testing.assert_allclose(rest, prior.mean, atol=1e-9)
    drawing = prior.mean * (2.0, 2.0, 1.0)
    np.testing.assert_array_equal(
        prior.believed(drawing, prior.mean, np.zeros((1, NUM_POINTS, 3)), 0.0), drawing
    )


def test_a_heads_upright_is_found_whatever_frame_its_points_are_in() -> None:
    prior = resting_faces()
    angle = np.radians(5.0)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    upright, rotation = prior.upright(_track_of((prior.mean @ tilt)[None]))
    np.testing.assert_allclose(upright.points[0], prior.mean, atol=1e-6)
    np.testing.assert_allclose(rotation, tilt.T, atol=1e-6)


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    for name in ("broken.safetensors", "missing.safetensors"):
        with pytest.raises(TrackingError, match=f"{name}.*install visavis again"):
            RestingFaces.load(tmp_path / name)


def test_a_better_neutral_eases_in() -> None:
    response = made_up_response(len(NAMES))
    config = LiveNeutralConfig(at_frames=(1, 8))

    def steps(config: LiveNeutralConfig) -> np.ndarray:
        solver = ExpressionSolver(response, unit_limits(UNITS), UNITS)
        neutral = LiveNeutral(solver, None, config)
        points = []
        for index in range(30):
            smile = 1.0 if index < 3 else 0.0
            seen = response.neutral_points + smile * response.unit_points[1]
            detection = detection_of(seen, np.zeros(3), index, {"mouthSmileLeft": smile})
            neutral.update(track_of_detections([detection]), index / 30)
            points.append(solver.neutral.points)
        return np.abs(np.diff(points, axis=0)).max((1, 2))

    eased, at_once = steps(config), steps(replace(config, ease_s=1e-6))
    np.testing.assert_allclose(eased[:6], 0, atol=1e-12)  # nothing changes between measurements
    assert at_once.max() > 0.01
    assert eased.max() < 0.25 * at_once.max()
    assert eased[-5:].max() < 1e-9  # and it is there after less than half a second


def test_lips_are_a_part_of_their_own() -> None:
    assert set(places(LIPS)) <= set(PARTS["mouth"])
    assert sum(len(part) for part in PARTS.values()) == NUM_POINTS
