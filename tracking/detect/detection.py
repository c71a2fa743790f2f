"""What the face detector says about one frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

NUM_LANDMARKS = 478

# MediaPipe's order. "_neutral" is no face unit; the other 51 are ARKit's names without tongueOut.
SCORE_NAMES: tuple[str, ...] = (
    "_neutral",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
)
NUM_SCORES = len(SCORE_NAMES)


@cache
def score_columns(*starts: str) -> list[int]:
    """Places in SCORE_NAMES of the scores whose names start so."""
    return [place for place, name in enumerate(SCORE_NAMES) if name.startswith(starts)]


@dataclass(frozen=True, slots=True)
class Detection:
    """The landmarks and scores of one face; a lost face is a value too (`found` False, arrays NaN)."""

    landmarks: NDArray[np.float32]  # [478, 3] pixels: x right, y down, z in the same scale, negative = nearer
    scores: NDArray[np.float32]  # [52] 0..1, in the order of SCORE_NAMES
    head_matrix: NDArray[
        np.float32
    ]  # [4, 4] MediaPipe's canonical face (cm) to camera; y up, z to the viewer
    found: bool
    capture_ns: int  # the frame's timestamp
    index: int  # the frame's index
    width: int  # the frame's size in pixels, after `turn`
    height: int
    turn: int = 0  # quarters that the picture was turned clockwise by first: all of this is of the turned one
    person: int = 0  # whose face: another number, another person
    run: int = 0  # counts how often the tracker started on a face: its smoothing starts anew with it
    people: int = 0  # seen of late, this one included; 0 before anyone counted

    @classmethod
    def lost(cls, capture_ns: int, index: int, width: int, height: int) -> Detection:
        """The detection of a frame in which no face was found; NaN, so that using it by mistake shows."""
        return cls(
            landmarks=np.full((NUM_LANDMARKS, 3), np.nan, np.float32),
            scores=np.full(NUM_SCORES, np.nan, np.float32),
            head_matrix=np.full((4, 4), np.nan, np.float32),
            found=False,
            capture_ns=capture_ns,
            index=index,
            width=width,
            height=height,
        )

    def score(self, name: str) -> float:
        """The score of one unit by its name."""
        return float(self.scores[SCORE_NAMES.index(name)])
