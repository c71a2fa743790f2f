"""Damaged and hostile files, as a user of the command line meets them."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement
from safetensors import safe_open
from safetensors.numpy import save_file

from engine import cli
from render.avatars import library
from render.avatars.library import DEFAULT_AVATAR


def refusal(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Run a command that must be refused; its one line."""
    assert cli.main([str(a) for a in args]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("visavis: ")
    return line


@pytest.fixture(scope="module")
def good() -> Path:
    return Path(library.__file__).parents[1] / "assets" / f"{DEFAULT_AVATAR}.avatar"


def edited(good: Path, path: Path, *, nan: bool = False, **changes: object) -> Path:
    """A copy of an avatar file with NaN in its floats, or changes in its JSON header."""
    with safe_open(str(good), "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, a reader is no dict
        header = {**json.loads(file.metadata()["avatar"]), **changes}
    if nan:
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                arrays[name] = np.full_like(array, np.nan)
    save_file(arrays, path, {"avatar": json.dumps(header)})
    return path


def test_the_copy_itself_is_sound(good: Path, tmp_path: Path) -> None:
    """What the tests below refuse is their damage, not the copying."""
    library.open_avatar(edited(good, tmp_path / "copy.avatar"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "nan", "version", "header"])
def test_damaged_avatars(damage: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.avatar"
    if damage == "truncated":
        bad.write_bytes(good.read_bytes()[:-1000])
    elif damage == "empty":
        bad.touch()
    elif damage == "text":
        bad.write_text("an avatar, surely")
    elif damage == "nan":
        edited(good, bad, nan=True)
    elif damage == "version":
        edited(good, bad, version=99)
    else:
        bad.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    line = refusal(capsys, "demo", "--avatar", bad, "-o", tmp_path / "out.mp4")
    assert "bad.avatar" in line
    assert [p.name for p in tmp_path.iterdir()] == ["bad.avatar"]


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


def test_code_hidden_in_a_model_file_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "flame.pkl"
    model.write_bytes(pickle.dumps({"v_template": Malice()}))
    cloud = tmp_path / "points.ply"
    counts = {"f_dc": 3, "scale": 3, "rot": 4}
    columns = ["x", "y", "z", "opacity", *(f"{name}_{i}" for name in counts for i in range(counts[name]))]
    vertex = np.zeros(1, [(name, "f4") for name in columns] + [("binding_0", "i4")])
    PlyData([PlyElement.describe(vertex, "vertex")]).write(cloud)
    line = refusal(capsys, "avatar", "import", cloud, "--flame", model, "-o", tmp_path / "a.avatar")
    assert "flame.pkl" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flame.pkl", "points.ply"]


def test_an_avatar_for_a_motion_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    motion = tmp_path / "m.npz"
    np.savez(motion, header=np.frombuffer(json.dumps({"format": "x"}).encode(), np.uint8))
    line = refusal(capsys, "record", motion, "-o", tmp_path / "out.mp4")
    assert "m.npz" in line
