"""Machine code on disk: found again by copies of a version, by nobody else, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from render.machine_code import UNUSED_S, cache_folder, drop_unused

ROOT = Path(__file__).parents[2]
SOURCE = """
    from render.machine_code import is_kept, kept_njit

    @kept_njit(VERSION, nogil=True, fastmath={"nsz", "contract", "arcp", "afn"})
    def twice(x):
        return FACTOR * x

    if __name__ == "__main__":
        before = is_kept(twice)
        twice(1), twice(1.5)
        made = len(twice._cache_misses)
        print(before, is_kept(twice), made, twice(4), twice(0.25))
"""


def program(folder: Path, version: str = "1", factor: int = 2) -> Path:
    """A program with one kernel, in a folder of its own, as in a clone."""
    folder.mkdir(exist_ok=True)
    text = textwrap.dedent(SOURCE).replace("VERSION", repr(version)).replace("FACTOR", str(factor))
    (folder / "kernels.py").write_text(text)
    return folder


def start(folder: Path, cache: Path, seed: str = "0") -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
    command = [sys.executable, str(folder / "kernels.py")]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(folder: Path, cache: Path, seed: str = "0") -> str:
    process = start(folder, cache, seed)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return out.strip()


def test_code_is_made_once_for_all_copies_and_anew_for_another_version(tmp_path: Path) -> None:
    assert run(program(tmp_path / "a"), tmp_path) == "False True 2 8 0.5"
    assert run(tmp_path / "a", tmp_path, seed="1") == "True True 0 8 0.5"
    assert run(program(tmp_path / "b"), tmp_path) == "True True 0 8 0.5"  # another clone, later written
    assert run(program(tmp_path / "b", factor=3), tmp_path) == "False True 2 12 0.75"
    assert run(program(tmp_path / "b", version="2"), tmp_path) == "False True 2 8 0.5"
    assert run(tmp_path / "a", tmp_path) == "True True 0 8 0.5"  # the others took nothing away
    files = list((tmp_path / "visavis" / "kernels").iterdir())
    assert len(files) == 6
    for file in files:  # a disk that was full, a machine that lost power
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert run(tmp_path / "a", tmp_path) == "True True 2 8 0.5"
    assert run(tmp_path / "a", tmp_path) == "True True 0 8 0.5"


def test_two_programs_that_start_together_share_a_cold_folder(tmp_path: Path) -> None:
    program(tmp_path / "a")
    both = [start(tmp_path / "a", tmp_path, seed) for seed in "01"]
    for process in both:
        out, err = process.communicate()
        assert err == ""
        assert out.split()[-2:] == ["8", "0.5"]
    assert run(tmp_path / "a", tmp_path) == "True True 0 8 0.5"
    names = [file.name for file in (tmp_path / "visavis" / "kernels").iterdir()]
    assert len(names) == 2
    assert not [name for name in names if "part" in name]


def test_where_nothing_can_be_written_kernels_work_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")  # root, which tests may run as, writes to any folder
    assert run(program(tmp_path / "a"), tmp_path / "file") == "False False 2 8 0.5"


def test_that_nothing_can_be_kept_is_said_once_and_a_temporary_folder_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    code = (
        "from render.machine_code import *; ensure_writable(); ensure_writable(); "
        "print(cache_folder(), cache_folder().is_dir())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    folder, there = done.stdout.split()
    assert there == "True"
    assert Path(folder).parent == tmp_path
    assert not Path(folder).exists()  # gone with the process
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"visavis: compiled code cannot be kept in {tmp_path / 'file'}")
    assert "XDG_CACHE_HOME" in line


def test_code_of_versions_gone_by_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    old, new, other = (tmp_path / name for name in ("old.code", "new.code", "letter.txt"))
    for file, age_s in ((old, UNUSED_S + 10), (new, UNUSED_S - 10), (other, UNUSED_S + 10)):
        file.write_text("x")
        os.utime(file, (time.time() - age_s,) * 2)
    drop_unused()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["letter.txt", "new.code"]
