"""A built-in motion: a person who looks around, smiles and says a few words, in a loop.

Everything is a function of time alone, so the motion is the same on every machine and starts where it ends.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from render.motion import FACE, Motion, MotionClip

LOOP_S = 12.0

# Times in seconds from the start of the loop.
BLINKS_S = (0.9, 3.05, 4.7, 6.6, 8.55, 8.95, 10.9)
BLINK_CLOSE_S, BLINK_SHUT_S, BLINK_OPEN_S = 0.09, 0.04, 0.17  # lids close about twice as fast as they open

# Gaze targets (start, degrees to the subject's left, degrees up), each held until the next.
SACCADES = (
    (0.0, 0.0, 0.0),
    (0.95, 5.0, 1.0),
    (1.6, 0.0, 0.0),
    (2.9, 11.0, -2.0),
    (4.6, 0.0, 0.0),
    (5.4, -3.0, 3.0),
    (5.9, 0.0, 0.0),
    (6.5, -12.0, 1.0),
    (8.5, 0.0, 0.0),
    (9.6, 3.0, -4.0),
    (10.2, 0.0, 0.0),
)
SACCADE_S = 0.045
EYE_RANGE_DEG = 30.0  # gaze angle of a full eyeLook unit

# Head turns (start, rise, end, fall, degrees of yaw, pitch, roll): left and up are positive.
TURNS = (
    (2.85, 0.55, 4.4, 0.6, 24.0, -3.0, 3.0),
    (6.45, 0.6, 8.3, 0.7, -27.0, 2.0, -4.0),
    (9.4, 0.35, 9.9, 0.4, 0.0, -8.0, 0.0),
    (10.0, 0.3, 10.4, 0.5, 2.0, 5.0, 5.0),
)

# Expressions (start, rise, end, fall, units).
EXPRESSIONS: tuple[tuple[float, float, float, float, dict[str, float]], ...] = (
    (
        0.5,
        0.45,
        2.3,
        0.6,
        {"mouthSmile": 0.75, "cheekSquint": 0.45, "eyeSquint": 0.2, "mouthDimple": 0.2, "mouthUpperUp": 0.12},
    ),
    (3.5, 0.2, 4.2, 0.35, {"browInnerUp": 0.55, "browOuterUp": 0.6, "eyeWide": 0.25}),
    (5.3, 0.25, 6.0, 0.35, {"browDown": 0.55, "noseSneer": 0.12, "eyeSquint": 0.25}),
    (7.1, 0.2, 7.7, 0.3, {"browOuterUp": 0.5, "browInnerUp": 0.3}),
    (
        9.0,
        0.5,
        11.0,
        0.7,
        {"mouthSmile": 0.9, "cheekSquint": 0.55, "eyeSquint": 0.25, "mouthUpperUp": 0.25, "jawOpen": 0.08},
    ),
)

# Mouth shapes of speech, by the sound that makes them.
VISEMES: dict[str, dict[str, float]] = {
    "aa": {"jawOpen": 0.42, "mouthLowerDown": 0.28, "mouthUpperUp": 0.12},
    "eh": {"jawOpen": 0.24, "mouthLowerDown": 0.3, "mouthStretch": 0.25, "mouthUpperUp": 0.15},
    "ee": {"jawOpen": 0.1, "mouthStretch": 0.4, "mouthSmile": 0.25, "mouthLowerDown": 0.3},
    "oh": {"jawOpen": 0.28, "mouthFunnel": 0.5, "mouthPucker": 0.2},
    "oo": {"jawOpen": 0.1, "mouthPucker": 0.65, "mouthFunnel": 0.25},
    "mm": {"mouthPress": 0.4, "mouthRollUpper": 0.2, "mouthRollLower": 0.25, "mouthShrugLower": 0.15},
    "ff": {"mouthRollLower": 0.35, "mouthUpperUp": 0.2, "jawOpen": 0.04},
    "ll": {"jawOpen": 0.16, "mouthLowerDown": 0.15},
}
# "Hello, how are you? ... I am fine, thank you for coming."
SPEECH: tuple[tuple[float, str], ...] = (
    (2.45, "eh"), (2.6, "ll"), (2.75, "oh"), (2.95, "oo"),
    (3.35, "aa"), (3.5, "oo"), (3.68, "aa"), (3.86, "ee"), (4.0, "oo"),
    (5.2, "aa"), (5.34, "ee"), (5.5, "aa"), (5.64, "mm"), (5.78, "ff"), (5.95, "aa"), (6.1, "ee"),
    (6.24, "ll"), (6.75, "eh"), (6.9, "ll"), (7.02, "oo"),
    (7.2, "ff"), (7.32, "oh"), (7.5, "aa"), (7.64, "mm"),
    (7.78, "ee"), (7.94, "ll"),
)  # fmt: skip
SYLLABLE_S = 0.068  # width of one mouth shape (standard deviation)

# Units that are named without Left and Right above.
PAIRED = frozenset(
    {
        "mouthSmile",
        "cheekSquint",
        "eyeSquint",
        "mouthDimple",
        "mouthUpperUp",
        "mouthLowerDown",
        "mouthStretch",
    }
    | {"mouthPress", "browDown", "browOuterUp", "eyeWide", "noseSneer", "eyeBlink"}
)


def _full_names(name: str) -> tuple[str, ...]:
    return (f"{name}Left", f"{name}Right") if name in PAIRED else (name,)


def demo_moment(time_s: float) -> Motion:
    """The built-in motion at a time in seconds, in ARKit's units; repeats every LOOP_S."""
    t = time_s % LOOP_S
    units = dict.fromkeys(UNIT_NAMES, 0.0)

    def add(name: str, value: float) -> None:
        for full in _full_names(name):
            units[full] = min(1.0, units[full] + value)

    for start, rise, end, fall, shape in EXPRESSIONS:
        amount = _bump(t, start, rise, end, fall)
        for name, weight in shape.items():
            add(name, amount * weight)
    for moment, viseme in SPEECH:
        amount = math.exp(-0.5 * ((t - moment) / SYLLABLE_S) ** 2)
        if amount > 1e-3:
            for name, weight in VISEMES[viseme].items():
                add(name, amount * weight)

    yaw, pitch, roll = _head_angles_deg(t)
    gaze_left, gaze_up = _gaze_deg(t)
    # the eyes lead a turn and then let the head catch up, so that the gaze stays where it went
    gaze_left = max(-20.0, min(20.0, gaze_left - 0.35 * yaw))
    gaze_up -= 0.4 * pitch
    units.update(_look_units(gaze_left, gaze_up))
    add("eyeBlink", _blink(t))
    add("eyeBlink", 0.12 * max(0.0, -gaze_up / 10.0))  # the upper lid follows a look down

    breath = math.sin(2 * math.pi * t / 4.0)  # three breaths a loop
    return Motion(
        UNIT_NAMES,
        np.array([units[name] for name in UNIT_NAMES]),
        head_rotation=_axis_angle(math.radians(yaw), math.radians(pitch), math.radians(roll)),
        head_translation=np.array([0.0006 * math.sin(2 * math.pi * t / 6), 0.0012 * breath, 0.0]),
    )


def demo_motion(seconds: float, fps: float = 30.0) -> MotionClip:
    """The built-in motion, `seconds` long."""
    times_ns = [round(frame * 1e9 / fps) for frame in range(max(1, round(seconds * fps)))]
    return MotionClip.of(
        [replace(demo_moment(ns / 1e9), time_ns=ns, confidence={FACE: 1.0}) for ns in times_ns], fps
    )


def _head_angles_deg(t: float) -> tuple[float, float, float]:
    turn = 2 * math.pi * t / LOOP_S
    yaw = 1.6 * math.sin(turn + 0.4) + 0.8 * math.sin(3 * turn + 1.0)
    pitch = 0.9 * math.sin(2 * turn + 2.0) + 0.5 * math.sin(5 * turn)
    roll = 1.1 * math.sin(turn + 1.3) + 0.4 * math.sin(4 * turn + 0.5)
    for start, rise, end, fall, d_yaw, d_pitch, d_roll in TURNS:
        amount = _bump(t, start, rise, end, fall)
        yaw, pitch, roll = yaw + amount * d_yaw, pitch + amount * d_pitch, roll + amount * d_roll
    # small nods carry the stressed syllables
    pitch -= sum(1.3 * math.exp(-0.5 * ((t - moment) / 0.12) ** 2) for moment, _ in SPEECH[::3])
    return yaw, pitch, roll


def _gaze_deg(t: float) -> tuple[float, float]:
    left = up = 0.0
    for (start, to_left, to_up), (_, from_left, from_up) in zip(
        SACCADES, (SACCADES[-1], *SACCADES[:-1]), strict=True
    ):
        amount = _smooth((t - start) / SACCADE_S)
        left += amount * (to_left - from_left)
        up += amount * (to_up - from_up)
    return left, up


def _look_units(left_deg: float, up_deg: float) -> dict[str, float]:
    to_left, to_right = max(0.0, left_deg) / EYE_RANGE_DEG, max(0.0, -left_deg) / EYE_RANGE_DEG
    up, down = max(0.0, up_deg) / EYE_RANGE_DEG, max(0.0, -up_deg) / EYE_RANGE_DEG
    return {
        "eyeLookOutLeft": to_left,
        "eyeLookInRight": to_left,
        "eyeLookInLeft": to_right,
        "eyeLookOutRight": to_right,
        "eyeLookUpLeft": up,
        "eyeLookUpRight": up,
        "eyeLookDownLeft": down,
        "eyeLookDownRight": down,
    }


def _blink(t: float) -> float:
    shut_after = BLINK_CLOSE_S + BLINK_SHUT_S
    return max(_bump(t, start, BLINK_CLOSE_S, start + shut_after, BLINK_OPEN_S) for start in BLINKS_S)


def _smooth(x: float) -> float:
    """0 below 0, 1 above 1, with level ends."""
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)


def _bump(t: float, start: float, rise: float, end: float, fall: float) -> float:
    """Rises from `start` in `rise` seconds, stays 1 until `end`, falls in `fall` seconds."""
    return _smooth((t - start) / rise) * (1 - _smooth((t - end) / fall))


def _axis_angle(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Turn left by yaw, look up by pitch, lean to the left shoulder by roll (radians) -> axis-angle."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    m = about_y @ about_x @ about_z
    angle = math.acos(min(1.0, max(-1.0, (np.trace(m) - 1) / 2)))
    axis = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    norm = float(np.linalg.norm(axis))
    return axis * (angle / norm if norm > 1e-9 else 0.0)


_SHAPES = (*(shape for *_, shape in EXPRESSIONS), *VISEMES.values(), {"eyeBlink": 1.0})
UNIT_NAMES = tuple(
    sorted(
        {full for shape in _SHAPES for name in shape for full in _full_names(name)} | set(_look_units(0, 0))
    )
)
