"""Opens avatars for the stage, ready to be driven."""

from __future__ import annotations

from pathlib import Path

from engine.backends import announce_compiling
from engine.calibrate import ensure_calibrated
from engine.live.scene import Cast
from engine.progress import Bars
from render.avatars.avatar import Avatar
from render.avatars.library import builtin_names, open_avatar
from tracking.face.driver import Driver


class Casting:
    """The avatars of one stream: the one that was asked for and the built-in ones, by the name of the choice.

    Avatars are kept once opened, so that choosing one again is quick.
    """

    def __init__(self, name_or_path: str, *, driven: bool) -> None:
        """`driven`: by a tracked face; False: by the built-in motion."""
        self._name_or_path = name_or_path
        self._driven = driven
        self._avatars: dict[str, Avatar] = {}
        self.first = name_or_path
        if name_or_path not in builtin_names():
            # visitors need not know where files lie on this machine
            stem = Path(name_or_path).stem
            self.first = f"{stem} (file)" if stem in builtin_names() else stem

    def cast(self, choice: str) -> Cast:
        """The avatar of that choice with a fresh driver; one never calibrated takes up to a minute.

        Raises AvatarError, or TrackingError when the detector cannot see the avatar's face.
        """
        avatar = self._avatars.get(choice)
        if avatar is None:
            avatar = open_avatar(self._name_or_path if choice == self.first else choice)
            announce_compiling()
            if self._driven:
                with Bars() as bars:
                    avatar = ensure_calibrated(avatar, bars)
            self._avatars[choice] = avatar
        return Cast(choice, avatar, Driver(avatar) if self._driven else None)
