"""What a head at rest is taken for: which way is ahead, and what counts as level.

One picture cannot tell a person who sits at its side and looks straight on, like somebody reading a screen,
from one who looks into the camera: the turn of the line of sight lies between the two. Nor can it tell a nod
of a few degrees from a longer nose. So the head at rest decides: people rest facing something.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.face.head_pose import angles_of, rotation_of_angles, turn_to
from tracking.face.unsmooth import smoothed

Array = NDArray[np.float64]

# Spreads of resting heads about what they face, degrees of yaw and pitch, and how much more must speak for
# the camera's axis than for the line of sight: cameras stand level but are tilted up and down to the face.
_AT_REST = np.array([3.0, 8.0])
_ONUS = np.array([0.0, 2.5])
# Turns at rest below these are not told from none: the pitch from another shape of face, and the yaw from
# another lens than the assumed one, in shares of the line of sight's own turn.
_LEVEL_PITCH = 6.0
_LENS_DOUBT = 0.45
# The landmarks say how a head is turned on the whole, wherever it is in the picture; the detector's matrix
# says how it moves. The one corrects the other over about so long: yaw, pitch, roll. In pitch the longest,
# for landmarks take talking for nodding.
_CORRECTED_OVER_S = np.array([1.0, 8.0, 1.0])


@dataclass(frozen=True)
class Level:
    """Takes head angles against the line of sight to angles against what the person faces."""

    ahead: Array  # [3] unit vector, camera axes: where a head at zero angles looks
    offset: Array  # [3] degrees of yaw, pitch, roll at rest that count as none

    @classmethod
    def of_rest(cls, angles: Array, towards: Array) -> Level:
        """From a head at rest: angles [3] against the line of sight, unit vector [3] to the camera."""
        against_camera = angles_of(turn_to(towards) @ rotation_of_angles(angles))
        surprise = [(a[:2] / _AT_REST) ** 2 / 2 for a in (angles, against_camera)]
        share = 1 / (1 + np.exp(np.clip(surprise[1] - surprise[0] + _ONUS, -30, 30)))  # of the camera's axis
        ahead = towards * np.r_[1 - share, 1.0]
        ahead /= np.linalg.norm(ahead)
        rest = cls(ahead, np.zeros(3)).angles(angles[None], towards[None])[0]
        sight = abs(np.degrees(np.arctan2(towards[0], towards[2])))
        yaw, pitch = _beyond(rest[0], share[0] * _LENS_DOUBT * sight), _beyond(rest[1], _LEVEL_PITCH)
        return cls(ahead, np.array([rest[0] - yaw, rest[1] - pitch, 0.0]))

    def angles(self, angles: Array, towards: Array) -> Array:
        """Angles [T, 3] of frames whose angles against the line of sight and directions [T, 3] are given."""
        turned = turn_to(self.ahead).T @ turn_to(towards) @ rotation_of_angles(angles)
        return angles_of(turned) - self.offset


def slowly(corrections: Array, fps: float) -> Array:
    """What to add to the angles of a clip's frames, given what each [T, 3] is short of by itself."""
    return np.stack([smoothed(corrections[:, i], s * fps) for i, s in enumerate(_CORRECTED_OVER_S)], 1)


class SlowCorrection:
    """The same live: a mean of what was seen, then of the last seconds."""

    def __init__(self) -> None:
        self._value = np.zeros(3)
        self._first_s: float | None = None
        self._last_s = 0.0

    def __call__(self, newest: Array, time_s: float) -> Array:
        """The correction [3] at `time_s`, when the frame itself is short of `newest` [3]."""
        if self._first_s is None:
            self._first_s = self._last_s = time_s
            self._value = newest
        passed, known = time_s - self._last_s, np.minimum(time_s - self._first_s, _CORRECTED_OVER_S)
        self._last_s = time_s
        if passed > 0:
            self._value = self._value + (newest - self._value) * passed / (passed + known)
        return self._value


def _beyond(angle: float, doubt: float) -> float:
    """An angle that may as well be none up to `doubt` degrees: small ones vanish, large ones stay."""
    fourth = angle**4
    return angle * fourth / (fourth + doubt**4 + 1e-12)
