from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from capture.source import open_input
from render import axis_angle
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import VertexBinding
from render.avatars.library import open_avatar
from render.motion import FACE, Motion
from tests.render.avatars.small_avatars import random_gaussians, random_rig
from tests.tracking.face.synthetic_faces import FPS, NAMES, detection_of, made_up_response
from tracking.calibration.stored import response_of, signature_of
from tracking.calibration.view import AvatarView
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.errors import TrackingError
from tracking.face.driver import Driver, DriverConfig
from tracking.face.head_pose import angles_of
from tracking.face.signals import lid_gap, lip_gap, track_of_detections

RESPONSE = made_up_response(len(NAMES))


@pytest.fixture
def avatar() -> Avatar:
    rig = random_rig()
    basis = torch.randn(len(NAMES), rig.num_vertices * 3, generator=torch.Generator().manual_seed(0))
    rig = replace(rig, expression_names=NAMES, expression_basis=0.01 * basis)
    bare = Avatar(
        info=AvatarInfo("small"),
        rig=rig,
        bindings=(VertexBinding(torch.arange(rig.num_vertices)),),
        gaussians=random_gaussians(rig.num_vertices),
    )
    response = replace(RESPONSE, signature=signature_of(bare))
    return bare.replace(extras=response.extras(), extras_meta=response.extras_meta())


def _clip(num: int, seed: int = 0) -> list[Detection]:
    """A person that talks, blinks and nods."""
    rng = np.random.default_rng(seed)
    t = np.arange(num) / FPS
    weights = np.zeros((num, len(NAMES)))
    weights[:, 0] = 0.3 + 0.3 * np.sin(9 * t)
    weights[:, 4:] = np.exp(-(((t - 1.0) / 0.1) ** 2))[:, None]
    weights[:, 3] = rng.uniform(0, 0.1, num)
    angles = np.stack([8 * np.sin(2 * t), 5 * np.cos(3 * t), np.zeros(num)], 1)
    points = RESPONSE.neutral_points + np.tensordot(weights, RESPONSE.unit_points, 1)
    scores = [{"jawOpen": w[0], "eyeBlinkLeft": w[4], "eyeBlinkRight": w[5]} for w in weights.tolist()]
    return [detection_of(p, a, i, s) for i, (p, a, s) in enumerate(zip(points, angles, scores, strict=True))]


def _values(motions: list[Motion]) -> np.ndarray:
    return np.stack([np.concatenate([m.weights, m.head_rotation, m.head_translation]) for m in motions])


def test_live_results_do_not_depend_on_the_future(avatar: Avatar) -> None:
    first, other = _clip(50), _clip(90, seed=1)[50:]
    with Driver(avatar) as a, Driver(avatar) as b:
        alone = _values([a.update(d) for d in first])
        followed = _values([b.update(d) for d in [*first, *other]])
    np.testing.assert_array_equal(alone, followed[:50])


def test_live_follows_the_mouth_after_a_second(avatar: Avatar) -> None:
    clip = _clip(120)
    with Driver(avatar) as driver:
        jaw = _values([driver.update(d) for d in clip])[40:, 0]
    truth = 0.3 * np.sin(9 * np.arange(40, 120) / FPS)
    # The One-Euro filter's lag of under a frame costs a percent or two.
    assert np.corrcoef(jaw, truth)[0, 1] > 0.95


def test_a_clip_is_solved_without_lag(avatar: Avatar) -> None:
    clip = _clip(120)
    with Driver(avatar, DriverConfig(refine=None)) as driver:
        results = driver.solve_clip(clip, FPS)
    assert [m.time_ns for m in results] == [d.capture_ns for d in clip]
    blink = np.array([m.weights[4] for m in results])
    assert abs(int(np.argmax(blink)) - 30) <= 1  # it is at 1 s
    assert blink.max() > 0.7
    yaw = np.array([angles_of(axis_angle.to_matrix(m.head_rotation))[0] for m in results])
    truth = np.array([8 * np.sin(2 * i / FPS) for i in range(120)])
    assert np.corrcoef(yaw, truth)[0, 1] > 0.98


def test_a_lost_face_is_a_value(avatar: Avatar) -> None:
    clip = [
        Detection.lost(d.capture_ns, d.index, d.width, d.height) if 20 <= d.index < 60 else d
        for d in _clip(90)
    ]
    with Driver(avatar, DriverConfig(refine=None)) as driver:
        live = [driver.update(d) for d in clip]
        offline = driver.solve_clip(clip, FPS)
    for results in (live, offline):
        assert [m.confidence for m in results] == [{FACE: float(d.found)} for d in clip]
        assert np.isfinite(_values(results)).all()


def test_each_person_of_a_clip_is_solved_with_a_neutral_of_their_own(avatar: Avatar) -> None:
    """The second person's mouth is wide at rest; alone or after somebody else, the avatar does the same."""
    first, second = _clip(60), _clip(130, seed=1)[60:]
    wide = np.zeros((478, 3), np.float32)
    wide[[61, 291], 0] = -12, 12
    second = [replace(d, landmarks=d.landmarks + wide, person=1, run=2) for d in second]
    with Driver(avatar, DriverConfig(refine=None)) as driver:
        alone = _values(driver.solve_clip(second, FPS))
        both = _values(driver.solve_clip([*first, *second], FPS))[60:]
        mixed = _values(driver.solve_clip([*first, *(replace(d, person=0) for d in second)], FPS))[60:]
    # Coming after somebody else, the first moments are blended; nothing else may differ.
    np.testing.assert_allclose(both[10:], alone[10:], atol=1e-9)
    assert np.abs(mixed[10:] - alone[10:]).max() > 0.02


def test_live_another_person_is_measured_anew(avatar: Avatar) -> None:
    first, second = _clip(60), [replace(d, person=1) for d in _clip(90, seed=1)[60:]]
    measured = []
    with Driver(avatar) as driver:
        remeasure = driver.remeasure_neutral
        driver.remeasure_neutral = lambda: (measured.append(driver), remeasure())  # type: ignore[method-assign]
        for detection in [*first, *second]:
            driver.update(detection)
    assert len(measured) == 1


def test_no_face_at_all_leaves_the_avatar_at_rest(avatar: Avatar) -> None:
    lost = [Detection.lost(d.capture_ns, d.index, d.width, d.height) for d in _clip(5)]
    with Driver(avatar) as driver:
        results = driver.solve_clip(lost, FPS)
    assert not any(m.face_seen for m in results)
    np.testing.assert_allclose(_values(results)[0][: len(NAMES)], 0, atol=1e-6)


def test_an_avatar_that_is_not_calibrated_is_refused_at_once(avatar: Avatar) -> None:
    with pytest.raises(TrackingError, match="small is not calibrated"):
        Driver(avatar.replace(extras={}, extras_meta={}))


def test_a_face_that_cannot_move_needs_no_calibration(avatar: Avatar) -> None:
    still = replace(avatar.rig, expression_names=(), expression_basis=avatar.rig.expression_basis[:0])
    bust = avatar.replace(rig=still, extras={}, extras_meta={})
    with Driver(bust) as driver:
        live = [driver.update(d) for d in _clip(60)]
        offline = driver.solve_clip(_clip(60), FPS)
    for results in (live, offline):
        rotation = np.array([m.head_rotation for m in results])
        yaw = np.array([angles_of(axis_angle.to_matrix(r))[0] for r in rotation])
        assert np.corrcoef(yaw, [8 * np.sin(2 * i / FPS) for i in range(60)])[0, 1] > 0.95


def test_a_calibration_of_another_avatar_is_noticed(avatar: Avatar) -> None:
    assert response_of(avatar) is not None
    brighter = replace(avatar.gaussians, sh=avatar.gaussians.sh + 0.3)
    assert response_of(avatar.replace(gaussians=brighter)) is None
    stronger = replace(avatar.rig, expression_basis=avatar.rig.expression_basis * 1.2)
    assert response_of(avatar.replace(rig=stronger)) is None
    older = {**avatar.extras_meta, "detector_response.version": 0}
    assert response_of(avatar.replace(extras_meta=older)) is None


def test_a_real_clip_moves_the_built_in_avatar_alike(models_dir: Path, testdata_dir: Path) -> None:
    avatar = open_avatar("vera")
    with (
        open_input(str(testdata_dir / "videos" / "lp_d10.mp4")) as source,
        DetectorProcess(FaceDetectorFactory()) as detector,
    ):
        seen = list(detector.detect_all(islice(iter(source.read, None), 90)))
    with Driver(avatar, DriverConfig(refine=None)) as driver:
        motions = driver.solve_clip(seen, 30.0)[::3]
    with AvatarView(avatar) as view:
        shown = list(view.detect(motions))
    assert all(d.found for d in shown)
    person, played = track_of_detections(seen[::3]), track_of_detections(shown)
    # Whole clips reach .95 and more (bench.reenact); 30 single pictures without smoothing are noisier.
    for measure, least in ((lip_gap, 0.85), (lid_gap, 0.8)):
        assert np.corrcoef(measure(person.points), measure(played.points))[0, 1] > least
    assert np.corrcoef(person.angles[:, 1], played.angles[:, 1])[0, 1] > 0.85
