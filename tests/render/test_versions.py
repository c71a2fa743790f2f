"""Packages of which private parts are used: what is declared is what is checked, and another one is named."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from render import versions
from render.cpu.lanes import KNOWN_NUMBA
from render.errors import RendererError
from render.versions import check_version
from tracking.detect.mediapipe_task import KNOWN_MEDIAPIPE, MediaPipeTask
from tracking.errors import TrackingError
from transport.webrtc.patches import PINNED

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_what_is_declared_is_what_is_checked() -> None:
    declared = set(tomllib.loads(PROJECT.read_text())["project"]["dependencies"])
    for package, (least, below) in (("numba", KNOWN_NUMBA), ("mediapipe", KNOWN_MEDIAPIPE)):
        assert f"{package}>={least},<{below}" in declared
    for package, pinned in PINNED.items():
        assert f"{package}=={pinned}" in declared


@pytest.mark.parametrize("found", ["0.61.0", "0.68.1", "0.68.2rc1"])
def test_a_known_version_passes(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(versions, "version", lambda package: found)
    check_version("numba", KNOWN_NUMBA, RendererError)


@pytest.mark.parametrize("found", ["0.60.9", "0.69.0", "1.0"])
def test_another_version_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(versions, "version", lambda package: found)
    with pytest.raises(RendererError, match=rf"numba {found} .*pip install 'numba>=0\.61,<0\.69'") as caught:
        check_version("numba", KNOWN_NUMBA, RendererError)
    assert "\n" not in str(caught.value)


def test_another_mediapipe_is_not_even_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "version", lambda package: "2.0.0")
    with pytest.raises(TrackingError, match=r"mediapipe 2\.0\.0 is installed"):
        MediaPipeTask(tmp_path / "any.task", "any model", lambda: pytest.fail("it was loaded"))


def test_another_numba_ends_a_command_with_one_line(tmp_path: Path) -> None:
    program = """
import sys
from importlib import metadata
found = metadata.version
metadata.version = lambda package: "0.99.0" if package == "numba" else found(package)
from engine.cli import main
sys.exit(main(["avatar", "preview", "vera", "-o", sys.argv[1]]))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "sheet.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT.parent)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("visavis: numba 0.99.0 is installed")
    assert "Traceback" not in done.stderr
