"""Compact storage of float arrays: fewer bits in a box, with the loss measured.

An encoding is a small JSON value kept beside the stored integers. `box`: unsigned integers spread evenly over
[low, high] of every column of a block of rows. `scaled`: signed integers times one scale per first-axis row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Encoding = dict[str, Any]

_UNSIGNED = {8: np.uint8, 16: np.uint16}
_SIGNED = {8: np.int8, 16: np.int16}


@dataclass(frozen=True)
class Loss:
    """What a compact encoding changed, in the tensor's own unit."""

    maximum: float
    rms: float


def loss(exact: FloatArray, stored: FloatArray) -> Loss:
    """Largest and root mean square difference of two arrays of one shape."""
    if not exact.size:
        return Loss(0.0, 0.0)
    error = np.abs(exact.astype(np.float64) - stored)
    return Loss(float(error.max()), float(np.sqrt((error * error).mean())))


def encode_box(
    values: FloatArray, bits: int, blocks: Sequence[int] | None = None
) -> tuple[NDArray[Any], Encoding]:
    """[N, ...] -> unsigned integers of the same shape. `blocks`: numbers of rows with a box of their own."""
    rows = _as_rows(values).astype(np.float64)
    blocks = [len(rows)] if blocks is None else list(blocks)
    low, high, parts, start = [], [], [], 0
    for count in blocks:
        part = rows[start : start + count]
        start += count
        lowest = part.min(0) if count else np.zeros(rows.shape[1])
        highest = part.max(0) if count else np.zeros(rows.shape[1])
        span = np.where(highest > lowest, highest - lowest, 1.0)
        parts.append(np.rint((part - lowest) / span * (2**bits - 1)).astype(_UNSIGNED[bits]))
        low.append(lowest.tolist())
        high.append(highest.tolist())
    stored = np.concatenate(parts).reshape(values.shape)
    return stored, {"kind": "box", "bits": bits, "blocks": blocks, "low": low, "high": high}


def encode_scaled(values: FloatArray, bits: int) -> tuple[NDArray[Any], Encoding]:
    """[B, ...] -> signed integers of the same shape, one scale for each of the B rows."""
    rows = _as_rows(values).astype(np.float64)
    largest = np.abs(rows).max(1, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
    stored = np.rint(rows / scale[:, None]).astype(_SIGNED[bits]).reshape(values.shape)
    return stored, {"kind": "scaled", "bits": bits, "scale": scale.tolist()}


def decode(stored: NDArray[Any], encoding: Encoding) -> FloatArray:
    """Integers and their encoding -> float32 of the same shape.

    Raises ValueError, TypeError or KeyError when the encoding is no valid one for this array.
    """
    rows = _as_rows(stored)
    bits = int(encoding["bits"])
    kind = encoding["kind"]
    if kind not in ("box", "scaled"):
        raise ValueError(f"unknown encoding {kind!r}")
    wanted = np.dtype((_UNSIGNED if kind == "box" else _SIGNED)[bits])
    if stored.dtype != wanted:
        raise ValueError(f"encoding {kind}{bits} of an array of {stored.dtype}")
    out = np.empty(rows.shape, np.float32)
    if kind == "scaled":
        scale = _finite(encoding["scale"], (len(rows),))
        np.multiply(rows, scale[:, None], out=out, casting="unsafe")
        return out.reshape(stored.shape)
    blocks = [int(count) for count in encoding["blocks"]]
    if sum(blocks) != len(rows) or any(count < 0 for count in blocks):
        raise ValueError(f"blocks of {sum(blocks)} rows for an array of {len(rows)}")
    low = _finite(encoding["low"], (len(blocks), rows.shape[1]))
    high = _finite(encoding["high"], (len(blocks), rows.shape[1]))
    start = 0
    for count, lowest, highest in zip(blocks, low, high, strict=True):
        step = (highest - lowest) / (2**bits - 1)
        out[start : start + count] = rows[start : start + count] * step + lowest
        start += count
    return out.reshape(stored.shape)


def _as_rows(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def _finite(values: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.shape != shape or not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e30:
        raise ValueError(
            f"an encoding of shape {array.shape} with non-finite or absurd values, needed {shape}"
        )
    return array
