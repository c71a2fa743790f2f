"""Calibrating an avatar to the face detector, with a progress bar."""

from __future__ import annotations

import sys

from engine.progress import Bars
from render.avatars.avatar import Avatar
from tracking.calibration.measure import calibrate_avatar
from tracking.errors import TrackingError


def calibrated(avatar: Avatar, bars: Bars) -> Avatar:
    """The avatar with what the detector sees on it, measured now. Raises TrackingError."""
    return calibrate_avatar(avatar, progress=lambda items, total: bars.over(items, "calibrating", total))


def calibrated_if_seen(avatar: Avatar, otherwise: str) -> Avatar:
    """`calibrated`; the avatar as it is when the detector sees too little of it or is not there.

    `otherwise` says on stderr what has become of the avatar then, before the reason.
    """
    try:
        with Bars() as bars:
            return calibrated(avatar, bars)
    except TrackingError as error:
        print(f"visavis: {otherwise}: {error}", file=sys.stderr)
        return avatar
