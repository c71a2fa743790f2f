"""A new method is its own file and a line in the table: `visavis train` does the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch

from engine import cli
from engine.train.data.dataset import write_dataset
from engine.train.loop.checkpoint import read_checkpoint
from engine.train.methods import table
from engine.train.methods.sage.command import REGIMES
from engine.train.methods.sage.config import Regime
from render.avatars.file import load_avatar
from tests.engine.train.loop.bound_gaussians import pictures_of_vera


@pytest.fixture(autouse=True)
def one_more_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(table.METHODS, "colours", "tests.engine.train.methods.colours")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_method_of_one_file_trains_through_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "vera.data", tmp_path / "v.avatar"
    write_dataset(pictures_of_vera(48), data)
    arguments = [str(data), "-o", str(output), "--consent", "nobody: built in", "--no-calibrate"]
    changes = ["--bright", "--set", "colours.steps=12", "--set", "trainer.checkpoint_seconds=0"]
    assert cli.main(["train", "colours", *arguments, *changes, "--device", "cpu"]) == 0
    assert f"visavis live --avatar {output}" in capfd.readouterr().out
    report = json.loads((tmp_path / "v.report.json").read_text())
    assert report["config"]["colours.start"] == 1.0
    assert report["steps"] == {"colours": {"done": 12, "full": 12}}
    losses = read_checkpoint(tmp_path / "v.checkpoint")["history"]["totals"]["colours"]
    assert float(losses[-5:].mean()) < 0.8 * float(losses[:5].mean())
    avatar = load_avatar(output)
    assert avatar.gaussians.num_gaussians == len(avatar.rig.faces)
    assert "method colours" in avatar.info.provenance


def test_its_help_stands_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    printed = capsys.readouterr().out
    assert "prepare|sage|quick|colours" in printed
    assert "colours only" in printed
    with pytest.raises(SystemExit):
        cli.main(["train", "colours", "--help"])
    assert "begin with white" in capsys.readouterr().out


def test_help_loads_no_torch() -> None:
    program = "import sys; from engine import cli\ntry: cli.main(['train', 'sage', '--help'])\nfinally: assert 'torch' not in sys.modules"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "--regime" in done.stdout
    assert "AssertionError" not in done.stderr


def test_the_command_offers_sages_regimes() -> None:
    assert get_args(Regime) == REGIMES
