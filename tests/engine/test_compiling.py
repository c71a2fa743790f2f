"""The renderer's kernels compiled ahead: all of them, with progress, and not again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import compiling
from engine.compiling import ALL, ONCE, PARTS, Tally, compile_ahead, missing_parts

FIRST_PICTURE = """
import torch
from engine.backends import open_backend
from engine.compiling import told_kernels
from render.camera import Camera
from render.rigs.head import load_head
from tests.engine.live.fakes import small_avatar

avatar = small_avatar()
backend = open_backend("cpu")
params = avatar.rig.neutral_params()
posed = backend.pose(avatar, params)
late = []
with told_kernels(late.append), torch.inference_mode():
    backend.pose(avatar, params)
    drawer = backend.drawer(64, 48)
    camera = avatar.default_camera(64, 48)
    drawer.render_yuv420(posed, camera, (0.5, 0.5, 0.5))
    drawer.render_rgb8(posed, camera, torch.zeros(48, 64, 3, dtype=torch.uint8).numpy())
    drawer.render(posed, camera)
    drawer.close()
print("late:", *late)
"""


def first_picture(cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", FIRST_PICTURE], env=environment, capture_output=True, text=True, check=True
    )


@pytest.mark.slow
def test_all_of_the_first_picture_is_compiled_ahead_and_said_once(tmp_path: Path) -> None:
    cold = first_picture(tmp_path)
    assert cold.stdout.strip() == "late:"  # each part knows the types that are drawn
    begin, end = cold.stderr.splitlines()
    assert begin == f"visavis: {ONCE}"
    assert end.startswith("visavis: compiled in ")
    warm = first_picture(tmp_path)
    assert (warm.stdout.strip(), warm.stderr) == ("late:", "")


def test_progress_goes_by_the_length_of_the_kernels() -> None:
    now = [100.0]
    tally = Tally({"short": 10, "long": 90}, clock=lambda: now[0])
    now[0] = 101.0
    tally.add("somebody_elses")
    assert tally.progress().fraction == 0.0
    assert tally.progress().seconds_left is None  # too early to say
    tally.add("short")
    tally.add("short")  # for other types
    now[0] = 102.0
    progress = tally.progress()
    assert (progress.num_done, progress.num_kernels, progress.fraction) == (1, 2, 0.1)
    assert progress.seconds_left == pytest.approx(18.0)
    assert progress.figures() == "10%, 1 of 2 kernels, about 18 s left"
    tally.add("long")
    assert tally.progress().fraction == 1.0


def test_every_kernel_of_a_part_is_counted() -> None:
    for kernel, modules in ALL.values():
        sizes = [compiling._kernels_of(module) for module in modules]
        assert kernel in sizes[0]
        assert all(size > 0 for module in sizes for size in module.values())


def test_a_part_that_fails_elsewhere_is_left_to_the_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine that starts no more processes, or kills them for their memory."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "_looked", False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert missing_parts() == list(ALL)
    posed: list[int] = []
    told: list[str] = []
    for _ in range(2):  # once a process
        compile_ahead(lambda: posed.append(1), told.append)
    assert posed == [1]
    assert capsys.readouterr().err.startswith(f"visavis: {ONCE}")
    monkeypatch.setattr(compiling, "_looked", False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    compile_ahead(lambda: posed.append(2), told.append)
    assert posed == [1, 2]
    assert set(PARTS) < set(missing_parts())
