"""FLAME avatars live: driven by a film, by motions of other rigs and by the model's own parameters."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from capture.source import open_input
from engine import cli
from engine.model_motion import ASSUMED_FPS, model_params
from engine.motion_file import load_motion, save_motion
from engine.offline.play import played_by
from engine.offline.track import clip_of
from render.avatars.avatar import Avatar
from render.avatars.file import load_avatar, save_avatar
from render.avatars.library import open_avatar
from render.importers.gaussian_avatars import import_gaussian_avatars
from render.motion import Motion, MotionClip
from tests.render.rigs.flame_from_ict import ProofFiles
from tracking.calibration.measure import calibrate_avatar
from tracking.calibration.view import AvatarView
from tracking.detect.face_detector import FaceDetectorFactory
from tracking.detect.process import DetectorProcess
from tracking.face.driver import Driver, DriverConfig
from tracking.face.signals import lid_gap, lip_gap, track_of_detections

FPS = 30.0


@pytest.fixture(scope="module")
def flame(models_dir: Path, proof_files: ProofFiles) -> Avatar:
    """A painted head on a file of FLAME's layout, calibrated on fewer faces than users' are."""
    return calibrate_avatar(import_gaussian_avatars(proof_files.flame_ply, proof_files.flame), num_faces=400)


@pytest.fixture(scope="module")
def talking(flame: Avatar, testdata_dir: Path) -> tuple[list, MotionClip]:
    """The detections of two seconds of a talking head, and what they make the avatar do."""
    clip = str(testdata_dir / "videos" / "lp_d10.mp4")
    with open_input(clip) as source, DetectorProcess(FaceDetectorFactory()) as detector:
        seen = list(detector.detect_all(islice(iter(source.read, None), 60)))
    with Driver(flame, DriverConfig(refine=None)) as driver:
        return seen, clip_of(driver.solve_clip(seen, FPS), flame, FPS)


def test_jaw_lids_and_head_follow_the_person(flame: Avatar, talking: tuple[list, MotionClip]) -> None:
    seen, clip = talking
    with AvatarView(flame) as view:
        shown = list(view.detect(clip[i] for i in range(0, 60, 2)))
    assert all(d.found for d in shown)
    person, played = track_of_detections(seen[::2]), track_of_detections(shown)
    # Whole clips reach .95 and more (bench.reenact); 30 single pictures without smoothing are noisier.
    assert np.corrcoef(lip_gap(person.points), lip_gap(played.points))[0, 1] > 0.85
    assert np.corrcoef(person.angles[:, 1], played.angles[:, 1])[0, 1] > 0.7  # a nod of a few degrees
    jaw = clip.weights[:, clip.unit_names.index("jawOpen")]
    assert jaw.max() > 0.05  # it is the joint that opens the mouth


def test_arkits_units_mean_the_same_face_on_a_face_model(flame: Avatar) -> None:
    shut = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}
    assert flame.lost_units((*shut, *smile)) == ()
    with AvatarView(flame) as view:
        rest, blink, happy = view.detect([Motion.neutral(), Motion.of(shut), Motion.of(smile)])
    assert blink.score("eyeBlinkLeft") > rest.score("eyeBlinkLeft") + 0.3
    assert happy.score("mouthSmileLeft") > rest.score("mouthSmileLeft") + 0.3
    gaps = lid_gap(track_of_detections([rest, blink]).points)
    assert gaps[1] < 0.6 * gaps[0]


def test_a_face_models_motion_plays_on_the_built_in_people(talking: tuple[list, MotionClip]) -> None:
    seen, clip = talking
    vera = open_avatar("vera")
    own, lost = played_by(clip, vera)
    assert lost is None
    assert set(own.unit_names) == set(vera.rig.unit_names)
    jaw = own.weights[:, own.unit_names.index("jawOpen")]
    # components that part the lips become jaw as well: alike, not equal
    assert np.corrcoef(jaw, clip.weights[:, clip.unit_names.index("jawOpen")])[0, 1] > 0.85
    lids = own.weights[:, [own.unit_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]].mean(1)
    assert np.corrcoef(lids, -lid_gap(track_of_detections(seen).points))[0, 1] > 0.3  # squints too


def test_the_file_holds_the_models_own_parameters_and_plays_by_either(
    flame: Avatar, talking: tuple[list, MotionClip], tmp_path: Path
) -> None:
    _, clip = talking
    save_motion(clip, tmp_path / "m.npz", model_params(clip, flame))
    with np.load(tmp_path / "m.npz") as file:
        own = {n: file[n] for n in ("expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation")}
        assert file["shape"].shape == (300,)
    assert own["expr"].shape == (60, 100)
    assert own["eyes_pose"].shape == (60, 6)
    assert own["jaw_pose"][:, 0].max() > 0.02  # radians
    np.savez(tmp_path / "field.npz", **own)
    exact, field = load_motion(tmp_path / "m.npz"), load_motion(tmp_path / "field.npz")
    assert field.fps == ASSUMED_FPS
    for frame in (0, 30, 59):
        first, second = flame.params(exact[frame]), flame.params(field[frame])
        direct = flame.params(clip[frame])
        for name in ("expression", "pose", "translation"):
            torch.testing.assert_close(getattr(first, name), getattr(direct, name), atol=0, rtol=0)
            torch.testing.assert_close(getattr(second, name), getattr(direct, name), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["flame", "smplx"])
def test_a_models_own_parameters_play_as_what_they_were_made_of(
    kind: str, proof_files: ProofFiles, tmp_path: Path
) -> None:
    files = {
        "flame": (proof_files.flame_ply, proof_files.flame),
        "smplx": (proof_files.smplx_ply, proof_files.smplx),
    }
    avatar = import_gaussian_avatars(*files[kind], kind=kind)
    acted = Motion.of({"expression_3": -1.5, "jawOpen": 0.6, "eyeLookInLeft": 0.4}, (0.1, -0.3, 0.2))
    clip = MotionClip.of([acted, Motion.neutral(acted.unit_names)], FPS)
    np.savez(tmp_path / "field.npz", **model_params(clip, avatar))
    field = load_motion(tmp_path / "field.npz")
    for frame in range(2):
        wanted, found = avatar.params(clip[frame]), avatar.params(field[frame])
        torch.testing.assert_close(found.expression, wanted.expression, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.pose, wanted.pose, atol=1e-6, rtol=0)


def test_a_damaged_file_of_the_models_parameters_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"expr": np.zeros((4, 50), np.float32), "jaw_pose": np.zeros((4, 3), np.float32)}
    np.savez(tmp_path / "good.npz", **good)
    assert len(load_motion(tmp_path / "good.npz")) == 4
    for name, value, part in (
        ("jaw_pose", np.zeros((3, 3), np.float32), "jaw_pose is (3, 3)"),
        ("eyes_pose", np.zeros((4, 3), np.float32), "eyes_pose is (4, 3)"),
        ("expr", np.full((4, 50), np.nan, np.float32), "expr holds values"),
        ("expr", np.zeros((0, 50), np.float32), "expr is (0, 50)"),
    ):
        np.savez(tmp_path / "bad.npz", **{**good, name: value})
        assert cli.main(["record", str(tmp_path / "bad.npz"), "-o", str(tmp_path / "o.mp4")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert part in line


def test_a_model_file_is_a_bare_head_that_can_be_driven(
    models_dir: Path, proof_files: ProofFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bare.avatar"
    command = ["avatar", "import", str(proof_files.flame), "-o", str(out), "--no-calibrate"]
    assert cli.main(command) == 0
    bare = load_avatar(out, models_dir=proof_files.flame.parent)
    with AvatarView(bare) as view:
        turned = [
            Motion.of({"jawOpen": jaw}, (0.0, yaw, 0.0)) for jaw in (0.0, 0.5) for yaw in (-0.4, 0, 0.4)
        ]
        seen = list(view.detect(turned))
    assert all(d.found for d in seen)
    assert seen[4].score("jawOpen") > seen[1].score("jawOpen") + 0.2


def test_rig_and_avatar_must_fit(
    flame: Avatar, proof_files: ProofFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "no.mp4"
    film.touch()
    save_avatar(flame, tmp_path / "flame.avatar")
    command = ["track", str(film), "-o", str(tmp_path / "o.npz"), "--avatar", "vera", "--rig"]
    assert cli.main([*command, str(proof_files.flame)]) == 2
    assert "vera is on another rig" in capsys.readouterr().err
    (tmp_path / "not.npz").write_bytes(b"hello")
    assert cli.main([*command, str(tmp_path / "not.npz")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
