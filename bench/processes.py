"""What processes take, from Linux's /proc: time, memory, threads, open files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one process holds at a moment."""

    rss_mb: float
    pss_mb: float  # its memory with what it shares counted in parts
    threads: int
    files: int  # open file descriptors, sockets included


def holdings(pid: int, proc: Path = Path("/proc")) -> Holdings | None:
    """What a process holds now; None when it is gone or is another user's."""
    folder = proc / str(pid)
    try:
        status = (folder / "status").read_text()
        memory = (folder / "smaps_rollup").read_text()
        files = len(os.listdir(folder / "fd"))
    except OSError:
        return None
    return Holdings(
        round(_number(memory, "Rss:") / 1024, 1),
        round(_number(memory, "Pss:") / 1024, 1),
        _number(status, "Threads:"),
        files,
    )


def cpu_seconds(pid: int, proc: Path = Path("/proc")) -> float | None:
    """User and system time of a process and its living descendants, seconds; None without /proc."""
    processes = tree(pid, proc)
    if not processes:
        return None
    ticks = sum(times for times in (_times(process, proc) for process in processes) if times is not None)
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """The processes that this one started and that still run."""
    found = []
    for status in proc.glob("[0-9]*/stat"):
        fields = _fields(status)
        if fields is not None and int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return sorted(found)


def tree(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """A process and all its living descendants."""
    if not (proc / str(pid) / "stat").exists():
        return []
    return [pid, *(descendant for child in children(pid, proc) for descendant in tree(child, proc))]


def command_line(pid: int, proc: Path = Path("/proc")) -> str:
    """How a process was started; empty when it is gone."""
    try:
        return (
            (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except OSError:
        return ""


def _number(text: str, key: str) -> int:
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(key))


def _times(pid: int, proc: Path) -> int | None:
    fields = _fields(proc / str(pid) / "stat")
    return int(fields[11]) + int(fields[12]) if fields is not None else None


def _fields(status: Path) -> list[str] | None:
    """The fields after the name, which may hold spaces itself; None when the process is gone."""
    try:
        return status.read_text().rpartition(")")[2].split()
    except OSError:
        return None
