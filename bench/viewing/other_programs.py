"""Other programs that want the processor too, as on a machine in use."""

from __future__ import annotations

import subprocess
import sys

from capture.closing import Closing

_BUSY = "while True: pass"


class OtherPrograms(Closing):
    """`with OtherPrograms(2)`: so many processes that never rest, each with the priority of its parent."""

    def __init__(self, num: int) -> None:
        self._num = num
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> OtherPrograms:
        self._processes = [
            subprocess.Popen([sys.executable, "-c", _BUSY], start_new_session=True) for _ in range(self._num)
        ]
        return self

    def close(self) -> None:
        """End them; closing twice does no harm."""
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait()
