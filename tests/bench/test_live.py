"""The live benchmark's parts: clips, processor time, and the figures put together."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bench import live
from bench.processes import children, cpu_seconds
from bench.viewing.chromium import find_chromium
from bench.viewing.live_client import WatchReport
from bench.viewing.live_clips import as_camera_file, retimed
from bench.viewing.other_programs import OtherPrograms
from capture.synthetic import SyntheticSource
from capture.video import VideoFile
from transport.files.mp4_writer import Mp4Writer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    source = SyntheticSource(96, 64, 30.0, 20)
    with Mp4Writer(path, width=96, height=64, frame_rate=Fraction(30)) as recorder:
        while (frame := source.read()) is not None:
            recorder.write(frame.rgb, frame.capture_ns)
    return path


def test_a_clip_plays_at_another_rate_without_a_cut(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "60.mp4"
    retimed(clip, out, 60, 1.0)
    with VideoFile(out) as video:
        assert video.fps == pytest.approx(60)
        pictures, times = [], []
        while (frame := video.read()) is not None:
            pictures.append(frame.rgb.astype(int))
            times.append(frame.capture_ns)
    assert len(pictures) == 60
    assert np.diff(times).tolist() == pytest.approx([1e9 / 60] * 59, abs=12_000)  # ns of a 1/90000 s tick
    # There and back again: neighbours differ by 1.9 to 7.2 grey levels; from the last to the first it is 40.
    steps = [np.abs(a - b).mean() for a, b in itertools.pairwise(pictures)]
    assert max(steps) < 12
    assert np.abs(pictures[19] - pictures[0]).mean() > 24


def test_the_fake_cameras_file_holds_every_frame(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "camera.y4m"
    as_camera_file(clip, out)
    head, _, rest = out.read_bytes().partition(b"\n")
    assert head == b"YUV4MPEG2 W96 H64 F30:1 Ip A1:1 C420jpeg"
    assert len(rest) == 20 * (len(b"FRAME\n") + 96 * 64 * 3 // 2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_processor_time_of_a_tree_is_counted() -> None:
    inner = "x = 0\nwhile x < 3_000_000: x += 1\nprint(1, flush=True)\ninput()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = children(parent.pid)
        whole, part = cpu_seconds(parent.pid), cpu_seconds(child)
        assert part is not None
        assert whole is not None
        assert whole >= part > 0.02  # three million steps
        parent.stdin.write(b"\n")
    deadline = time.monotonic() + 10
    while cpu_seconds(parent.pid) is not None:
        assert time.monotonic() < deadline


def test_dropped_frames_are_those_nobody_saw() -> None:
    report = WatchReport(
        seconds=10.0, displayed_fps=29.0, num_displayed=292, num_unreadable=0, num_repeated=2,
        largest_gap_ms=50.0, latency_p50_ms=30.0, latency_p95_ms=40.0, latency_p99_ms=50.0,
        latency_max_ms=60.0, first_picture_ms=100.0, bits_per_second=1e6, lost_packets=0, num_freezes=0,
        width=512, height=512,
    )  # fmt: skip
    figures = {f"track_p{p}_ms": 9.0 for p in (50, 95, 99)}
    cpu = {"server": 40.0, "tracker": 30.0, "browser": 20.0}
    run = live._joined(report, figures, cpu, rate=30, seconds=10.0)
    assert run["num_dropped"] == 10
    assert run["stages"] == {"track": {"p50_ms": 9.0, "p95_ms": 9.0, "p99_ms": 9.0}}
    machine = {"cpu": "a", "cores": 2, "load_1min": 0.1}
    table = live.table(
        {"input": "x", "avatar": "vera", "machine": machine, "beside": 1,
         "runs": [{"direction": "file", "size": "512x512", "source_fps": 30, **run}]}
    )  # fmt: skip
    assert "track 9.0/9.0" in table
    assert "1 other busy programs" in table


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt install chromium")
@pytest.mark.parametrize("direction", live.DIRECTIONS)
def test_it_measures_end_to_end(models_dir: Path, testdata_dir: Path, direction: live.Direction) -> None:
    clip = testdata_dir / "videos" / "lp_d10.mp4"
    result = live.measure(str(clip), seconds=3.0, sizes=["512x512"], rates=[30], directions=[direction])
    (run,) = result["runs"]
    assert run["num_displayed"] > 5
    assert run["num_unreadable"] == 0
    assert {"track", "solve", "pose", "render", "encode"} <= set(run["stages"])
    assert 0 < run["latency_p50_ms"] < 2000  # of the clock's own size: not a machine's speed
    assert run["cpu_percent"]["tracker"] > 0


def test_other_programs_are_busy_and_end() -> None:
    with OtherPrograms(2) as others:
        pids = [process.pid for process in others._processes]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
