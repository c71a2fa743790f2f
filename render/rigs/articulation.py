"""How units and a head's pose turn the joints of a kind of rig. Plain data: importing it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """A unit that turns a joint: world axes, +x turns downwards, +y to the subject's left."""

    unit: str
    joint: str
    axis: int  # 0: x, 1: y, 2: z
    degrees: float  # at weight 1


@dataclass(frozen=True)
class Articulation:
    """How units and a head's pose move the joints of one kind of rig; joints a rig lacks are passed over."""

    head_joints: tuple[tuple[str, float], ...]  # who turns with the head, and their shares: they sum to 1
    turns: tuple[Turn, ...]
    turns_are_units: bool = False  # of a face model, which leaves to its joints what blendshapes do elsewhere


# People turn their eyes about 30 degrees before the head follows; upwards the lid and brow stop them sooner.
EYE_TURNS = (
    Turn("eyeLookDownLeft", "left_eye", 0, 30.0),
    Turn("eyeLookUpLeft", "left_eye", 0, -25.0),
    Turn("eyeLookOutLeft", "left_eye", 1, 30.0),
    Turn("eyeLookInLeft", "left_eye", 1, -30.0),
    Turn("eyeLookDownRight", "right_eye", 0, 30.0),
    Turn("eyeLookUpRight", "right_eye", 0, -25.0),
    Turn("eyeLookInRight", "right_eye", 1, 30.0),
    Turn("eyeLookOutRight", "right_eye", 1, -30.0),
)
# A jaw opens 25 degrees without effort and moves sideways by a tooth's width.
JAW_TURNS = (
    Turn("jawOpen", "jaw", 0, 25.0),
    Turn("jawLeft", "jaw", 1, 8.0),
    Turn("jawRight", "jaw", 1, -8.0),
)
FACE_JOINTS = ("jaw", "left_eye", "right_eye")
# The neck bends with the head by a fixed share of its rotation.
NECK_AND_HEAD = (("neck", 0.35), ("head", 0.65))
BLENDSHAPES = Articulation(NECK_AND_HEAD, EYE_TURNS)  # of rigs whose faces move by blendshapes
