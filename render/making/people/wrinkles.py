"""Where skin folds: lines in canonical coordinates, at rest (age) and by expression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.making.people.fields import groove, polyline_distance, smoothstep, value_noise

Array = NDArray[np.float64]

# Polylines in canonical millimetres (x mirrored, y), width of the fold in millimetres.
_LINES: dict[str, tuple[tuple[tuple[tuple[float, float], ...], ...], float]] = {
    "nasolabial": ((((19, -37), (22.5, -44), (27, -52), (31, -61), (33.5, -70)),), 2.0),
    "marionette": ((((25, -70), (27.5, -77), (29, -85)),), 1.2),
    "crows_feet": (
        (
            ((49, 4), (55, 8), (61, 11)),
            ((50, 0), (56, 0.5), (63, 0.5)),
            ((49, -4), (55, -7.5), (61, -10.5)),
        ),
        0.8,
    ),
    "under_eye": (
        (
            ((14, -8), (20, -13), (28, -15), (37, -13.5), (43, -10)),
            ((16, -12), (23, -17.5), (31, -19), (38, -17.5)),
        ),
        1.0,
    ),
    "glabella": ((((5.0, 8), (5.8, 16), (7.5, 25)), ((0.3, 4), (0.3, 7))), 1.1),
    "forehead": (
        (
            ((0, 33), (14, 32), (27, 35), (40, 33)),
            ((0, 41), (15, 40), (29, 43), (42, 41)),
            ((0, 49.5), (16, 48.5), (30, 51), (41, 49)),
            ((0, 58), (14, 57), (28, 58.5)),
        ),
        1.15,
    ),
    "nose_bridge": ((((0, 3), (3.5, 1), (6, -2)), ((0, 7), (4, 5.5), (7, 3))), 0.9),
}
FOLDS = tuple(_LINES)


def fold(name: str, canonical: Array) -> tuple[Array, Array]:
    """Furrow and ridge profiles [N] in 0..1 of one named fold at canonical points [N, 3].

    The furrow is the line itself, the ridge the raised skin on its outer side.
    """
    lines, width = _LINES[name]
    points = np.c_[np.abs(canonical[:, 0]), canonical[:, 1]]
    # Real folds wander and differ between the two sides of a face.
    points = points + 0.7 * np.c_[value_noise(canonical, 0.13, 401), value_noise(canonical, 0.13, 402)]
    furrow, ridge = np.zeros(len(points)), np.zeros(len(points))
    for line in lines:
        distance, place = polyline_distance(points, line)
        taper = (
            smoothstep(0.0, 0.22, place) * smoothstep(1.0, 0.72, place)
            if name != "forehead"
            else smoothstep(1.0, 0.7, place)
        )
        furrow = np.maximum(furrow, taper * groove(distance, width))
        ridge = np.maximum(ridge, taper * groove(distance - 2.4 * width, 1.3 * width))
    front = smoothstep(-30, 0, canonical[:, 2]) * (np.abs(canonical[:, 0]) < 68)
    return furrow * front, ridge * (1 - furrow) * front
