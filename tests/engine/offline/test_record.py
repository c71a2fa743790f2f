"""From a video, or a motion, to an avatar's video: end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from engine import cli
from engine.demo_motion import demo_motion
from engine.look import Look
from engine.motion_file import load_motion
from engine.offline.play import pictures
from engine.offline.record import record, record_motion
from engine.report import StageTimes
from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, open_avatar
from render.motion import Motion
from render.rigs.params import RigParams
from tests.child_process import started
from transport.files.mp4_writer import Mp4Writer

SMALL = Look(128, 128, (0.8, 0.8, 0.8))
CLIP_S = 1.5


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return open_avatar(DEFAULT_AVATAR)


@pytest.fixture(scope="module")
def clip(testdata_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1.5 s of a real clip: 45 frames with sound."""
    out = tmp_path_factory.mktemp("clip") / "talk.mp4"
    with av.open(str(testdata_dir / "videos" / "lp_d10.mp4")) as source, av.open(str(out), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None or packet.pts * packet.time_base >= CLIP_S:
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    return out


def video_facts(path: Path) -> tuple[list[float], str | None]:
    """Presentation times of the frames, and the codec of the sound."""
    with av.open(str(path)) as container:
        sound = container.streams.audio[0].codec.canonical_name if container.streams.audio else None
        return [float(frame.time or 0.0) for frame in container.decode(video=0)], sound


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Every picture that goes to the encoder."""
    seen: list[bytes] = []
    write = Mp4Writer.write

    def spy(self: Mp4Writer, picture: np.ndarray, presentation_ns: int) -> None:
        seen.append(picture.tobytes())
        write(self, picture, presentation_ns)

    monkeypatch.setattr(Mp4Writer, "write", spy)
    return seen


def test_record_keeps_frames_times_and_sound_and_reports(
    clip: Path, models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report_path = tmp_path / "out.mp4", tmp_path / "report.json"
    options = ["--size", "192x128", "--backend", "cpu", "--report", str(report_path)]
    assert cli.main(["record", str(clip), "-o", str(out), *options]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "45 frames" in printed.out

    driver_times, driver_sound = video_facts(clip)
    times, sound = video_facts(out)
    np.testing.assert_allclose(times, driver_times, atol=2e-5)  # two ticks of 90 kHz
    assert sound == driver_sound == "aac"

    report = json.loads(report_path.read_text())
    assert report["frames"] == 45
    assert report["fps"] == pytest.approx(45 / report["seconds"], rel=0.01)  # both are rounded
    assert report["found"] == 1.0
    assert report["size"] == [192, 128]
    assert list(report["stages"]) == ["capture", "track", "solve", "refine", "pose", "render", "encode"]
    for stage in report["stages"].values():
        assert 0 < stage["p50_ms"] <= stage["p95_ms"] <= stage["p99_ms"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "report.json"]


def test_a_film_as_people_bring_it(
    models_dir: Path, testdata_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A title that is no UTF-8, a colon and a line's end in its name, an output's name as long as may be."""
    source = tmp_path / "take:2\n.avi"
    source.write_bytes((testdata_dir / "cases" / "latin1_title.avi").read_bytes())
    out = tmp_path / "out" / ("é" * 125 + ".mp4")
    out.parent.mkdir()
    assert cli.main(["record", str(source), "-o", str(out), "--size", "128", "--backend", "cpu"]) == 0
    assert capsys.readouterr().err == ""
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    times, sound = video_facts(out)
    assert (len(times), sound) == (60, "mp3")
    with av.open("file:" + str(out)) as container:
        assert container.streams.video[0].guessed_rate == 30


def test_a_tracked_motion_renders_the_identical_picture(
    clip: Path, models_dir: Path, tmp_path: Path, avatar: Avatar, written: list[bytes]
) -> None:
    record(clip, tmp_path / "direct.mp4", avatar, SMALL)
    direct = list(written)
    written.clear()
    assert cli.main(["track", str(clip), "-o", str(tmp_path / "m.npz")]) == 0
    record(tmp_path / "m.npz", tmp_path / "later.mp4", avatar, SMALL)
    assert len(direct) == 45
    assert written == direct
    assert len(set(direct)) > 40  # the avatar moves

    motion = load_motion(tmp_path / "m.npz")
    driver_times, _ = video_facts(clip)
    np.testing.assert_allclose(motion.times_ns / 1e9, driver_times, atol=1e-6)
    assert motion.unit_names == tuple(avatar.rig.expression_names)
    assert motion.face_seen.all()
    assert motion.avatar_name == DEFAULT_AVATAR
    assert motion.rig_fingerprint == avatar.rig.fingerprint()


def test_a_video_without_a_face_is_written_and_warned_about(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "wall.mp4", tmp_path / "out.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 128
        for i in range(12):
            wall = np.full((128, 128, 3), 90 + i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(wall, format="rgb24")))
        container.mux(stream.encode(None))
    assert cli.main(["record", str(source), "-o", str(out), "--size", "128", "--backend", "cpu"]) == 0
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "no face" in line
    assert "wall.mp4" in line
    times, _ = video_facts(out)
    assert len(times) == 12


def test_demo_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo.mp4"
    assert cli.main(["demo", "-o", str(out), "--size", "128", "--seconds", "0.5", "--backend", "cpu"]) == 0
    times, sound = video_facts(out)
    assert len(times) == 15
    assert sound is None
    assert capsys.readouterr().err == ""


def test_pictures_are_the_same_every_time_and_show_the_avatar(avatar: Avatar) -> None:
    motion = demo_motion(0.2)
    first, again = (
        [picture.tobytes() for picture in pictures(motion, avatar, SMALL, StageTimes())] for _ in range(2)
    )
    assert first == again
    luma = np.frombuffer(first[0], np.uint8)[: 128 * 128].reshape(128, 128)
    corner = 16 + 219 * 0.8
    assert abs(float(luma[0, 0]) - corner) <= 1  # rounding
    assert luma.std() > 20  # a face on a flat wall


def test_motions_of_other_rigs_play_by_name(tmp_path: Path, avatar: Avatar) -> None:
    motion = demo_motion(0.1)
    params = [avatar.params(moment) for moment in motion]
    names = list(avatar.rig.expression_names)
    for i, name in enumerate(motion.unit_names):
        assert float(params[1].expression[names.index(name)]) == motion.weights[1, i]


def test_a_background_picture_fills_the_frame(tmp_path: Path, written: list[bytes]) -> None:
    wall = np.zeros((40, 100, 3), np.uint8)
    wall[:, 30:70] = (0, 0, 255)  # the middle square is blue
    path = tmp_path / "wall.png"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 100, 40, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(wall, format="rgb24")))
        container.mux(stream.encode(None))
    out = tmp_path / "o.mp4"
    assert (
        cli.main(["demo", "-o", str(out), "--size", "128", "--seconds", "0.05", "--background", str(path)])
        == 0
    )
    planes = np.frombuffer(written[0], np.uint8).reshape(192, 128)
    blue_cb = 128 + 224 * (1 - 0.0722) / 1.8556
    assert abs(float(planes[128 : 128 + 32].reshape(64, 64)[0, 8]) - blue_cb) <= 2  # rounding and scaling


def test_a_motion_file_needs_no_model(
    tmp_path: Path, avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.motion_file import save_motion

    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path))  # an empty folder
    save_motion(demo_motion(0.2), tmp_path / "m.npz")
    report = record(tmp_path / "m.npz", tmp_path / "o.mp4", avatar, SMALL).report
    assert report["frames"] == 6
    assert list(report["stages"]) == ["pose", "render", "encode"]


def test_recording_twice_leaves_no_threads(tmp_path: Path, avatar: Avatar) -> None:
    import threading

    record_motion(demo_motion(0.1), tmp_path / "o.mp4", avatar, SMALL)
    before = threading.active_count()
    record_motion(demo_motion(0.1), tmp_path / "o.mp4", avatar, SMALL)
    assert threading.active_count() == before


def test_a_pose_that_fails_ends_the_recording(
    tmp_path: Path, avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Avatar, motion: Motion) -> RigParams:
        raise ZeroDivisionError("in the posing thread")

    monkeypatch.setattr(Avatar, "params", fail)
    with pytest.raises(ZeroDivisionError, match="posing thread"):
        record_motion(demo_motion(0.1), tmp_path / "o.mp4", avatar, SMALL)
    assert list(tmp_path.iterdir()) == []


# A shell shows 130 for both: Python itself ends by the signal when the interrupt came inside an `exec`.
INTERRUPTED = (130, -signal.SIGINT)


def test_ctrl_c_is_quiet_and_leaves_nothing(tmp_path: Path) -> None:
    demo = ["demo", "--seconds", "600", "--backend", "cpu", "-o", str(tmp_path / "o.mp4")]
    command = [sys.executable, "-m", "engine.cli", *demo]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not any(file.stat().st_size > 10_000 for file in tmp_path.iterdir()):
            assert process.poll() is None, process.stderr
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # an impatient one
        out, err = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED
    assert (out, err) == (b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_terminal_while_the_tracker_loads(clip: Path, models_dir: Path, tmp_path: Path) -> None:
    """A terminal sends it to the tracker's processes as well, at any moment of their start."""
    options = ["-o", str(tmp_path / "o.mp4"), "--backend", "cpu"]
    command = [sys.executable, "-m", "engine.cli", "record", str(clip), *options]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):  # the tracker starts right after the output is opened
            assert process.poll() is None, process.stderr
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED
    assert (out, err) == (b"", b"")
    assert list(tmp_path.iterdir()) == []


DISK_FULL = """
import resource, sys
from engine.cli import main
# numba may want to fill its cache first
cpu = ["demo", "--backend", "cpu", "-o"]
assert main([*cpu, sys.argv[1] + "/warm.mp4", "--seconds", "0.1", "--size", "64"]) == 0
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main([*cpu, sys.argv[1] + "/full/o.mp4"]))
"""


def test_a_full_disk_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
        timeout=300,
    )
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("visavis: cannot write")
    assert list((tmp_path / "full").iterdir()) == []
