"""The `visavis` command: finds the command's module, runs it, and turns a user's mistake into one line."""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from capture.errors import SourceError
from engine.errors import TrainingError, UsageError
from render.errors import AvatarError, RendererError
from tracking.errors import TrackingError
from transport.errors import OutputError

# name: (module with add_arguments(parser) and run(args) -> exit code, one line for --help).
# Modules are imported when their command is used, so that `visavis --help` loads neither torch nor numba.
COMMANDS = {
    "demo": ("engine.commands.demo", "show the built-in avatar in a built-in motion, in the browser"),
    "live": ("engine.commands.live", "let your face drive an avatar, live, in the browser"),
    "record": ("engine.commands.record", "drive an avatar with a video and write the reenactment"),
    "track": ("engine.commands.track", "write the motion of a video's face to a file that record plays"),
    "train": ("engine.commands.train", "make an avatar of a person from a video or pictures"),
    "avatar": ("engine.commands.avatar", "look at, convert and picture avatars"),
    "models": ("engine.commands.models", "list and fetch the tracker's model files"),
    "bench": ("engine.commands.bench", "measure rendering, tracking, encoding and recording"),
}

EXAMPLES = """\
examples:
  visavis demo --open                            the built-in avatar in the browser, from nothing
  visavis live --open                            your camera drives it
  visavis record talk.mp4 -o avatar.mp4          your video's face drives the built-in avatar
  visavis record talk.mp4 -o her.mp4 --avatar vera --size 720
  visavis track talk.mp4 -o talk.npz             keep the motion, render it later:
  visavis record talk.npz -o avatar.mp4
  visavis avatar preview vera -o vera.png        a sheet of expressions and views
  visavis train prepare me.mp4 -o me.data        an avatar of yourself: docs/train.md
  visavis bench render                           frames per second on this machine

`visavis COMMAND --help` explains a command. Results go to stdout, messages to stderr.
Exit code: 0 done, 2 a mistake in what was asked (one line says what to do), 130 interrupted."""

# The stages of every job use all cores themselves, on matrices too small to share out: threads of BLAS and
# OpenMP would only spin beside them (9 of 36 ms core time a frame in `record`). Set before NumPy loads.
SINGLE_THREADED_MATHS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

USER_ERRORS = (
    UsageError,
    TrainingError,
    SourceError,
    AvatarError,
    RendererError,
    TrackingError,
    OutputError,
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line that names the next step."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; `{self.prog} --help` explains the options")

    def parse_complete(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse all of `argv`. Raises UsageError naming the first thing that is not understood."""
        args, unknown = self.parse_known_args(argv)
        if unknown:
            name = unknown[0].split("=")[0]
            kind = "option" if name.startswith("-") else "argument"
            self.error(f"unknown {kind} {name!r}{_nearest(name, self._option_string_actions)}")
        return args


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def _top_parser() -> Parser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    parser = Parser(
        prog="visavis",
        usage="visavis COMMAND [options]",
        description="A face in, a Gaussian avatar that does what the face does out.\n\ncommands:\n"
        + "\n".join(lines),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    return parser


def _run(argv: Sequence[str]) -> int:
    if not argv or argv[0].startswith("-"):
        parser = _top_parser()
        if parser.parse_complete(argv).version:
            from importlib.metadata import version

            print(f"visavis {version('visavis')}")
            return 0
        if not argv:
            parser.print_help()
            return 0
        parser.error("name a command")
    name = argv[0]
    if name not in COMMANDS:
        raise UsageError(
            f"unknown command {name!r}{_nearest(name, COMMANDS)}; `visavis --help` lists all of them"
        )
    for variable in SINGLE_THREADED_MATHS:
        os.environ.setdefault(variable, "1")
    module = importlib.import_module(COMMANDS[name][0])
    parser = Parser(
        prog=f"visavis {name}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return int(module.run(parser.parse_complete(argv[1:])) or 0)


# Python code that takes or gives back a lock: an exception between its lines would leave the lock taken, and
# the clean-up would wait for it for ever.
_LOCK_STEPS = {
    getattr(threading.Condition, name).__code__
    for name in ("__enter__", "__exit__", "_acquire_restore", "_release_save", "_is_owned")
}
_RETRY_S = 0.002


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Unwind on the first Ctrl-C and ignore the next, so that the clean-up is not cut short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _unwind(KeyboardInterrupt(), frame)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Unwind on SIGTERM as on Ctrl-C, so that half-written files and child processes go."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _unwind(SystemExit(128 + signum), frame)


def _unwind(error: BaseException, frame: FrameType | None) -> None:
    """Raise `error` in the main thread: now, or as soon as that does no harm."""
    if not _is_delicate(frame) or not hasattr(signal, "setitimer"):
        raise error
    signal.signal(signal.SIGALRM, lambda _, later: _unwind(error, later))
    signal.setitimer(signal.ITIMER_REAL, _RETRY_S)


def _is_delicate(frame: FrameType | None) -> bool:
    """Whether an exception in this frame would do harm.

    It leaves a lock taken in threading's own code. It aborts the process while torch loads (a second or two),
    which calls Python from C++ that lets none through. It is printed and lost, and with it the wish to end,
    in what LLVM calls back while numba compiles, and in `__del__`.
    """
    if frame is not None and frame.f_code in _LOCK_STEPS:
        return True
    while frame is not None:
        name, module = frame.f_code.co_name, str(frame.f_globals.get("__name__"))
        if name == "__del__" or module.startswith("llvmlite.binding"):
            return True
        if name == "<module>" and module == "torch":
            return True
        frame = frame.f_back
    return False


@contextmanager
def _orderly_signals() -> Iterator[None]:
    handlers = {signal.SIGTERM: _terminate}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not when started with it ignored
        handlers[signal.SIGINT] = _interrupt
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _forget_interrupt() -> None:
    """Let the exit code of `python -m engine.cli` be ours after an interrupt that was dealt with.

    Python ends by SIGINT itself once a KeyboardInterrupt has left a text run by `exec`, as dataclasses and
    named tuples are made while torch loads, whoever caught it later; the next text that ends well undoes it.
    Source: `run_eval_code_obj` in CPython's pythonrun.c.
    """
    exec("")


def _stdout_reader_left() -> bool:
    """Whether stdout is a pipe nobody reads any more, as in `visavis ... | head -1`."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name in bytes that are no UTF-8 is printed as those bytes
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with _orderly_signals():
            code = _run(sys.argv[1:] if argv is None else argv)
            sys.stdout.flush()
    except USER_ERRORS as error:
        print(f"visavis: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if not _stdout_reader_left():
            raise
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the interpreter flushes once more at exit
        return 141
    finally:
        _forget_interrupt()
    return code


if __name__ == "__main__":
    sys.exit(main())
