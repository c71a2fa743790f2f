"""The checkpoint file: whole or not at all, never code, and a full disk costs nothing that was there."""

from __future__ import annotations

import pickle
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from engine.errors import UsageError
from engine.train.loop.checkpoint import read_checkpoint, write_checkpoint
from transport.errors import OutputError


def test_round_trip(tmp_path: Path) -> None:
    state = {
        "a": torch.arange(3.0),
        "b": [1, "two", None, 3.5],
        "c": {"d": torch.zeros(0, dtype=torch.int64)},
    }
    write_checkpoint(tmp_path / "c", state)
    back = read_checkpoint(tmp_path / "c")
    assert torch.equal(back["a"], state["a"])  # type: ignore[arg-type]
    assert back["b"] == state["b"]
    assert back["c"]["d"].dtype == torch.int64
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


class Harmful:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (Path.touch, (Path("harm"),))


def test_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state": Harmful()}, "torch.file")
    Path("pickle.file").write_bytes(pickle.dumps({"state": Harmful()}, protocol=2))
    for name in ("torch.file", "pickle.file"):
        with pytest.raises(UsageError, match=f"{name} is not a training checkpoint"):
            read_checkpoint(Path(name))
    assert not Path("harm").exists()


def test_damaged_missing_and_newer_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(UsageError, match="there is no checkpoint"):
        read_checkpoint(path)
    write_checkpoint(path, {"a": torch.zeros(1000)})
    whole = path.read_bytes()
    for damaged in (b"", b"junk", whole[:500], whole[:-40]):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="c is not a training checkpoint"):
            read_checkpoint(path)
    torch.save({"format": "visavis training checkpoint", "version": 99, "state": {}}, path)
    with pytest.raises(UsageError, match="another version of visavis"):
        read_checkpoint(path)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond `size`, as it does when the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "c"
    write_checkpoint(path, {"step": 1})
    with files_of_at_most(100_000), pytest.raises(OutputError) as refusal:
        write_checkpoint(path, {"step": 2, "big": torch.zeros(100_000)})
    assert "no room for 0.4 MiB" in str(refusal.value)
    assert "--resume" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert read_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["c"]
