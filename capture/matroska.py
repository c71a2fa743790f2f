"""Matroska and WebM files whose header is damaged: read as if the damage were not there.

FFmpeg gives up a header of tracks at the first element that does not fit into the one around it, and with it
the film, where a browser plays on.
"""

from __future__ import annotations

import io
from pathlib import Path

_EBML, _SEGMENT, _TRACKS, _TRACK, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0xAE, 0x1F43B675
_VOID = 0xEC
_MOST_HEADER_BYTES = 1 << 20
_MOST_STRAY_BYTES = 64


class Mended(io.BufferedIOBase):
    """A file with some bytes of its beginning replaced."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._file = path.open("rb")
        self._head = head

    def read(self, size: int | None = -1, /) -> bytes:
        begin = self._file.tell()
        data = self._file.read(size)
        return self._head[begin : begin + len(data)] + data[max(0, len(self._head) - begin) :]

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def mended(path: Path) -> Mended | None:
    """The file without the stray bytes in its descriptions of tracks; None when none are found."""
    with path.open("rb") as file:
        head = bytearray(file.read(_MOST_HEADER_BYTES))
    changed = False
    for begin, end in _tracks(head):
        at = begin
        while at < end:
            after = _end(head, at, end)
            if after is None:
                stray = next((n for n in range(2, _MOST_STRAY_BYTES) if _whole(head, at + n, end)), None)
                if stray is None:
                    break
                # an element that players skip, as long as the stray bytes
                head[at : at + 2] = bytes([_VOID, 0x80 | stray - 2])
                changed, after = True, at + stray
            at = after
    return Mended(path, bytes(head)) if changed else None


def _tracks(data: bytes | bytearray) -> list[tuple[int, int]]:
    """Where the contents of each track's description begin and end."""
    found = []
    pending = [(0, len(data))]
    while pending:
        at, end = pending.pop()
        while (element := _element(data, at, end)) is not None and element[0] != _CLUSTER:
            name, begin, at = element
            if name in (_SEGMENT, _TRACKS):
                pending.append((begin, min(at, end)))
            elif name == _TRACK:
                found.append((begin, min(at, end)))
    return found


def _whole(data: bytes | bytearray, at: int, end: int) -> bool:
    """Whether elements fill the bytes from `at` to `end` exactly, at least one."""
    start = at
    while at < end:
        after = _end(data, at, end)
        if after is None:
            return False
        at = after
    return start < at == end


def _end(data: bytes | bytearray, at: int, end: int) -> int | None:
    """Where the element at `at` ends; None when it does not end before `end`."""
    element = _element(data, at, end)
    return element[2] if element is not None and element[2] <= end else None


def _element(data: bytes | bytearray, at: int, end: int) -> tuple[int, int, int] | None:
    """Name of the element at `at`, where its content begins and where it ends. Source: RFC 8794."""
    name = _number(data, at, end, most=4)
    if name is None:
        return None
    size = _number(data, at + name[1], end, most=8)
    if size is None:
        return None
    begin = at + name[1] + size[1]
    length = size[0] & ((1 << 7 * size[1]) - 1)
    unknown = length == (1 << 7 * size[1]) - 1  # lasts until its parent ends
    return name[0], begin, end if unknown else begin + length


def _number(data: bytes | bytearray, at: int, end: int, *, most: int) -> tuple[int, int] | None:
    """A number of variable length with its marker, and how many bytes it takes."""
    if at >= end or not data[at]:
        return None
    length = 9 - data[at].bit_length()
    if length > most or at + length > end:
        return None
    return int.from_bytes(data[at : at + length], "big"), length
