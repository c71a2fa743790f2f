"""A `visavis live` in a process of its own, for measuring."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

from capture.closing import Closing


class LiveServerProcess(Closing):
    """`with LiveServerProcess(["--input", clip]) as server`: listens on a free port, ends by SIGTERM."""

    def __init__(self, options: Sequence[str], module: str = "engine.cli") -> None:
        """`module`: what runs the command, the product's own command line by default."""
        self._command = [sys.executable, "-m", module, "live", "--port", "0", *options]
        self._process: subprocess.Popen[str] | None = None
        self.address = ""  # without a path

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> LiveServerProcess:
        # a session of its own: Ctrl-C is for the measurement, which then ends its server
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        address = self._process.stdout.readline().strip()
        if not address:
            code = self._process.wait()
            raise RuntimeError(f"the server did not start (exit code {code}): {' '.join(self._command)}")
        self.address = address.split("/#")[0].rstrip("/")
        return self

    def close(self) -> None:
        """End the server as its user would, and wait for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate()
