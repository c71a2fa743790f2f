"""What folds and blood of a moment do to vertices of skin whose light is baked at rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from render.making.people.fields import PIGMENTS
from render.making.people.scene.skin_surface import face_box, skin_state

Array = NDArray[np.float32]

_DISPLAY = 1 / 2.2  # a share of light, as display colours have it


class SkinLook:
    """The difference that `skin_state` makes at the vertices of one person's skin."""

    def __init__(self, age: float, uv: NDArray[Any]) -> None:
        """`uv` [S, 2]: where vertices lie in the body's pictures, origin bottom left."""
        left, bottom, width, height = face_box()
        place = (uv - (left, bottom)) / (width, height)
        self._inside = np.flatnonzero(((place > 0) & (place < 1)).all(1))
        self._place = place[self._inside]
        self._count = len(uv)
        self._rest = self._sampled(skin_state({}, age))

    def at(self, state: NDArray[Any]) -> tuple[Array, Array]:
        """Height [S] in metres and what colours [S, 3] are multiplied by, of `skin_state` at a moment.

        Heights are whole, for the mesh has none; colours are those at rest already.
        """
        now = self._sampled(state)
        height, tint = np.zeros(self._count, np.float32), np.ones((self._count, 3), np.float32)
        height[self._inside] = 1e-3 * now[:, 0]
        light = np.exp(-(now[:, 1] - self._rest[:, 1])[:, None] * PIGMENTS[1])
        light *= ((1 - now[:, 2]) / (1 - self._rest[:, 2]))[:, None]
        tint[self._inside] = light**_DISPLAY
        return height, tint

    def _sampled(self, state: NDArray[Any]) -> Array:
        """The picture's three values at the vertices inside it."""
        rows, columns = state.shape[:2]
        x, y = self._place[:, 0] * columns - 0.5, (1 - self._place[:, 1]) * rows - 0.5
        values = state.astype(np.float32)
        return np.stack(
            [map_coordinates(values[..., k], [y, x], order=1, mode="nearest") for k in range(3)], 1
        )
