"""The .ply container as the field writes it: text and both byte orders, comments of any bytes, any line end.

Source: G. Turk, "The PLY Polygon File Format", 1994.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from render.errors import AvatarError
from render.importers.sound import MAX_GAUSSIANS, check_count

_MAX_HEADER_BYTES = 1 << 20
_MAX_NUMBER_BYTES = 64  # of a number in a text file, with the space around it
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class PlyElement:
    """An element as the header describes it; `types` is None for a list, whose length is in the rows."""

    name: str
    count: int
    types: Mapping[str, str | None]  # property -> NumPy type without byte order, in file order

    @property
    def fixed(self) -> bool:
        return None not in self.types.values()


class PlyFile:
    """The header of a .ply, and its elements on demand.

    Reads nothing but the header until an element is asked for, and nothing that the file does not hold.
    Raises AvatarError, with `path` in its one line, when it is no whole .ply.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path = stream, path
        self.elements: list[PlyElement] = []
        self.comments: list[str] = []  # latin-1: every byte is a character
        self._order = ""
        self._start = 0
        self._size = stream.seek(0, 2)
        stream.seek(0)
        self._read_header(stream.read(_MAX_HEADER_BYTES))

    def element(self, name: str) -> PlyElement | None:
        return next((e for e in self.elements if e.name == name), None)

    def columns(self, name: str) -> dict[str, NDArray[Any]]:
        """The scalar properties of an element, [count] each, in their own types."""
        element = self.element(name)
        if element is None:
            raise self._error(f"it has no {name} element")
        if element.count > MAX_GAUSSIANS:
            check_count(element.count, self._path)
        before = self.elements[: self.elements.index(element)]
        lists = [e.name for e in (*before, element) if not e.fixed]
        if lists:
            raise self._error(f"its {lists[0]} element holds lists, which cannot be skipped")
        if not element.types or not element.count:
            return {p: np.empty(0, np.float32) for p in element.types}
        return self._text(before, element) if not self._order else self._binary(before, element)

    def _binary(self, before: list[PlyElement], element: PlyElement) -> dict[str, NDArray[Any]]:
        start = self._start + sum(e.count * self._row(e).itemsize for e in before)
        row = self._row(element)
        whole = max(0, self._size - start) // row.itemsize
        if whole < element.count:
            raise self._error(f"it holds {whole} of the {element.count} rows of its {element.name} element")
        self._stream.seek(start)
        rows = np.frombuffer(self._stream.read(element.count * row.itemsize), row)
        return {p: rows[p].astype(row[p].newbyteorder("="), copy=False) for p in element.types}

    def _text(self, before: list[PlyElement], element: PlyElement) -> dict[str, NDArray[Any]]:
        skipped = sum(e.count * len(e.types) for e in before)
        wanted = element.count * len(element.types)
        self._stream.seek(self._start)
        text = self._stream.read(_MAX_NUMBER_BYTES * (skipped + wanted))
        if self._stream.read(1):  # the last number may be cut
            text = text.rsplit(None, 1)[0]
        if b"nan(" in text:  # as Windows writes it
            text = re.sub(rb"nan\([^)]*\)", b"nan", text)
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # how NumPy says that something is no number
            try:
                # Without a count: with one, what is missing would be whatever lies in memory.
                values = np.fromstring(text, np.float64, sep=" ")
            except (DeprecationWarning, ValueError) as error:
                raise self._error("it holds something that is no number") from error
        if len(values) < skipped + wanted:
            rows = max(0, len(values) - skipped) // len(element.types)
            raise self._error(f"it holds {rows} of the {element.count} rows of its {element.name} element")
        if len(values) > skipped + wanted and element is self.elements[-1]:
            raise self._error(
                f"it holds more numbers than {element.count} rows of its {element.name} element"
            )
        table = values[skipped : skipped + wanted].reshape(element.count, -1)
        with np.errstate(all="ignore"):  # what a type cannot hold is looked for where the values are used
            return {p: table[:, i].astype(t) for i, (p, t) in enumerate(element.types.items())}

    def _row(self, element: PlyElement) -> np.dtype[Any]:
        return np.dtype([(p, self._order + str(t)) for p, t in element.types.items()])

    def _read_header(self, head: bytes) -> None:
        if not re.match(rb"ply[ \t]*[\r\n]", head):
            raise self._error("it does not start as one")
        # A comment may hold any bytes, so only a line of its own ends the header.
        end = re.search(rb"(?:\r\n|\r|\n)end_header[ \t]*(?:\r\n|\r|\n)", head)
        if end is None:
            raise self._error("its header has no end")
        self._start = end.end()
        order = None
        elements: list[tuple[str, int, dict[str, str | None]]] = []
        for line in re.split("\r\n|\r|\n", head[: end.start()].decode("latin-1"))[1:]:
            words = line.split()
            match words:
                case ["comment" | "obj_info", *_]:
                    self.comments.append(line.partition(" ")[2].strip())
                case ["format", name, *_] if name in _ORDERS:
                    order = _ORDERS[name]
                case ["element", name, count] if count.isdecimal() and len(count) < 20:
                    if int(count) > self._size:
                        raise self._error(f"it claims {count} elements in {self._size} bytes")
                    elements.append((name, int(count), {}))
                case ["property", kind, name] if elements and kind in _TYPES and name not in elements[-1][2]:
                    elements[-1][2][name] = _TYPES[kind]
                case ["property", "list", length, kind, name] if elements and {length, kind} <= _TYPES.keys():
                    elements[-1][2][name] = None
                case _ if not words or not re.fullmatch(r"[\t -~]*", line):
                    pass  # what is left of a comment whose encoding has bytes that look like line ends
                case _:
                    raise self._error(f"its header says {line[:60]!r}")
        if order is None:
            raise self._error("its header names no known format")
        self._order = order
        self.elements = [PlyElement(*e) for e in elements]

    def _error(self, reason: str) -> AvatarError:
        return AvatarError(f"{self._path} is no whole .ply file ({reason}); export it again")
