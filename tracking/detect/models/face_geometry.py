"""MediaPipe's description of the canonical face, from which it finds the head's matrix.

Source: mediapipe.face_geometry.GeometryPipelineMetadata (three protocol buffer messages, written here by
hand).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_INPUT_FACE_LANDMARKS = 1
_VERTEX_POSITION_AND_TEXTURE, _TRIANGLES = 0, 0
_VARINT, _LENGTH, _FLOAT = 0, 2, 5  # wire types


def geometry_metadata(canonical: NDArray[np.floating], basis: Sequence[int]) -> bytes:
    """The metadata file of a canonical face [468, 3]: cm, x to the image's right, y up, z to the camera.

    `basis` are the landmarks that carry the fit, all with the same weight.
    """
    vertices = np.concatenate([canonical, np.zeros((len(canonical), 2))], axis=1)  # no texture
    mesh = [
        _varint(1, _VERTEX_POSITION_AND_TEXTURE),
        _varint(2, _TRIANGLES),
        *(_float(3, float(value)) for value in vertices.reshape(-1)),
        # MediaPipe wants triangles and never looks at them.
        *(_varint(4, corner) for corner in (0, 1, 2)),
    ]
    references = [_message(2, _varint(1, landmark) + _float(2, 1.0 / len(basis))) for landmark in basis]
    return b"".join([_message(1, b"".join(mesh)), *references, _varint(3, _INPUT_FACE_LANDMARKS)])


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3 | _VARINT) + _number(value)


def _float(field: int, value: float) -> bytes:
    return _number(field << 3 | _FLOAT) + np.float32(value).tobytes()


def _message(field: int, content: bytes) -> bytes:
    return _number(field << 3 | _LENGTH) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """A base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
