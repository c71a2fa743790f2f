"""Motions: the built-in one, and the file."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.demo_motion import LOOP_S, demo_moment, demo_motion
from engine.errors import UsageError
from engine.motion_file import load_motion, save_motion
from render.motion import MotionClip
from transport.errors import OutputError


def test_the_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    motion = dataclasses.replace(demo_motion(2.0), avatar_name="vera", rig_fingerprint="abc")
    save_motion(motion, tmp_path / "m.npz")
    read = load_motion(tmp_path / "m.npz")
    for field in dataclasses.fields(MotionClip):
        saved, loaded = getattr(motion, field.name), getattr(read, field.name)
        if isinstance(saved, np.ndarray | dict):
            np.testing.assert_equal(loaded, saved, field.name, strict=True)
        else:
            assert saved == loaded, field.name
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_a_stream_holds_the_same_motion_as_it_goes_over_the_wire(tmp_path: Path) -> None:
    motion = demo_motion(2.0)
    save_motion(motion, tmp_path / "m.npz")
    save_motion(motion, tmp_path / "m.motion")
    read = load_motion(tmp_path / "m.motion")
    assert read.unit_names == motion.unit_names
    assert np.abs(read.weights - motion.weights).max() <= 1 / 1024
    assert np.abs(read.times_ns - motion.times_ns).max() <= 1000
    (tmp_path / "m.motion").write_text("hello")
    with pytest.raises(UsageError, match=r"m\.motion' is no usable motion file \(it is no motion stream\)"):
        load_motion(tmp_path / "m.motion")


def edited(path: Path, **changes: object) -> Path:
    """The motion file at `path` with some arrays, or header entries, changed."""
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    for name, value in changes.items():
        if name in arrays:
            arrays[name] = np.asarray(value)
        else:
            header[name] = value
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    out = path.with_name("edited.npz")
    np.savez(out, **arrays)
    return out


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    motion = demo_motion(1.0)
    save_motion(motion, good)
    weights = motion.weights.copy()
    weights[3, 2] = np.nan
    text, cut, foreign = (tmp_path / f"{name}.npz" for name in ("text", "cut", "foreign"))
    text.write_text("hello")
    cut.write_bytes(good.read_bytes()[:-200])
    np.savez(foreign, a=np.zeros(3))
    cases = [
        (tmp_path / "missing.npz", "no motion file"),
        (text, "motion file"),
        (cut, "motion file"),
        (foreign, "header"),
        (edited(good, version=99).rename(tmp_path / "v.npz"), "version 99"),
        (edited(good, format="other").rename(tmp_path / "f.npz"), "format"),
        (edited(good, weights=weights).rename(tmp_path / "nan.npz"), "not finite"),
        (edited(good, weights=weights[:, :5]).rename(tmp_path / "w.npz"), "weights"),
        (edited(good, times_ns=motion.times_ns[::-1]).rename(tmp_path / "t.npz"), "times"),
        (edited(good, fps=0).rename(tmp_path / "fps.npz"), "frame rate"),
        (edited(good, unit_names=3).rename(tmp_path / "n.npz"), "motion file"),
    ]
    for path, part in cases:
        with pytest.raises(UsageError, match=part) as refusal:
            load_motion(path)
        assert "\n" not in str(refusal.value)
        assert path.name in str(refusal.value)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    buffer.write(pickle.dumps(Bomb()))
    for name in ("header.npy", "weights.npy"):
        path = tmp_path / "bomb.npz"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, buffer.getvalue())
        with pytest.raises(UsageError, match=r"bomb\.npz"):
            load_motion(path)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "m.mp4", tmp_path / "no" / "m.npz"):
        with pytest.raises(OutputError):
            save_motion(demo_motion(0.1), path)
    assert list(tmp_path.iterdir()) == []


def test_the_built_in_motion_is_a_smooth_bounded_loop() -> None:
    motion = demo_motion(LOOP_S + 0.5, fps=60)
    assert motion.weights.min() >= 0
    assert motion.weights.max() <= 1
    loop = round(LOOP_S * 60)
    np.testing.assert_allclose(motion.weights[loop:], motion.weights[: len(motion) - loop], atol=1e-6)
    np.testing.assert_allclose(motion.head_rotation[loop], motion.head_rotation[0], atol=1e-6)
    # 27 degrees in 0.6 s with level ends peaks at 68 degrees/s: 1.13 degrees a frame; sway adds some
    turned = np.degrees(np.linalg.norm(np.diff(motion.head_rotation, axis=0), axis=1))
    assert turned.max() < 1.6
    assert np.degrees(np.abs(motion.head_rotation[:, 1])).max() > 20


def test_the_built_in_motion_uses_the_whole_face() -> None:
    motion = demo_motion(LOOP_S)
    peak = dict(zip(motion.unit_names, motion.weights.max(0), strict=True))
    for name in ("eyeBlinkLeft", "mouthSmileRight", "jawOpen", "browInnerUp", "browDownLeft", "mouthPucker"):
        assert peak[name] > 0.3, name
    assert peak["eyeBlinkLeft"] == pytest.approx(1.0)
    assert {*motion.unit_names} >= {"eyeLookOutLeft", "eyeLookInRight", "mouthFunnel", "mouthPressLeft"}


def test_gaze_and_head_turn_to_the_subject_s_left_together() -> None:
    assert demo_moment(3.8).head_rotation[1] > 0.3  # in the first turn, to the left
    earlier = demo_moment(3.0)
    units = dict(zip(earlier.unit_names, earlier.weights, strict=True))
    assert units["eyeLookOutLeft"] > units["eyeLookInLeft"]


def rich(frames: int = 5) -> MotionClip:
    """A clip with everything a clip can hold."""
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return MotionClip(
        unit_names=("expression_0", "jawOpen"),
        weights=floats(frames, 2),
        head_rotation=floats(frames, 3),
        head_translation=floats(frames, 3),
        times_ns=np.arange(frames) * 40_000_000,
        fps=25.0,
        confidence={"face": np.ones(frames, np.float32), "left_hand": np.zeros(frames, np.float32)},
        joints={"left_wrist": floats(frames, 3)},
        arkit_names=("jawOpen", "mouthSmileLeft"),
        in_arkit=np.array([[[0, 1], [1, 0]], [[0, 0], [0, 0]]], np.float32),
    )


def test_body_hands_and_meanings_survive_the_file(tmp_path: Path) -> None:
    save_motion(rich(), tmp_path / "m.npz")
    read = load_motion(tmp_path / "m.npz")
    for field in dataclasses.fields(MotionClip):
        np.testing.assert_equal(getattr(read, field.name), getattr(rich(), field.name), field.name)
    moment = read[2]
    assert moment.joints.keys() == {"left_wrist"}
    assert moment.confidence == {"face": 1.0, "left_hand": 0.0}
    assert moment.time_ns == 80_000_000


def test_a_file_of_version_1_still_plays(tmp_path: Path) -> None:
    clip = demo_motion(1.0)
    header = {"format": "visavis-motion", "version": 1, "unit_names": clip.unit_names, "fps": clip.fps}
    found = np.arange(len(clip)) % 2 == 0
    np.savez(
        tmp_path / "old.npz",
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        weights=clip.weights,
        head_rotation=clip.head_rotation,
        head_translation=clip.head_translation,
        confidence=found.astype(np.float32),
        found=found,
        times_ns=clip.times_ns,
    )
    read = load_motion(tmp_path / "old.npz")
    np.testing.assert_array_equal(read.weights, clip.weights)
    np.testing.assert_array_equal(read.face_seen, found)


def test_units_of_a_rigs_own_become_arkits_for_rigs_that_lack_them() -> None:
    clip = rich()
    assert clip.in_units(("expression_0", "jawOpen", "more")) is clip
    other = clip.in_units(("jawOpen", "mouthSmileLeft"))
    assert other.unit_names == ("jawOpen", "mouthSmileLeft")
    np.testing.assert_allclose(other.weights[:, 0], np.maximum(clip.weights[:, 1], 0))
    np.testing.assert_allclose(other.weights[:, 1], np.maximum(clip.weights[:, 0], 0))
