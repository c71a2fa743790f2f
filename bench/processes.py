"""Processor time of a process and all it started, from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_seconds(pid: int, proc: Path = Path("/proc")) -> float | None:
    """User and system time of a process and its living descendants, seconds; None without /proc."""
    tree = _tree(pid, proc)
    if not tree:
        return None
    ticks = sum(times for times in (_times(process, proc) for process in tree) if times is not None)
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """The processes that this one started and that still run."""
    found = []
    for status in proc.glob("[0-9]*/stat"):
        fields = _fields(status)
        if fields is not None and int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return sorted(found)


def _tree(pid: int, proc: Path) -> list[int]:
    if not (proc / str(pid) / "stat").exists():
        return []
    return [pid, *(descendant for child in children(pid, proc) for descendant in _tree(child, proc))]


def _times(pid: int, proc: Path) -> int | None:
    fields = _fields(proc / str(pid) / "stat")
    return int(fields[11]) + int(fields[12]) if fields is not None else None


def _fields(status: Path) -> list[str] | None:
    """The fields after the name, which may hold spaces itself; None when the process is gone."""
    try:
        return status.read_text().rpartition(")")[2].split()
    except OSError:
        return None
