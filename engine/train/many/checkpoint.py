"""A checkpoint folder that all processes write together, each what it holds.

The tensors are torch's distributed checkpoint, so that no process needs to hold all of a sharded network.
"""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata

from engine.errors import UsageError
from engine.train.loop.checkpoint import read_checkpoint, write_checkpoint
from engine.train.loop.distributed import Ranks
from transport.errors import OutputError

_LAST, _BEFORE, _PART, _RUN = "last", "before", "part", "run"


def write_shards(folder: Path, tensors: Mapping[str, Any], run: dict[str, Any], ranks: Ranks) -> None:
    """Replace what `folder` holds: nested `tensors`, of every rank its own, and the first one's `run` state.

    Until all is written the former one stays. Raises OutputError when the disk refuses.
    """
    part, last, before = folder / _PART, folder / _LAST, folder / _BEFORE
    try:
        if ranks.first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        ranks.wait()
        with _quiet():
            dcp.save(dict(tensors), checkpoint_id=part, no_dist=ranks.size == 1)
        if ranks.first:
            write_checkpoint(part / _RUN, run)
            if last.exists():
                shutil.rmtree(before, ignore_errors=True)
                last.rename(before)
            part.rename(last)
            shutil.rmtree(before, ignore_errors=True)
    except (OSError, dcp.CheckpointException) as error:
        raise OutputError(f"cannot write {folder}: {error}; the last good checkpoint stays") from error


class Shards:
    """The newest checkpoint in a folder. Raises UsageError when there is none, or it is damaged."""

    def __init__(self, folder: Path) -> None:
        # Between two renames of `write_shards` only the former one has its name.
        self._folder = folder / _LAST if (folder / _LAST).exists() else folder / _BEFORE
        self.run = read_checkpoint(self._folder / _RUN)
        self._reader = _Reader(self._folder)
        self.names = set(self._reader.read_metadata().state_dict_metadata)  # dotted

    def read_into(self, tensors: Mapping[str, Any], ranks: Ranks) -> None:
        """Fill nested `tensors`, each rank those it holds."""
        try:
            with _quiet():
                dcp.load(dict(tensors), storage_reader=self._reader, no_dist=ranks.size == 1)
        except (OSError, dcp.CheckpointException) as error:
            raise UsageError(f"{self._folder} cannot be read: {error}") from error


class _Reader(FileSystemReader):
    """torch's reader, but for its table of contents, a pickle: nothing but torch's own classes is made."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = Path(self.path) / ".metadata"
        try:
            with path.open("rb") as file:
                metadata = _Unpickler(file).load()
        except Exception as error:  # of damaged bytes pickle raises whatever they lead it to
            raise UsageError(f"{path} is damaged or not torch's: {error}") from error
        if not isinstance(metadata, Metadata):
            raise UsageError(f"{path} is not torch's")
        return metadata


class _Unpickler(pickle.Unpickler):
    _MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
    _FUNCTIONS = frozenset({("torch.serialization", "_get_layout")})  # names a layout

    def find_class(self, module: str, name: str) -> Any:
        if module in (*self._MODULES, "torch", "pathlib") or (module, name) in self._FUNCTIONS:
            found = super().find_class(module, name)
            # What a module has imported from elsewhere is not its own.
            own = isinstance(found, type) and found.__module__ == module in self._MODULES
            if own or isinstance(found, torch.dtype) or found in (torch.Size, PosixPath):
                return found
            if (module, name) in self._FUNCTIONS:
                return found
        raise pickle.UnpicklingError(f"it names {module}.{name}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warning that one process saves for itself, which is what was asked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
