"""Opens avatars for the stage, ready to be driven."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.compiling import compile_ahead
from engine.live.scene import Cast
from render.avatars.library import builtin_names, open_avatar

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar


class Casting:
    """The avatars of one stream: the one that was asked for and the built-in ones, by the name of the choice.

    Avatars are kept once opened, so that choosing one again is quick.
    """

    def __init__(self, name_or_path: str, *, driven: bool) -> None:
        """`driven`: by a tracked face; False: by the built-in motion."""
        self._name_or_path = name_or_path
        self._driven = driven
        self._avatars: dict[str, Avatar] = {}
        self._opened: dict[str, Avatar] = {}  # and not ready yet
        self.first = name_or_path
        if name_or_path not in builtin_names():
            # visitors need not know where files lie on this machine
            stem = Path(name_or_path).stem
            self.first = f"{stem} (file)" if stem in builtin_names() else stem

    def check(self) -> None:
        """Open an avatar file that was named, so that a bad one is refused before anything is shown.

        The built-in ones are good. Raises AvatarError.
        """
        if self.first not in builtin_names():
            self._opened[self.first] = open_avatar(self._name_or_path)

    def cast(self, choice: str, tell: Callable[[str], None] = lambda line: None) -> Cast:
        """The avatar of that choice with a fresh driver; one never calibrated takes up to a minute.

        `tell` hears what takes long, in one line. Raises AvatarError, or TrackingError when the detector
        cannot see the avatar's face.
        """
        avatar = self._avatars.get(choice)
        if avatar is None:
            avatar = self._avatars[choice] = self._ready(choice, tell)
        if not self._driven:
            return Cast(choice, avatar)
        from tracking.face.driver import Driver

        return Cast(choice, avatar, Driver(avatar))

    def _ready(self, choice: str, tell: Callable[[str], None]) -> Avatar:
        """The avatar, opened, with its kernels compiled, and calibrated if it is driven."""
        import torch

        avatar = self._opened.pop(choice, None)
        if avatar is None:
            avatar = open_avatar(self._name_or_path if choice == self.first else choice)
        with torch.inference_mode():
            compile_ahead(lambda: avatar.pose(avatar.rig.neutral_params()), tell)
        if not self._driven:
            return avatar
        from engine.calibrate import ensure_calibrated
        from engine.progress import Bars

        tell(f"preparing {avatar.name}")
        with Bars() as bars:
            return ensure_calibrated(avatar, bars)
