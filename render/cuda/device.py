"""The graphics card as the frame sees it: memory, launches, graphs, and whether there is one."""

from __future__ import annotations


def available() -> str | None:
    """None when CUDA can draw here, else why not in one line: no package, no driver, an old one, no device.

    Looks at the driver and compiles nothing; a few milliseconds when there is a device.
    """
    raise NotImplementedError
