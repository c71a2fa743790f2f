"""The picture of everybody in the README: people side by side, each in a few moments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.backends import open_backend
from engine.contact_sheet import png_bytes
from engine.errors import UsageError
from render.avatars.file import write_atomically
from render.avatars.library import open_avatar
from render.making.people.head import both_sides
from render.motion import Motion

_ACROSS = 2  # people in a row
_GREY = (0.73, 0.76, 0.80)
_SMILE = {"mouthSmile@": 0.75, "cheekSquint@": 0.4, "eyeSquint@": 0.15}
_TALK = {"jawOpen": 0.5, "mouthUpperUp@": 0.15, "browInnerUp": 0.5, "browOuterUp@": 0.5, "eyeWide@": 0.3}
# Units (@: both sides), and the head's pitch and yaw in degrees.
_MOMENTS: tuple[tuple[Mapping[str, float], float, float], ...] = (
    ({}, 0, 0),
    (_SMILE, 2, -25),
    (_TALK, -4, 22),
    ({"eyeBlink@": 1.0, "mouthSmile@": 0.2}, 4, 0),
)


def write_portraits(names: Sequence[str], output: Path, cell: int) -> str:
    """Draw people, built-in names or files, and return a line about it. Raises what can be mended."""
    if output.suffix.lower() != ".png":
        raise UsageError(f"-o {output}: the name must end in .png")
    if not 64 <= cell <= 1024:
        raise UsageError(f"--size {cell}: give 64 to 1024 pixels")
    backend = open_backend("cpu")
    drawer = backend.drawer(cell, cell)
    rows = -(-len(names) // _ACROSS)
    sheet = np.empty((rows * cell, _ACROSS * len(_MOMENTS) * cell, 3), np.uint8)
    sheet[:] = np.round(255 * np.array(_GREY)).astype(np.uint8)
    try:
        for number, name in enumerate(names):
            avatar = open_avatar(name)
            camera = avatar.default_camera(cell, cell)
            for column, (units, pitch, yaw) in enumerate(_MOMENTS):
                weights = {name: weight for unit, weight in units.items() for name in both_sides(unit)}
                motion = Motion.of(weights, (math.radians(pitch), math.radians(yaw), 0.0))
                top = number // _ACROSS * cell
                left = (number % _ACROSS * len(_MOMENTS) + column) * cell
                picture = drawer.render_rgb8(backend.pose(avatar, avatar.params(motion)), camera, _GREY)
                sheet[top : top + cell, left : left + cell] = picture
    finally:
        drawer.close()
    data = png_bytes(sheet)
    write_atomically(output, lambda temporary: Path(temporary).write_bytes(data))
    return f"{output}: {', '.join(names)}, {sheet.shape[1]}x{sheet.shape[0]} pixels"
