"""What comes between a camera and a face: drawn over the frames of a clip, by its landmarks.

Shapes are signed distances of capsules, in units of the distance of the outer corners of the eyes, so that
they look the same at any size. Landmark numbers are MediaPipe's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]
Occlude = Callable[[Picture, Array, float, float], Picture]
"""(picture [H, W, 3], landmarks [478, 3] px, how far it is in its place 0..1, time in seconds)."""

_RIGHT_EYE, _LEFT_EYE, _LIPS = (33, 133, 159, 145), (263, 362, 386, 374), (13, 14, 61, 291)
_CHEEKS = (50, 280, 205, 425, 9, 151)
_AWAY = np.array([1.6, 1.9])  # where a hand comes from, eye units right and down
_EDGE = 0.012  # eye units over which a shape fades

# A right hand laid over a mouth: capsules (x0, y0, x1, y1, radius); palm, fingers, thumb.
_HAND = np.array(
    [
        (0.25, 0.00, 0.62, 0.06, 0.30),
        (-0.52, -0.21, 0.20, -0.17, 0.088),
        (-0.64, -0.04, 0.20, -0.03, 0.092),
        (-0.58, 0.13, 0.20, 0.10, 0.088),
        (-0.42, 0.29, 0.20, 0.22, 0.076),
        (0.02, -0.36, 0.40, -0.20, 0.085),
    ]
)


def hand(picture: Picture, landmarks: Array, share: float, time_s: float) -> Picture:
    """A hand of the person's own colour that comes from below, rests on the mouth and trembles a little."""
    frame = _Frame(landmarks, _LIPS, picture.shape)
    tremble = 0.012 * np.array([np.sin(9 * time_s), np.cos(7 * time_s)])
    x, y = np.moveaxis(frame.grid - (1 - share) * _AWAY - tremble, -1, 0)
    distances = np.array([_capsule(x, y, *part) for part in _HAND])
    nearest = np.sort(distances, 0)
    # Fingers are round, and dark where they meet.
    shade = np.clip(0.78 + 1.6 * -nearest[0], 0.78, 1.04) - 0.18 * np.exp(
        -(((nearest[1] - nearest[0]) / 0.03) ** 2)
    )
    colour = _skin(picture, landmarks) * shade[..., None] * (0.95, 0.9, 0.9)
    return _laid(picture, frame, colour, nearest[0])


def microphone(picture: Picture, landmarks: Array, share: float, time_s: float) -> Picture:
    """A dark microphone held before the lips."""
    frame = _Frame(landmarks, _LIPS, picture.shape)
    x, y = np.moveaxis(frame.grid - (1 - share) * _AWAY, -1, 0)
    head = _capsule(x, y, 0.0, 0.02, 0.06, 0.10, 0.26)
    grip = _capsule(x, y, 0.10, 0.25, 0.5, 1.3, 0.11)
    mesh = 40 + 25 * (np.sin(x * 90) * np.sin(y * 90) > 0)
    colour = np.where(head < grip, mesh, 25.0)[..., None] * np.ones(3)
    return _laid(picture, frame, colour, np.minimum(head, grip))


def beard(picture: Picture, landmarks: Array, share: float, time_s: float) -> Picture:
    """A full dark beard and moustache, the lips left free."""
    frame = _Frame(landmarks, _LIPS, picture.shape)
    line = frame.of(landmarks[[234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454]])
    x, y = np.moveaxis(frame.grid, -1, 0)
    jaw = _chain(x, y, line[2:-2], 0.10)
    chin = _chain(x, y, line[6:9] - (0, 0.10), 0.13)
    moustache = _chain(x, y, frame.of(landmarks[[57, 165, 167, 164, 393, 391, 287]]), 0.05)
    sides = _chain(x, y, frame.of(landmarks[[57, 202, 204, 194]]), 0.05)
    others = _chain(x, y, frame.of(landmarks[[287, 422, 424, 418]]), 0.05)
    hairs = np.random.default_rng(0).normal(0, 14, x.shape)[..., None]
    colour = 0.22 * picture[frame.rows, frame.columns] + (22, 18, 15) + hairs
    return _laid(picture, frame, colour, np.minimum.reduce([jaw, chin, moustache, sides, others]), 0.04)


def glasses(picture: Picture, landmarks: Array, share: float, time_s: float) -> Picture:
    """Thick dark frames, a little off the eyes' height."""
    return _spectacles(picture, landmarks, tinted=False)


def sunglasses(picture: Picture, landmarks: Array, share: float, time_s: float) -> Picture:
    """Glasses that nobody can look through."""
    return _spectacles(picture, landmarks, tinted=True)


def _spectacles(picture: Picture, landmarks: Array, *, tinted: bool) -> Picture:
    for eye in (_RIGHT_EYE, _LEFT_EYE):
        frame = _Frame(landmarks, eye, picture.shape)
        x, y = np.moveaxis(frame.grid, -1, 0)
        lens = _capsule(x, y, -0.08, 0.02, 0.08, 0.02, 0.17)
        if tinted:
            picture = _laid(picture, frame, np.full((*lens.shape, 3), 18.0), lens)
        picture = _laid(picture, frame, np.full((*lens.shape, 3), 25.0), np.abs(lens) - 0.022)
    bridge = _Frame(landmarks, (168, 6), picture.shape)
    x, y = np.moveaxis(bridge.grid, -1, 0)
    return _laid(picture, bridge, np.full((*x.shape, 3), 25.0), _capsule(x, y, -0.1, 0, 0.1, 0, 0.02))


def dim(picture: Picture, landmarks: Array, share: float, time_s: float) -> Picture:
    """A dark room: a tenth of the light, and the noise of a small sensor that brightens it a little."""
    rng = np.random.default_rng(round(time_s * 1000))
    linear = (picture / 255.0) ** 2.2 * 0.10
    noisy = linear * rng.normal(1, 0.12, picture.shape) + rng.normal(0, 0.004, picture.shape)
    return (255 * np.clip(noisy, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def dark_and_dim(picture: Picture, landmarks: Array, share: float, time_s: float) -> Picture:
    """Half the light of `dim`: about what darker skin sends back there."""
    return dim(((picture / 255.0) ** 1.3 * 255).astype(np.uint8), landmarks, share, time_s)


class _Frame:
    """The part of a picture around some landmarks, in eye units from their middle, upright with the eyes."""

    def __init__(self, landmarks: Array, around: tuple[int, ...], shape: tuple[int, ...]) -> None:
        across = landmarks[263, :2] - landmarks[33, :2]
        self.unit = float(np.linalg.norm(across))
        along = across / self.unit
        self.centre = landmarks[list(around), :2].mean(0)
        self.axes = np.stack([along, (-along[1], along[0])])
        reach = int(2.6 * self.unit)
        (x, y), (height, width) = self.centre.astype(int), shape[:2]
        self.rows = slice(max(y - reach, 0), max(min(y + reach, height), 0))
        self.columns = slice(max(x - reach, 0), max(min(x + reach, width), 0))
        places = np.mgrid[self.rows, self.columns][::-1]
        self.grid = self.of(np.moveaxis(places, 0, -1).astype(float))

    def of(self, pixels: Array) -> Array:
        """Pixels [..., 2 or 3] in the frame, [..., 2]."""
        result: Array = (pixels[..., :2] - self.centre) @ self.axes.T / self.unit
        return result


def _capsule(x: Array, y: Array, x0: float, y0: float, x1: float, y1: float, radius: float) -> Array:
    """Signed distance to a thick line. Source: I. Quilez, "2D distance functions"."""
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-12), 0, 1)
    distance: Array = np.hypot(x - x0 - along * dx, y - y0 - along * dy) - radius
    return distance


def _chain(x: Array, y: Array, points: Array, radius: float) -> Array:
    lines = itertools.pairwise(points)
    return np.minimum.reduce([_capsule(x, y, a[0], a[1], b[0], b[1], radius) for a, b in lines])


def _laid(picture: Picture, frame: _Frame, colour: Array, distance: Array, edge: float = _EDGE) -> Picture:
    share = np.clip(0.5 - distance / (2 * edge), 0, 1)[..., None]
    out = picture.copy()
    below = picture[frame.rows, frame.columns]
    out[frame.rows, frame.columns] = np.clip(below + share * (colour - below), 0, 255).astype(np.uint8)
    return out


def _skin(picture: Picture, landmarks: Array) -> Array:
    height, width = picture.shape[:2]
    places = landmarks[list(_CHEEKS), :2].astype(int).clip(0, (width - 1, height - 1))
    return np.median(picture[places[:, 1], places[:, 0]].astype(float), 0)
