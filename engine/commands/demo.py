"""Write a short video of a built-in avatar that looks around, smiles and talks.

Needs no camera, no GPU and no model file.
"""

from __future__ import annotations

import argparse

from engine.look import add_look_arguments, parse_look


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  visavis demo -o hello.mp4 --size 720"
    parser.add_argument(
        "-o", "--output", metavar="OUT.mp4", default="visavis-demo.mp4", help="the mp4 to write (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="length (%(default)s)")
    add_look_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from engine.errors import UsageError

    if not 0 < args.seconds <= 3600:
        raise UsageError(f"--seconds {args.seconds}: give a length above 0 and up to 3600")
    look = parse_look(args)
    # torch and numba load from here on
    from engine.motion import demo_motion
    from engine.record import record_motion
    from render.library import open_avatar

    print(record_motion(demo_motion(args.seconds), args.output, open_avatar(args.avatar), look).summary())
    return 0
