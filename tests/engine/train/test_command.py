"""`visavis train`: from a dataset folder to an avatar with its report, and every mistake in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine import cli
from engine.train.data.dataset import write_dataset
from engine.train.loop.checkpoint import read_checkpoint, write_checkpoint
from engine.train.methods.table import METHODS
from render.avatars.file import load_avatar
from tests.engine.train.loop.bound_gaussians import pictures_of_vera

CONSENT = ["--consent", "nobody: the built-in person"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "vera.data"
    write_dataset(pictures_of_vera(), folder)
    return folder


@pytest.fixture(autouse=True)
def small_method(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test's own method: what is tested is everything around it."""
    monkeypatch.setitem(METHODS, "bound", "tests.engine.train.loop.bound_gaussians")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def refusal(capfd: pytest.CaptureFixture[str], *args: str | Path) -> str:
    assert cli.main(["train", *map(str, args)]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = (
        text for text in printed.err.splitlines() if "preview:" not in text and "setting up" not in text
    )
    return line


def test_training_makes_an_avatar_and_its_report(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "v.avatar"
    args = [str(data), "-o", str(output), *CONSENT, "--licence", "CC0", "--seed", "7", "--no-calibrate"]
    assert cli.main(["train", "bound", *args, "--set", "bound.steps=5"]) == 0
    printed = capfd.readouterr()
    assert f"visavis live --avatar {output}" in printed.out
    assert f"preview: {tmp_path / 'v.preview.png'}" in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "v.avatar", "v.checkpoint", "v.preview.png", "v.report.html", "v.report.json",
    ]  # fmt: skip

    avatar = load_avatar(output)
    assert avatar.info.name == "v"
    assert (avatar.info.consent, avatar.info.licence) == (CONSENT[1], "CC0")
    assert "method bound, on 5 pictures of vera (steps: colour 5, shape 5; seed 7)" in avatar.info.provenance

    report = json.loads((tmp_path / "v.report.json").read_text())
    assert report["config"]["trainer.seed"] == 7
    assert report["steps"] == {"colour": {"done": 5, "full": 5}, "shape": {"done": 5, "full": 5}}
    assert report["measured_views"] == report["held_out_views"] == 2
    # One renderer trains in torch, the other plays from bytes of the file's precision: nothing is baked here.
    assert math.isclose(report["trained"]["masked_psnr"], report["played"]["masked_psnr"], abs_tol=0.05)

    page = (tmp_path / "v.report.html").read_text()
    # Self-contained: it loads nothing, and what the user wrote is text.
    assert "src=" in page
    assert all(part.startswith("data:image/png;base64,") for part in page.split('src="')[1:])
    assert "http" not in page
    for figure in report["frames"]:
        assert figure["view"] in page
    for text in ("Loss: colour", "Loss: shape", "trainer.seed", CONSENT[1], "<svg"):
        assert text in page


def test_resume_goes_on_and_refuses_other_settings(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "v.avatar"
    base = ["bound", data, "-o", output, *CONSENT, "--no-calibrate"]
    line = refusal(capfd, *base, "--resume")
    assert "there is no checkpoint" in line
    assert cli.main(["train", *map(str, base), "--set", "bound.steps=4"]) == 0
    output.unlink()
    capfd.readouterr()
    line = refusal(capfd, *base)
    assert "holds an unfinished training" in line
    line = refusal(capfd, *base, "--resume", "--set", "bound.rate=0.5")
    assert "trained with bound.rate = 0.02, now it is 0.5" in line
    state = read_checkpoint(tmp_path / "v.checkpoint")
    write_checkpoint(tmp_path / "v.checkpoint", {**state, "method_name": "eva"})
    assert "is of a eva training" in refusal(capfd, *base, "--resume")
    write_checkpoint(tmp_path / "v.checkpoint", state)
    assert cli.main(["train", *map(str, base), "--resume"]) == 0  # --set need not be repeated
    assert json.loads((tmp_path / "v.report.json").read_text())["config"]["bound.steps"] == 4


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["-o", "v.avatar"], ["--consent"]),
        (["-o", "v.avatar", "--consent", " "], ["--consent is empty", "whose likeness"]),
        (["-o", "v.ply", *CONSENT], ["v.ply", ".avatar"]),
        (["-o", "none/v.avatar", *CONSENT], ["none", "folder"]),
        (["-o", "v.avatar", *CONSENT, "--budget", "0"], ["--budget 0", "minutes"]),
        (["-o", "v.avatar", *CONSENT, "--device", "tpu"], ["tpu", "cuda"]),
        (
            ["-o", "v.avatar", *CONSENT, "--set", "bound.stpes=3"],
            ["did you mean bound.steps?"],
        ),
        (["-o", "v.avatar", *CONSENT, "--config", "none.toml"], ["none.toml"]),
        (["-o", "v.avatar", *CONSENT, "--lpips", "none.pth"], ["none.pth"]),
    ],
)
def test_mistakes_are_one_line(
    data: Path,
    args: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(capfd, "bound", data, *args)
    assert all(part in line for part in parts), line
    assert list(tmp_path.iterdir()) == []


def test_missing_and_empty_data_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = ["-o", tmp_path / "v.avatar", *CONSENT]
    assert "visavis train prepare" in refusal(capfd, "bound", tmp_path / "none", *output)
    (tmp_path / "empty").mkdir()
    assert "empty" in refusal(capfd, "bound", tmp_path / "empty", *output)


def test_a_method_refuses_what_its_own_options_do_not_know(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capfd, "sage", data, "-o", tmp_path / "v.avatar", *CONSENT, "--regime", "stereo")
    assert "stereo" in line
    assert "multiview" in line
