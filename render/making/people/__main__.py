"""Rebuilds those built-in people who are still painted: python -m render.making.people [NAME ...].

Run `python -m tracking.making.recalibrate` after a change of a face.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from render.making.people.builtin import PAINTED


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m render.making.people",
        description="Rebuild the people who are still painted.",
    )
    parser.add_argument("names", nargs="*", choices=[*PAINTED, []], metavar="NAME", help=", ".join(PAINTED))
    parser.add_argument("--output", type=Path, help="folder; by default render/assets")
    arguments = parser.parse_args()

    from render.avatars.file import load_avatar, save_avatar
    from render.making.people.gaussians.assemble import ASSETS, build

    folder: Path = arguments.output or ASSETS
    for name in arguments.names or PAINTED:
        start = time.perf_counter()
        path = folder / f"{name}.avatar"
        avatar = build(PAINTED[name])
        if path.exists():
            # What the tracker measured stays; it notices by itself when the person has changed too much. Then
            # `python -m tracking.making.recalibrate` measures anew.
            former = load_avatar(path)
            avatar = avatar.replace(extras=former.extras, extras_meta=former.extras_meta)
        save_avatar(avatar, path, compact=True)
        seconds = time.perf_counter() - start
        megabytes = path.stat().st_size / 1e6
        print(
            f"{path}: {avatar.gaussians.num_gaussians} Gaussians, {megabytes:.2f} MB, {seconds:.0f} s",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
