"""Films that people really bring, made from real clips: small, turned, of two people, cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from capture.frame import Frame
from capture.source import open_input
from tracking.detect.detection import Detection
from tracking.detect.face_detector import FaceDetector
from tracking.detect.face_finder import FaceFinder

Rgb = NDArray[np.uint8]
FRAME_NS = 33_333_333


@dataclass(frozen=True)
class Clip:
    """The first frames of a clip, and what the detector alone says of them."""

    pictures: list[Rgb]
    detections: list[Detection]

    @property
    def face(self) -> tuple[NDArray[np.float64], float]:
        """The middle [2] and the height of the face in its first frame, pixels."""
        points = self.detections[0].landmarks[:, :2].astype(float)
        return (points.min(0) + points.max(0)) / 2, float(np.ptp(points[:, 1]))


@cache
def clip(path: Path, model: Path, count: int) -> Clip:
    with open_input(path) as source:
        pictures = [frame.rgb for frame, _ in zip(iter(source.read, None), range(count), strict=False)]
    with FaceDetector(model) as detector:
        return Clip(pictures, [detector.detect(frame) for frame in as_frames(pictures)])


def as_frames(pictures: Sequence[Rgb]) -> list[Frame]:
    return [Frame(np.ascontiguousarray(rgb), i * FRAME_NS, i) for i, rgb in enumerate(pictures)]


def wall(width: int, height: int) -> Rgb:
    """A plain wall, lit from one side."""
    across = np.linspace(90, 170, width)[None, :, None] + np.linspace(-20, 20, height)[:, None, None]
    return np.broadcast_to(across, (height, width, 3)).round().astype(np.uint8)


def far_away(of: Clip, share: float, width: int, height: int, at: tuple[float, float]) -> Clip:
    """The clip in a wide picture, its face `share` of the picture's height and at a place in shares of it."""
    centre, tall = of.face
    scale = share * height / tall
    left, top = (np.array(at) * [width, height] - centre * scale).round().astype(int)
    pictures = []
    for rgb in of.pictures:
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(width, left + small.shape[1]), min(height, top + small.shape[0])
        whole = wall(width, height)
        whole[y0:y1, x0:x1] = small[y0 - top : y1 - top, x0 - left : x1 - left]
        pictures.append(whole)
    shift = np.array([left, top, 0], np.float32)
    moved = [replace(d, landmarks=(d.landmarks * scale + shift).astype(np.float32)) for d in of.detections]
    return Clip(pictures, moved)


def portrait(of: Clip, side: int) -> list[Rgb]:
    """The head and shoulders of a clip, square."""
    centre, tall = of.face
    height, width = of.pictures[0].shape[:2]
    length = int(min(2.2 * tall, height, width))
    left = int(np.clip(centre[0] - length / 2, 0, width - length))
    top = int(np.clip(centre[1] - length / 2, 0, height - length))
    return [
        cv2.resize(rgb[top : top + length, left : left + length], (side, side), interpolation=cv2.INTER_AREA)
        for rgb in of.pictures
    ]


def beside(*films: Sequence[Rgb]) -> list[Rgb]:
    return [np.hstack(pictures) for pictures in zip(*films, strict=True)]


def crossing(front: Sequence[Rgb], back: Sequence[Rgb], width: int) -> tuple[list[Rgb], NDArray[np.float64]]:
    """Two square films that pass each other, `front` before the other from the left to the right.

    Also their middles [T, 2] in pixels.
    """
    side = front[0].shape[0]
    pictures, places = [], []
    for share, first, second in zip(np.linspace(0, 1, len(front)), front, back, strict=True):
        left = round(share * (width - side))
        picture = wall(width, side)
        picture[:, width - side - left : width - left] = second
        picture[:, left : left + side] = first
        pictures.append(picture)
        places.append((left + side / 2, width - left - side / 2))
    return pictures, np.array(places)


def found_in(finder: FaceFinder, pictures: Sequence[Rgb]) -> list[Detection]:
    return [finder.detect(frame) for frame in as_frames(pictures)]
