"""The session on a machine with a card, played through with processes that answer as the test says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import gpu_session
from bench.cuda import frames as cuda_frames
from bench.cuda import steps as gpu_steps
from bench.cuda.rigged_scenes import still_head
from bench.cuda.steps import Finished, gpu_test_files, last_json, run_process
from bench.gpu_session import ALL, session
from render.cuda.avatar_renderer import AvatarRenderer
from tests.bench.test_render_cuda import result, row
from tests.render.cuda.cuda_renderers import emulated_device

JUNIT = '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}"/>'

TRAINED = {
    "data": "SYNTHETIC",
    "dataset": "person 1",
    "played": {"masked_psnr": 30.2, "masked_ssim": 0.95},
    "measured_views": 30,
    "steps": {"surfels and field": {"done": 7000, "full": 8000}},
    "wall_s": 299.0,
    "seconds": {"load": 12.5},
}


class Machine:
    """Answers every process: by the first of `answers` whose key stands in the command, else well."""

    def __init__(self, **answers: Finished) -> None:
        self.answers = answers
        self.commands: list[str] = []
        self.junit = {"tests": 3, "failures": 0, "skipped": 1}

    def __call__(self, command: Sequence[str], limit_s: float, extra: Mapping[str, str]) -> Finished:
        line = " ".join(command)
        self.commands.append(line)
        for part in command:
            if part.startswith("--junitxml="):
                Path(part.partition("=")[2]).write_text(JUNIT.format(**self.junit) + "</testsuites>")
        for key, answer in self.answers.items():
            if key in line.replace(".", "_"):
                return answer
        if "render_cuda" in line:
            return Finished(0, json.dumps(result(row(speed_up=9.0))), "", 60.0)
        if "train_gpu" in line:
            return Finished(0, json.dumps(TRAINED), "", 300.0)
        if "--minutes" in line:
            figures = {"frames": 9000, "captures": 5, "seconds": 60.0, "growth_mb": 0.0}
            return Finished(0, json.dumps(figures), "", 60.0)
        return Finished(
            0, 'words\n{"reason": "no encoder", "p50_ms": 1.0}\n', "========= ERROR SUMMARY: 0", 6.0
        )


@pytest.fixture(autouse=True)
def _sanitizer(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(which=lambda name: None if name == "nvidia-smi" else f"/{name}")
    monkeypatch.setattr(gpu_steps, "shutil", fake)
    monkeypatch.setattr(gpu_session, "shutil", fake)
    monkeypatch.setattr(gpu_steps, "_is_there", lambda package: True)


def test_a_good_machine_measures_every_step_and_writes_a_table(tmp_path: Path) -> None:
    machine = Machine()
    found = session(ALL, tmp_path, minutes=1.0, limit_s=3600.0, run=machine)
    assert list(found) == list(ALL)
    assert {name: outcome.status for name, outcome in found.items() if outcome.status != "ok"} == {
        "gsplat": "unmeasured"
    }
    written = json.loads((tmp_path / "gpu_session.json").read_text())
    assert written["steps"]["speed"]["result"]["rows"][0]["speed_up"] == 9.0
    assert written["machine"]["packages"]["torch"]
    table = (tmp_path / "gpu_session.txt").read_text()
    assert "ok   100,000 3d, 512x512, rig: 0.05 ms, asked for 0.1 ms" in table
    assert "9,000 frames, 5 graphs in 1.0 minutes: device memory grew by 0 MB" in table
    assert "no comparison with gsplat: no encoder" in table
    assert "ok   SYNTHETIC person 1, 5 minutes: held-out person as played PSNR 30.20 dB (asked: 29)" in table
    assert "ok   ended after 5.0 minutes, set up in 12.5 s" in table
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu_session.json", "gpu_session.txt"]
    assert [file for file in gpu_test_files() if not any(file in line for line in machine.commands)] == []


def test_a_step_that_breaks_costs_only_itself(tmp_path: Path) -> None:
    machine = Machine(
        render_cuda=Finished(1, "", "Traceback: boom", 2.0), sanitizer=Finished(None, "", "", 99.0)
    )
    found = session(("sanitizer", "speed", "memory"), tmp_path, minutes=1.0, limit_s=3600.0, run=machine)
    assert [outcome.status for outcome in found.values()] == ["failed", "failed", "ok"]
    assert found["speed"].lines == ("FAIL speed: exit code 1",)
    assert "boom" in found["speed"].result["log"]
    assert found["sanitizer"].lines[0] == "FAIL memcheck: no summary"


def test_a_target_that_is_missed_fails(tmp_path: Path) -> None:
    slow = result(row(ours={"min_ms": 1.0, "p50_ms": 1.0, "p99_ms": 1.0}))
    leaky = {"frames": 9000, "captures": 5, "seconds": 60.0, "growth_mb": 30.0}
    machine = Machine(  # both commands take --minutes: the first key counts
        train_gpu=Finished(0, json.dumps({**TRAINED, "wall_s": 400.0}), "", 400.0),
        render_cuda=Finished(0, json.dumps(slow), "", 1.0),
        minutes=Finished(0, json.dumps(leaky), "", 1.0),
        cuda_frames=Finished(0, "{}", "", 12.0),
    )
    steps = ("start", "speed", "train", "memory")
    found = session(steps, tmp_path, minutes=1.0, limit_s=3600.0, run=machine)
    assert {outcome.status for outcome in found.values()} == {"failed"}
    assert any(line.startswith("FAIL 100,000 3d, 512x512, rig: 1 ms") for line in found["speed"].lines)
    assert "30 MB" in found["memory"].lines[0]
    assert [line[:4] for line in found["train"].lines] == ["ok  ", "FAIL"]  # good, but late
    assert found["start"].lines[0].startswith("FAIL a process that draws every kind: 12 s")


def test_failing_tests_fail_and_missing_packages_do_not(tmp_path: Path) -> None:
    machine = Machine(pytest=Finished(1, "assert 1 == 2", "", 1.0))
    machine.junit = {"tests": 3, "failures": 1, "skipped": 0}
    assert session(("tests",), tmp_path, minutes=1, limit_s=600, run=machine)["tests"].status == "failed"
    machine = Machine(pytest=Finished(2, "ModuleNotFoundError: No module named 'av'", "", 1.0))
    machine.junit = {"tests": 0, "failures": 0, "skipped": 0}
    assert session(("tests",), tmp_path, minutes=1, limit_s=600, run=machine)["tests"].status == "unmeasured"


def test_a_later_session_adds_to_an_earlier_one(tmp_path: Path) -> None:
    session(("start",), tmp_path, minutes=1.0, limit_s=600.0, run=Machine())
    table = (tmp_path / "gpu_session.txt").read_text()
    assert "speed: unmeasured; run python -m bench.gpu_session --steps speed" in table
    found = session(("speed", "memory"), tmp_path, minutes=1.0, limit_s=0.0, run=Machine())
    assert found["start"].status == "ok"
    assert found["speed"].lines == ("-    no time left for speed; run --steps speed",)


def test_without_a_card_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.backends.cuda_refusal", lambda: "no NVIDIA driver")
    monkeypatch.setattr("sys.argv", ["gpu_session"])
    assert gpu_session.main() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("visavis: nothing to measure: no NVIDIA driver; docs/gpu.md")


def test_processes_end_at_their_limit_with_their_children(tmp_path: Path) -> None:
    child = f"import time; time.sleep(30); open({str(tmp_path / 'late')!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    begin = time.monotonic()
    finished = run_process([sys.executable, "-c", code], 1.0, {})
    assert finished.code is None
    assert time.monotonic() - begin < 20  # it did not wait for the child
    finished = run_process(
        [sys.executable, "-c", "import os; print(os.environ['A']); import bench"], 60.0, {"A": "7"}
    )
    assert (finished.code, finished.out) == (0, "7\n")


def test_the_last_json_line_counts() -> None:
    assert last_json('{"a": 1}\n{"b": 2}\n{broken\nend') == {"b": 2}
    assert last_json("nothing") is None


ONLY_ITS_OWN = """
import importlib, sys
missing = {"av", "mediapipe", "aiortc", "gsplat", "plyfile", "gsply", "body_models", "anny"}
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
for name in ("gpu_session", "render_cuda"):
    importlib.import_module("bench." + name)
for name in ("frames", "agreement", "gsplat_methods", "host_waits"):
    importlib.import_module("bench.cuda." + name)
import render.cuda.backend
from bench.cuda.agreement import motion
from render.avatars.library import open_avatar
from render.cpu.backend import CpuBackend
avatar = open_avatar("vera")
CpuBackend().pose(avatar, next(motion(avatar)))
import pytest
sys.exit(pytest.main(["-q", "--collect-only", "-m", "gpu", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_nothing_is_imported_that_a_bare_gpu_machine_lacks() -> None:
    """Such as the one of docs/gpu.md, where nothing can be installed; comparisons with gsplat skip there."""
    command = [sys.executable, "-c", ONLY_ITS_OWN, *gpu_test_files()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=gpu_steps.ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "tests/engine/test_cuda_device.py: 1" in done.stdout
    assert "tests/bench/test_render_cuda.py: 1" in done.stdout


def test_frames_of_every_kind_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "render.cuda.avatar_renderer.AvatarRenderer",
        partial(AvatarRenderer, device=emulated_device()),
    )
    monkeypatch.setattr("bench.cuda.rigged_scenes.rigged_head", still_head)  # a rig takes the emulation long
    drawn = cuda_frames.every_kind(1)
    assert drawn["frames"] == 2 * (1 + 3) * 4 * 2
    assert drawn["overflows"] > 0  # a first capacity of 256 pairs has to grow


@pytest.mark.parametrize("leak_mb", [0.0, 1.0])
def test_growth_is_that_of_the_later_time(monkeypatch: pytest.MonkeyPatch, leak_mb: float) -> None:
    """Memory rises while caches fill, whatever comes after; a leak goes on."""
    monkeypatch.setattr(
        "render.cuda.avatar_renderer.AvatarRenderer",
        partial(AvatarRenderer, device=emulated_device()),
    )
    monkeypatch.setattr(cuda_frames, "CAPTURE_EVERY", 3)
    monkeypatch.setattr(cuda_frames, "LONG_SIZES", ((32, 32), (48, 32)))
    monkeypatch.setattr("bench.cuda.agreement.MOMENTS", 1)
    now, looks = [0.0], [0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    def used() -> float:
        looks[0] += 1
        return 400.0 + min(looks[0], 3) * 50 + leak_mb * looks[0]

    found: dict[str, Any] = cuda_frames.long_run(0.7, avatars=[still_head(20)], used_mb=used, clock=clock)
    assert found["captures"] > 2
    assert found["samples"] >= 8
    # between the medians of the second and the fourth quarter lie half of the looks, but for rounding
    assert found["growth_mb"] == pytest.approx(leak_mb * found["samples"] / 2, abs=leak_mb)
