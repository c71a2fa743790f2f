"""A sheet of small pictures of an avatar: expressions in rows, turns of the head in columns, all labelled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from render.avatars.avatar import Avatar
from render.drawing import Backend, Picture
from render.motion import Motion

_VIEWS_DEG = {
    "right 45": (-45, 0),
    "right 20": (-20, 0),
    "front": (0, 0),
    "left 20": (20, 0),
    "left 45": (45, 0),
}
_STILL_VIEWS_DEG = {**_VIEWS_DEG, "down 25": (0, 25), "up 25": (0, -25)}  # yaw, pitch
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "jaw open": {"jawOpen": 0.7},
    "smile": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
    "eyes shut": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "brows up": {"browInnerUp": 1.0, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7},
    "frown": {"browDownLeft": 1.0, "browDownRight": 1.0, "mouthFrownLeft": 0.7, "mouthFrownRight": 0.7},
    "pucker": {"mouthPucker": 0.9},
    "look left": {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8},
}
_UNNAMED_MODES, _UNNAMED_WEIGHT = 4, 2.0  # of a rig whose expressions are principal components
_BAR_PX = 22
_PAPER, _INK = 245, (40, 40, 40)


def contact_sheet(
    avatar: Avatar,
    cell: int,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
    *,
    backend: Backend,
) -> Picture:
    """uint8 RGB [H, W, 3], cells of `cell` pixels a side. `progress(items, total)` passes the items on."""
    rows = _rows(avatar)
    views = _VIEWS_DEG if len(rows) > 1 else _STILL_VIEWS_DEG
    drawer = backend.drawer(cell, cell)
    camera = avatar.default_camera(cell, cell)
    sheet = np.full((len(rows) * (cell + _BAR_PX), len(views) * cell, 3), _PAPER, np.uint8)
    cells = [(r, c) for r in range(len(rows)) for c in range(len(views))]
    try:
        for r, c in cells if progress is None else progress(cells, len(cells)):
            (label, units), (view, (yaw, pitch)) = list(rows.items())[r], list(views.items())[c]
            motion = Motion.of(units, (math.radians(pitch), math.radians(yaw), 0.0))
            posed = backend.pose(avatar, avatar.params(motion))
            top, left = r * (cell + _BAR_PX), c * cell
            picture = drawer.render_rgb8(posed, camera, (0.93, 0.94, 0.95))
            sheet[top + _BAR_PX : top + _BAR_PX + cell, left : left + cell] = picture
            _write(sheet, f"{label}, {view}", left + 6, top + _BAR_PX - 6)
    finally:
        drawer.close()
    return sheet


def _rows(avatar: Avatar) -> dict[str, Mapping[str, float]]:
    """The expressions that the avatar can show, by their label, and components of a model that lacks some."""
    shown: dict[str, Mapping[str, float]] = {
        n: units for n, units in EXPRESSIONS.items() if not avatar.lost_units(tuple(units))
    }
    if len(shown) == len(EXPRESSIONS):
        return shown
    modes = [unit.name for unit in avatar.rig.units if unit.signed][:_UNNAMED_MODES]
    return shown | {f"{name} {_UNNAMED_WEIGHT:+g}": {name: _UNNAMED_WEIGHT} for name in modes}


def png_bytes(picture: Picture) -> bytes:
    """An RGB picture as the bytes of a PNG file."""
    return _encoded(picture, ".png")


def jpeg_bytes(picture: Picture, quality: int = 88) -> bytes:
    """An RGB picture as the bytes of a JPEG file."""
    import cv2

    return _encoded(picture, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def _encoded(picture: Picture, suffix: str, *settings: int) -> bytes:
    import cv2

    done, data = cv2.imencode(suffix, picture[..., ::-1], settings)
    if not done:
        raise RuntimeError(f"the encoder of {suffix} refused a picture of shape {picture.shape}")
    return bytes(data)


def _write(sheet: Picture, text: str, x: int, y: int) -> None:
    import cv2

    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
