"""The machine code of numba's kernels, kept in the user's cache folder between runs.

numba's own cache lies beside the sources, or in folders named after them: a new clone or environment compiles
everything again, an installation that cannot be written to has none, and two programs that start together may
exchange one another's code. Here a file's name says all that its code depends on: the sources, the types, the
processor, numba and Python. So files are shared by all copies of one version, never change, and need no lock.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import inspect
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import numba
from numba import njit
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from render.whole_file import whole_file

UNUSED_S = 60 * 86400.0  # after which a file goes
_DIGEST = hashlib.sha256().digest_size


def kept_njit(version: str = "", **options: Any) -> Callable[[Any], Any]:
    """`numba.njit(**options)` whose machine code stays on disk.

    The code is made anew when the function's own file changes, or `version`: a hash, say, of other sources
    that it calls or takes constants from.
    """

    def decorate(function: Any) -> Any:
        dispatcher = njit(**options)(function)
        dispatcher._cache = _Kept(function, version, _text(options))  # as enable_caching does
        return dispatcher

    return decorate


def is_kept(dispatcher: Any) -> bool:
    """Whether code of this kernel, for any types, lies on disk for this processor."""
    return dispatcher._cache.any()


def cache_folder() -> Path:
    """NUMBA_CACHE_DIR, else `visavis/kernels` in the user's cache folder; it need not exist."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visavis" / "kernels"


@cache
def ensure_writable() -> None:
    """Look for a place for machine code before much is compiled; processes started later share it.

    Where the cache folder cannot be written to, says so once on stderr, and takes a temporary folder.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        print(
            f"visavis: compiled code cannot be kept in {folder} ({error.strerror}), so every start compiles "
            "anew; name a folder that can be written to by XDG_CACHE_HOME",
            file=sys.stderr,
            flush=True,
        )
    with contextlib.suppress(OSError):  # nowhere at all: each process compiles for itself
        temporary = tempfile.mkdtemp(prefix="visavis_")
        os.environ["NUMBA_CACHE_DIR"] = temporary
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)


def drop_unused() -> None:
    """Delete the code that nothing has loaded for two months: other versions', most likely."""
    oldest_s = time.time() - UNUSED_S
    for path in cache_folder().glob("*.code"):
        with contextlib.suppress(OSError):  # another process was faster, or it is not ours
            if path.stat().st_mtime < oldest_s:
                path.unlink()


class _Kept:
    """What a numba dispatcher asks for code and gives code to: the interface of numba.core.caching."""

    def __init__(self, function: Any, version: str, options: str) -> None:
        self._function = function
        self._version = version
        self._options = options
        self._enabled = True

    @property
    def cache_path(self) -> str:
        return str(cache_folder())

    def any(self) -> bool:
        from numba.core.registry import cpu_target

        return (
            next(cache_folder().glob(self._stem(cpu_target.target_context.codegen()) + "*"), None) is not None
        )

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function; None when there is none, or the file is damaged."""
        target.refresh()
        if not self._enabled:
            return None
        path = self._path(signature, target.codegen())
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it is in use
        return CompileResult._rebuild(target, *pickle.loads(content[_DIGEST:]))

    def save_overload(self, signature: Any, compiled: Any) -> None:
        if not self._enabled or compiled.library.has_dynamic_globals:
            return
        path = self._path(signature, compiled.codegen)
        content = dumps(compiled._reduce())
        with contextlib.suppress(OSError):  # told by `ensure_writable`; here the code is used all the same
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as temporary:
                temporary.write_bytes(hashlib.sha256(content).digest() + content)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Nothing to write: every file is written at once."""

    def _path(self, signature: Any, codegen: Any) -> Path:
        return cache_folder() / f"{self._stem(codegen)}{_hash(str(signature))}.code"

    def _stem(self, codegen: Any) -> str:
        function = self._function
        key = (
            function.__module__, function.__qualname__, self._version, self._options, _source_hash(function),
            codegen.magic_tuple(), sys.version, numba.__version__, llvmlite.__version__,
        )  # fmt: skip
        return f"{function.__name__}-{_hash(repr(key))}-"


def _source_hash(function: Any) -> str:
    return _file_hash(inspect.getfile(function))


@cache
def _file_hash(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _text(options: dict[str, Any]) -> str:
    """The options in an order of their own; that of a set differs from process to process."""
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in options.items()}
    return repr(sorted(plain.items()))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
