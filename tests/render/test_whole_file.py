"""Files that appear whole or not at all, whatever their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from render.whole_file import temporary_name, whole_file

NAMES = [
    "a.npz",
    "x" * 251 + ".npz",
    "é" * 125 + ".npz",
    "🎥" * 62 + ".npz",
    "a." + "y" * 250,
    ".hidden",
    "a%d:b\nc",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_up_to_the_longest(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        temporary.write_text("done")
        assert not (tmp_path / name).exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "done"


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.npz")
    temporary_name(tmp_path / name).name.encode()  # FFmpeg takes text
    with whole_file(tmp_path / name) as temporary:
        temporary.write_text("done")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.npz"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_file(tmp_path / "a.npz") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    (tmp_path / "a.npz").write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
