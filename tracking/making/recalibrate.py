"""Calibrates avatars anew, in place: `python -m tracking.making.recalibrate [NAME_OR_FILE ...]`.

Without names it does every built-in avatar. Run it when a built-in one has been made anew.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from render.avatars.file import save_avatar
from render.avatars.library import builtin_names, builtin_path, open_avatar
from tracking.calibration.measure import calibrate_avatar
from tracking.calibration.stored import response_of


def main(names: list[str]) -> None:
    """Calibrate and rewrite each avatar; one line each on stdout."""
    for name in names or builtin_names():
        start = time.perf_counter()
        path = builtin_path(name) if name in builtin_names() else Path(name)
        avatar = calibrate_avatar(open_avatar(path))
        save_avatar(avatar, path, compact=name in builtin_names())
        assert response_of(open_avatar(path)) is not None, (
            "the stored calibration does not fit its own avatar"
        )
        print(f"{path}: calibrated in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
