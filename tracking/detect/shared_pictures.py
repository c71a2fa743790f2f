"""Pictures handed to another process through shared memory, a few slots used in turn."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PictureRef:
    """Where a picture lies: small enough to send through a pipe."""

    memory_name: str
    height: int
    width: int


class PictureWriter:
    """Writes pictures into `num_slots` blocks of shared memory; the caller says when a slot is free again.

    Owns the memory: `close` removes it from the system.
    """

    def __init__(self, num_slots: int) -> None:
        self._memory: list[SharedMemory | None] = [None] * num_slots

    @property
    def num_slots(self) -> int:
        return len(self._memory)

    def write(self, slot: int, rgb: NDArray[np.uint8]) -> PictureRef:
        """Copy a picture [H, W, 3] into a slot nobody reads at the moment; a larger one gets a new block."""
        memory = self._memory[slot]
        if memory is None or memory.size < rgb.nbytes:
            self._remove(slot)
            memory = self._memory[slot] = SharedMemory(create=True, size=max(1, rgb.nbytes))
        np.copyto(_view(memory, rgb.shape[0], rgb.shape[1]), rgb)
        return PictureRef(memory.name, rgb.shape[0], rgb.shape[1])

    def close(self) -> None:
        for slot in range(len(self._memory)):
            self._remove(slot)

    def _remove(self, slot: int) -> None:
        memory, self._memory[slot] = self._memory[slot], None
        if memory is not None:
            memory.close()
            memory.unlink()


class PictureReader:
    """The other side: looks at the writer's pictures without copying them."""

    def __init__(self, num_slots: int) -> None:
        self._num_slots = num_slots
        self._memory: dict[str, SharedMemory] = {}

    def view(self, ref: PictureRef) -> NDArray[np.uint8]:
        """The picture [H, W, 3], valid until the writer is told that its slot is free."""
        memory = self._memory.pop(ref.memory_name, None)
        if memory is None:
            with _not_tracked():
                memory = SharedMemory(ref.memory_name)
        self._memory[ref.memory_name] = memory  # newest last
        while len(self._memory) > self._num_slots:  # blocks the writer has replaced by larger ones
            self._memory.pop(next(iter(self._memory))).close()
        return _view(memory, ref.height, ref.width)

    def close(self) -> None:
        while self._memory:
            self._memory.popitem()[1].close()


def _view(memory: SharedMemory, height: int, width: int) -> NDArray[np.uint8]:
    return np.ndarray((height, width, 3), np.uint8, buffer=memory.buf)


@contextlib.contextmanager
def _not_tracked() -> Iterator[None]:
    """Open a block without telling the resource tracker, which would take its reader for its owner.

    Python 3.13 has `track=False` for this; before, a reader that dies early leaves a false report of a leak.
    """
    if sys.platform == "win32":
        yield
        return
    register = resource_tracker.register
    resource_tracker.register = lambda name, rtype: None
    try:
        yield
    finally:
        resource_tracker.register = register
