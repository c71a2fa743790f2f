"""Where to look for a face that the whole picture does not show: squares of three sizes, in four turns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.detect.face_boxes import INPUT_PX, LEAST_SHARE, FaceBox, FaceBoxes
from tracking.detect.quarter_turns import NUM_TURNS, turned

# Scores of a face. Small faces of twelve clips have 0.88 and more when seen closely and lead by 0.14 over the
# other turns; what is no face in pictures of landscapes, rooms and clothes has 0.8 at most.
SURE = 0.85
TURN_MARGIN = 0.1

MAX_ROLL_DEG = 50.0  # further than that is another quarter turn

# Of the picture's height: faces of 5 % are a seventh of these squares. Neighbours overlap by a tenth, so that
# a face lies within one of them, or is large enough for the next size.
_FINE_SIDE, _FINE_STEP = 0.36, 0.27
_NEARLY_SQUARE = 1.25  # the whole picture and its squares show the same
CLOSE_SIZES = 2.8  # of a face: the square around it in which the detector is surest


@dataclass(frozen=True, slots=True)
class Look:
    """A part of a picture that is looked at by itself, in pixels of the picture turned upright."""

    turn: int
    left: float
    top: float
    width: float
    height: float


def coarse_looks(width: int, height: int, turn: int) -> list[Look]:
    """The whole picture, and the squares of its shorter side."""
    looks = [Look(turn, 0, 0, width, height)]
    side = min(width, height)
    if max(width, height) > _NEARLY_SQUARE * side:
        # What does not fit into two neighbours' overlap is large enough for the whole picture.
        overlap = min(0.5, 0.8 * LEAST_SHARE * max(width, height) / side)
        step = (1 - overlap) * side
        looks += [Look(turn, left, top, side, side) for left, top in _grid(width, height, side, step)]
    return looks


def fine_looks(width: int, height: int, turn: int) -> list[Look]:
    """Small squares all over the picture."""
    side = min(_FINE_SIDE * height, width)
    return [
        Look(turn, left, top, side, side) for left, top in _grid(width, height, side, _FINE_STEP * height)
    ]


def upright_looks(width: int, height: int) -> list[Look]:
    """Everything of a picture as it is."""
    return coarse_looks(width, height, 0) + fine_looks(width, height, 0)


def all_looks(width: int, height: int, *, turned_too: bool) -> list[Look]:
    """One round of a search: most of it for upright faces, the rarer the less likely."""
    upright = upright_looks(width, height)
    if not turned_too:
        return upright
    sizes = [(width, height) if turn % 2 == 0 else (height, width) for turn in range(NUM_TURNS)]
    others = (1, 3, 2)
    coarse = [look for turn in others for look in coarse_looks(*sizes[turn], turn)]
    fine = [look for turn in others for look in fine_looks(*sizes[turn], turn)]
    return [*upright, *coarse, *upright, *fine]


def reduced(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """A picture [H, W, 3] as small as the looks at parts of it need, and how many of its pixels are one."""
    import cv2

    height, width = rgb.shape[:2]
    scale = _FINE_SIDE * height / INPUT_PX
    if scale <= 1:
        return rgb, 1.0
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    # Halved, then the rest: means of any other blocks take five times as long.
    for _ in range(int(math.log2(scale))):
        across, down = rgb.shape[1] // 2, rgb.shape[0] // 2
        rgb = np.asarray(
            cv2.resize(rgb[: 2 * down, : 2 * across], (across, down), interpolation=cv2.INTER_AREA), np.uint8
        )
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8), scale


def part_of(
    rgb: NDArray[np.uint8], left: float, top: float, width: float, height: float
) -> NDArray[np.uint8]:
    """A part of a picture at the detector's own size, grey where it reaches beyond the picture."""
    import cv2

    scale = max(width, height) / INPUT_PX
    shown = (max(1, round(width / scale)), max(1, round(height / scale)))
    whole_height, whole_width = rgb.shape[:2]
    low_x, low_y = max(0, math.floor(left)), max(0, math.floor(top))
    high_x = min(whole_width, math.ceil(left + width))
    high_y = min(whole_height, math.ceil(top + height))
    out = np.full((shown[1], shown[0], 3), 110, np.uint8)
    if low_x >= high_x or low_y >= high_y:
        return out
    place_x, place_y = (
        min(side - 1, max(0, round(room / scale)))
        for side, room in zip(shown, (low_x - left, low_y - top), strict=True)
    )
    size = (
        max(1, min(shown[0] - place_x, round((high_x - low_x) / scale))),
        max(1, min(shown[1] - place_y, round((high_y - low_y) / scale))),
    )
    area = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    small = cv2.resize(rgb[low_y:high_y, low_x:high_x], size, interpolation=area)
    out[place_y : place_y + size[1], place_x : place_x + size[0]] = small
    return out


class Searcher:
    """Looks at parts of pictures with the rough detector."""

    def __init__(self, boxes: FaceBoxes) -> None:
        self._boxes = boxes

    def faces(self, rgb: NDArray[np.uint8], look: Look) -> list[FaceBox]:
        """The faces of one look at a picture [H, W, 3], in pixels of the picture turned upright."""
        height, width = rgb.shape[:2]
        left, top, right, bottom = _before_turning(look, width, height)
        small = turned(part_of(rgb, left, top, right - left, bottom - top), look.turn)
        scale = max(look.width, look.height) / INPUT_PX
        return [face.placed(scale, look.left, look.top) for face in self._upright(small)]

    def around(self, rgb: NDArray[np.uint8], face: FaceBox, sizes: float) -> list[FaceBox]:
        """The faces of a square of so many face sizes around one."""
        side = sizes * face.size
        return self.faces(rgb, Look(0, face.x - side / 2, face.y - side / 2, side, side))

    def scores(self, rgb: NDArray[np.uint8], face: FaceBox) -> list[float]:
        """How sure the detector is of a face's place when the picture is turned by 0, 1, 2 and 3 quarters."""
        side = CLOSE_SIZES * face.size
        left, top = face.x - side / 2, face.y - side / 2
        small = part_of(rgb, left, top, side, side)
        faces = (self._upright(turned(small, turn)) for turn in range(NUM_TURNS))
        return [max((f.score for f in found), default=0.0) for found in faces]

    def is_face(self, rgb: NDArray[np.uint8], face: FaceBox) -> bool:
        """Whether a face is one when seen closely, and the right way up."""
        upright, *others = self.scores(rgb, face)
        return max(upright, face.score) >= SURE and upright >= max(others) + TURN_MARGIN / 2

    def _upright(self, small: NDArray[np.uint8]) -> list[FaceBox]:
        return [face for face in self._boxes.look(small) if abs(face.roll_deg) < MAX_ROLL_DEG]


def apart(faces: Sequence[FaceBox], least: float = 0.6) -> list[FaceBox]:
    """Faces seen in several looks, each once: the most certain view of it."""
    kept: list[FaceBox] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(face.away_from(other) > least for other in kept):
            kept.append(face)
    return kept


def _grid(width: float, height: float, side: float, step: float) -> Iterator[tuple[float, float]]:
    """Corners of squares that cover a picture, at most `step` apart."""

    def starts(length: float) -> NDArray[np.float64]:
        room = length - side
        return np.linspace(0, room, 1 + math.ceil(room / step - 1e-6)) if room > 0 else np.zeros(1)

    for top in starts(height):
        for left in starts(width):
            yield float(left), float(top)


def _before_turning(look: Look, width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a look in the picture [height, width] as it is."""
    left, top, right, bottom = look.left, look.top, look.left + look.width, look.top + look.height
    if look.turn == 1:
        return top, height - right, bottom, height - left
    if look.turn == 2:
        return width - right, height - bottom, width - left, height - top
    if look.turn == 3:
        return width - bottom, left, width - top, right
    return left, top, right, bottom
