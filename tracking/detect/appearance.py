"""How a person looks in a film, coarsely: enough to tell two people of the same film apart.

A few colours of hair, face and neck, in a grid that hangs on the eyes and the mouth. No one is recognised by
it from one film to another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.detect.face_boxes import FaceBox

Array = NDArray[np.float32]

_COLUMNS, _ROWS = 8, 12
_SAMPLES = 4  # along each side of a cell
# The grid in units of the eyes' distance, about the middle between the eyes: ear to ear, hair to neck.
_LEFT, _RIGHT, _TOP, _BOTTOM = -1.1, 1.1, -1.5, 2.3
_TEMPLATE = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, 1.05)])  # eyes and mouth in these units


def appearance(rgb: NDArray[np.uint8], face: FaceBox) -> Array:
    """The colours [rows, columns, 3], 0..1, around a face in a picture [H, W, 3]."""
    import cv2

    to_picture = _similarity(_TEMPLATE, face.eyes_and_mouth)
    width, height = _COLUMNS * _SAMPLES, _ROWS * _SAMPLES
    to_units = np.array(
        [[(_RIGHT - _LEFT) / width, 0, _LEFT], [0, (_BOTTOM - _TOP) / height, _TOP], [0, 0, 1]]
    )
    patch = cv2.warpAffine(
        rgb,
        (to_picture @ to_units)[:2],
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    cells = cv2.resize(patch, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32) / np.float32(255)


def difference(a: Array, b: Array) -> float:
    """Root mean square difference of two appearances, of colours in 0..1, whatever the exposure."""
    scale = float((a * b).sum() / max(float((b * b).sum()), 1e-6))
    return float(np.sqrt(np.mean((a - np.clip(scale, 0.7, 1.4) * b) ** 2)))


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix [3, 3] of turn, scale and shift that takes points [N, 2] to others best."""
    a, b = source @ [1, 1j], target @ [1, 1j]
    centred = a - a.mean()
    factor = (centred.conj() @ (b - b.mean())) / (centred.conj() @ centred).real
    shift = b.mean() - factor * a.mean()
    cos, sin = factor.real, factor.imag
    return np.array([[cos, -sin, shift.real], [sin, cos, shift.imag], [0, 0, 1]])
