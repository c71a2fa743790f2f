"""Numbers of any width packed into bytes, the first bit first: what a motion message is made of."""

from __future__ import annotations


class BitWriter:
    """Collects unsigned numbers."""

    def __init__(self) -> None:
        self._value, self._length = 0, 0

    def put(self, value: int, bits: int) -> None:
        """Add a number of 0 <= value < 2**bits."""
        self._value = self._value << bits | value
        self._length += bits

    def to_bytes(self) -> bytes:
        """All of it; the last byte is filled up with zeros."""
        size = -(-self._length // 8)
        return (self._value << 8 * size - self._length).to_bytes(size, "big")


class BitReader:
    """Reads them back in their order."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, bits: int) -> int:
        """The next number. Raises ValueError at the end."""
        if bits > self._left:
            raise ValueError("it ends too early")
        self._left -= bits
        return self._value >> self._left & (1 << bits) - 1

    def finish(self) -> None:
        """Raises ValueError where more follows than what fills the last byte."""
        if self._left > 7 or self._value & (1 << self._left) - 1:
            raise ValueError("more follows than it says")
