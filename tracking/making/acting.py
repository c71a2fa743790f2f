"""Faces that people make: what they often do, how far, and what goes along with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_GAZE_SPREAD = 0.35
_MOST_ACTED = 4
_ONE_SIDED, _OTHER_SIDE = 0.2, 0.6  # share of faces, and most of what their other side does

# How often a unit is acted, relative to the others, and how far at most (1).
_OFTEN = {
    "jawOpen": 4.0, "mouthSmile": 3.0, "browInnerUp": 2.0, "mouthPucker": 2.0, "mouthFunnel": 2.0,
    "eyeBlink": 2.0, "mouthUpperUp": 2.0, "browDown": 1.5, "mouthFrown": 1.3, "mouthLowerDown": 0.7,
    "browOuterUp": 0.7, "eyeSquint": 0.7, "eyeWide": 0.7, "cheekSquint": 0.7, "noseSneer": 0.7,
    "mouthStretch": 0.7, "mouthDimple": 0.7, "mouthPress": 0.7, "mouthRollLower": 0.7, "mouthRollUpper": 0.7,
    "mouthShrugLower": 0.7, "mouthShrugUpper": 0.7, "mouthLeft": 0.7, "mouthRight": 0.7, "jawLeft": 0.7,
    "jawRight": 0.7, "mouthClose": 0.7,
}  # fmt: skip
_MOST = {"mouthClose": 0.3, "jawLeft": 0.6, "jawRight": 0.6, "mouthLeft": 0.6, "mouthRight": 0.6}
# What goes along with a unit: how often, and how far on average.
_ALONG: dict[str, tuple[tuple[str, float, float], ...]] = {
    "mouthSmile": (("cheekSquint", 0.5, 0.3), ("eyeSquint", 0.2, 0.3)),
    "mouthFunnel": (("mouthPucker", 0.4, 0.5), ("jawOpen", 0.3, 0.4)),
    "browDown": (("eyeSquint", 0.3, 0.3), ("noseSneer", 0.3, 0.3)),
    "browInnerUp": (("browOuterUp", 0.8, 0.6), ("eyeWide", 0.3, 0.3)),
    "noseSneer": (("mouthUpperUp", 0.6, 0.6), ("cheekSquint", 0.5, 0.3)),
    "jawOpen": (("mouthLowerDown", 0.2, 0.3), ("mouthUpperUp", 0.1, 0.2)),
    "mouthFrown": (("mouthShrugLower", 0.4, 0.4),),
    "mouthUpperUp": (("noseSneer", 0.3, 0.3),),
}


def acted_weights(names: Sequence[str], generator: np.random.Generator) -> Array:
    """Weights [U] of a face that a person may make."""
    weights = np.zeros(len(names))

    def act(stem: str, amount: float, weak_side: str) -> None:
        for row, name in enumerate(names):
            if name in (stem, f"{stem}Left", f"{stem}Right"):
                less = generator.uniform(0, _OTHER_SIDE) if weak_side and name.endswith(weak_side) else 1.0
                weights[row] = max(weights[row], amount * less)

    stems = list(_OFTEN)
    often = np.array(list(_OFTEN.values())) / sum(_OFTEN.values())
    for stem in generator.choice(stems, generator.integers(1, _MOST_ACTED + 1), replace=False, p=often):
        weak_side = str(generator.choice(("Left", "Right"))) if generator.random() < _ONE_SIDED else ""
        act(stem, generator.beta(1.2, 1.2) * _MOST.get(stem, 1.0), weak_side)
        for other, share, mean in _ALONG.get(stem, ()):
            if generator.random() < share:
                act(other, min(2 * mean * generator.random(), 1.0), weak_side)
    left, up = generator.normal(0, _GAZE_SPREAD, 2)
    for side, outward in (("Left", left), ("Right", -left)):
        for direction, amount in (("Out", outward), ("In", -outward), ("Up", up), ("Down", -up)):
            weights[names.index(f"eyeLook{direction}{side}")] = max(0.0, amount)
    return np.clip(weights, 0, 1)
