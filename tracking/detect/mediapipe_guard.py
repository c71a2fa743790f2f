"""Keeps MediaPipe quiet: no usage statistics leave, nothing is written over the user's terminal.

MediaPipe 1.x sends usage statistics over HTTPS when a task is closed. It reads the proxy variables at that
moment, so a proxy on a port where nothing listens stops it; a `no_proxy` that covers the address would let it
out again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

# Port 9 is "discard": nothing listens there on a machine of our time, and no name has to be looked up to
# reach it.
DEAD_PROXY = "http://127.0.0.1:9"
_PROXY_NAMES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY")
_EXEMPTION_NAMES = ("no_proxy", "NO_PROXY")

_lock = threading.Lock()
_num_blocks = 0
_saved: dict[str, str | None] = {}


def block_telemetry() -> None:
    """Shut this process's way out over HTTPS; pairs with `unblock_telemetry`, and nests.

    The variables are the whole process's: while a block is held, nothing here can fetch over HTTPS.
    """
    global _num_blocks
    with _lock:
        _num_blocks += 1
        if _num_blocks > 1:
            return
        for name in (*_PROXY_NAMES, *_EXEMPTION_NAMES):
            _saved[name] = os.environ.get(name)
        for name in _PROXY_NAMES:
            os.environ[name] = DEAD_PROXY
        for name in _EXEMPTION_NAMES:
            os.environ.pop(name, None)


def unblock_telemetry() -> None:
    """Put the variables back once the last block is lifted."""
    global _num_blocks
    with _lock:
        _num_blocks -= 1
        if _num_blocks > 0:
            return
        for name, value in _saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _saved.clear()


@contextlib.contextmanager
def native_stderr_hidden() -> Iterator[None]:
    """Hide what native code writes to descriptor 2 inside the block; an exception carries it along as a note.

    MediaPipe's C++ has no switch for its start-up messages (measured: GLOG_minloglevel and
    TF_CPP_MIN_LOG_LEVEL do nothing in 1.2).
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no stderr at all, as under pythonw
        yield
        return
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException as error:
            hidden.seek(0)
            error.add_note(hidden.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
