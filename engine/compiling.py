"""The renderer's kernels compiled before the first picture: in processes side by side, with progress.

numba compiles in one thread of a process only. So the kernels are made in parts: posing here, since only a
real avatar knows which of them it takes, and the others in processes of their own, which leave the code where
all find it (render/machine_code.py). What a part could not make is compiled when it is called, as ever.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# part: the kernel that calls all others of it, and the modules they lie in
PARTS = {
    "project": ("project_chunks", ("render.cpu.project", "render.cpu.colour", "render.cpu.functions")),
    "raster": ("raster_rows", ("render.cpu.raster", "render.cpu.write")),
}
ALL = {**PARTS, "posing": ("_pose_rig", ("render.cpu.rigs", "render.cpu.posing"))}
ONCE = "compiling the renderer for this processor, once"
SHOWN_EVERY_S = 0.2
_EARLY = 0.1  # of the work: before, nothing is said of the time left


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the compilation is."""

    num_done: int  # kernels
    num_kernels: int
    fraction: float  # of the work
    seconds: float  # since the beginning

    @property
    def seconds_left(self) -> float | None:
        """A guess; None when it is too early for one."""
        if self.fraction < _EARLY:
            return None
        return self.seconds * (1 - self.fraction) / self.fraction

    def figures(self) -> str:
        """How much, which kernel of how many, and how long still."""
        left = "" if self.seconds_left is None else f", about {max(1, round(self.seconds_left))} s left"
        return f"{self.fraction:.0%}, {self.num_done} of {self.num_kernels} kernels{left}"


class Tally:
    """Counts kernels as they are done, from several threads; a kernel's work goes by its length."""

    def __init__(self, sizes: dict[str, int], clock: Callable[[], float] = time.monotonic) -> None:
        """`sizes`: of every kernel's byte code."""
        self._sizes = sizes
        self._done: set[str] = set()
        self._clock = clock
        self._begin_s = clock()
        self._lock = threading.Lock()

    def add(self, name: str) -> None:
        """One is done; a name that is not among the kernels is passed over."""
        with self._lock:
            self._done |= {name} & self._sizes.keys()

    def progress(self) -> Progress:
        with self._lock:
            done = sum(self._sizes[name] for name in self._done)
            fraction = done / max(1, sum(self._sizes.values()))
            return Progress(len(self._done), len(self._sizes), fraction, self._clock() - self._begin_s)


_once = threading.Lock()
_looked = False


def compile_ahead(pose: Callable[[], object], tell: Callable[[str], None] = lambda line: None) -> None:
    """Compile what the first picture takes, once a process, unless the code of all of it lies on disk.

    `pose` poses an avatar. Progress is told on stderr, and by `tell` in one line. For after the user's input
    was found good: a refusal is one line alone.
    """
    global _looked
    if _looked:
        return
    with _once:
        if _looked:
            return
        missing = missing_parts()
        if missing:
            _compile(missing, pose, tell)
        _looked = True


def _compile(missing: Sequence[str], pose: Callable[[], object], tell: Callable[[str], None]) -> None:
    from render.machine_code import drop_unused, ensure_writable

    ensure_writable()
    modules = [name for part in missing for name in ALL[part][1]]
    tally = Tally({name: size for module in modules for name, size in _kernels_of(module).items()})
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        shower = threading.Thread(target=_show, args=(tally, tell, over), name="progress", daemon=True)
        shower.start()
        stack.callback(shower.join)
        stack.callback(over.set)
        others: list[subprocess.Popen[str]] = []
        with contextlib.suppress(OSError):  # no more processes, no memory for them: less is done side by side
            others.extend(
                stack.enter_context(_other_process(part, tally)) for part in missing if part in PARTS
            )
        with told_kernels(tally.add):
            pose()
        for other in others:
            other.wait()  # whatever it says: what it could not make, the first picture makes
    drop_unused()


@contextlib.contextmanager
def told_kernels(tell: Callable[[str], None]) -> Iterator[None]:
    """While it is entered, `tell` hears the name of every kernel that this process has compiled."""
    from numba.core import event

    class Listener(event.Listener):
        def on_start(self, started: Any) -> None:
            pass

        def on_end(self, ended: Any) -> None:
            tell(ended.data["dispatcher"].py_func.__name__)

    with event.install_listener("numba:compile", Listener()):
        yield


@contextlib.contextmanager
def _other_process(part: str, tally: Tally) -> Iterator[subprocess.Popen[str]]:
    """Compile a part in a process of its own, which is gone at the end of the block."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.compiling", part],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            tally.add(line.strip())

    listener = threading.Thread(target=listen, name=f"compile {part}", daemon=True)
    listener.start()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        listener.join()


def _kernels_of(module: str) -> dict[str, int]:
    """The numba functions that a module defines, and the size of each one's byte code."""
    from numba.core.dispatcher import Dispatcher

    functions = [value for value in vars(importlib.import_module(module)).values()]
    found = [f.py_func for f in functions if isinstance(f, Dispatcher)]
    return {f.__name__: len(f.__code__.co_code) for f in found if f.__module__ == module}


def _show(tally: Tally, tell: Callable[[str], None], over: threading.Event) -> None:
    """Tell the progress until it is over: a bar on a terminal, one line anywhere else."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"visavis: {ONCE}", file=sys.stderr, flush=True)
    columns = (TextColumn(ONCE), BarColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        while not over.wait(SHOWN_EVERY_S):
            progress = tally.progress()
            bar.update(task, completed=progress.fraction, description=progress.figures())
            tell(f"{ONCE}: {progress.figures()}")
    if not console.is_terminal:
        print(f"visavis: compiled in {tally.progress().seconds:.0f} s", file=sys.stderr, flush=True)


def missing_parts() -> list[str]:
    """The parts whose machine code is not on disk for this processor; "posing" is one of them."""
    from render.machine_code import is_kept

    return [
        part
        for part, (kernel, modules) in ALL.items()
        if not is_kept(getattr(importlib.import_module(modules[0]), kernel))
    ]


def main(part: str) -> None:
    """Compile one of PARTS, and print the name of each kernel that is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends this one
    with told_kernels(lambda name: print(name, flush=True)):
        compile_part(part)


def compile_part(part: str) -> None:
    """Draw nothing with the kernel of this part alone: that compiles it, for the types that are drawn."""
    import torch

    from render.camera import Camera
    from render.cpu import renderer
    from render.gaussians import Gaussians

    for name, (kernel, _) in PARTS.items():
        if name != part:
            setattr(renderer, kernel, lambda *arguments: None)  # in this process, which does nothing else
    none = torch.empty(0, 3)
    gaussians = Gaussians(none, torch.empty(0, 4), none, torch.empty(0), torch.empty(0, 1, 3))
    camera = Camera.orbit((0.0, 0.0, 0.0), distance_m=1.0, width=16, height=16, vertical_fov_deg=22.0)
    drawer = renderer.CpuRenderer(16, 16, num_threads=1)
    try:
        drawer.render_rgb8(gaussians, camera, (0.0, 0.0, 0.0))
    finally:
        drawer.close()


if __name__ == "__main__":
    main(sys.argv[1])
