"""Makes sure that an avatar is calibrated to the face detector before anyone drives it."""

from __future__ import annotations

import sys

from engine.progress import Bars
from render.avatars.avatar import Avatar
from tracking.calibration.measure import calibrate_avatar
from tracking.calibration.stored import response_of
from tracking.errors import TrackingError


def ensure_calibrated(avatar: Avatar, bars: Bars) -> Avatar:
    """The avatar with what the detector sees on it, as `tracking.face.driver.Driver` needs it.

    An avatar whose file keeps that comes back as it is; any other is measured now, which takes up to a minute
    and is said on stderr. Raises TrackingError when the detector cannot see the avatar's face.
    """
    if response_of(avatar) is not None:
        return avatar
    print(
        f"visavis: calibrating {avatar.name} to the face detector takes up to a minute; "
        "the file that `visavis avatar import` writes keeps the result",
        file=sys.stderr,
        flush=True,
    )
    return calibrate_avatar(avatar, progress=lambda items, total: bars.over(items, "calibrating", total))


def calibrated_if_seen(avatar: Avatar, otherwise: str) -> Avatar:
    """`ensure_calibrated`; the avatar as it is when the detector sees too little of it or is not there.

    `otherwise` says on stderr what has become of the avatar then, before the reason.
    """
    try:
        with Bars() as bars:
            return ensure_calibrated(avatar, bars)
    except TrackingError as error:
        print(f"visavis: {otherwise}: {error}", file=sys.stderr)
        return avatar
