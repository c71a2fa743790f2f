"""Child processes of tests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def started(
    command: Sequence[str], *, env: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """A process that does not outlive the block, so that one which hangs fails its test and no more.

    When the block fails while the process runs, the error says where the threads of a Python process are.
    """
    environment = {**(os.environ if env is None else env), "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(command, env=environment, **options) as process:
        try:
            yield process
        except BaseException as error:
            if process.poll() is None:
                process.send_signal(signal.SIGABRT)
                with suppress(subprocess.TimeoutExpired, ValueError):
                    _, words = process.communicate(timeout=10)
                    error.add_note(str(words)[-8000:])
                process.kill()
            raise
