"""Opens avatars for the stage, ready to be driven."""

from __future__ import annotations

from engine.live.scene import Cast
from engine.progress import Bars
from render.library import open_avatar
from tracking.calibration import calibrate_avatar, response_of
from tracking.driver import Driver


def cast_driven(name: str) -> Cast:
    """An avatar with a driver for a tracked face; one that was never calibrated takes up to a minute.

    Raises AvatarError, or TrackingError when the detector cannot see the avatar's face.
    """
    avatar = open_avatar(name)
    if response_of(avatar) is None and avatar.rig.expression_names:
        with Bars() as bars:
            avatar = calibrate_avatar(avatar, progress=lambda d, total: bars.over(d, "calibrating", total))
    return Cast(name, avatar, Driver(avatar))


def cast_alone(name: str) -> Cast:
    """An avatar for the built-in motion. Raises AvatarError."""
    return Cast(name, open_avatar(name))
