"""Show a built-in avatar that looks around, smiles and talks: a page in the browser, or a video with -o.

Needs no camera, no GPU and no model file.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from engine.live.serve import (
    add_server_arguments,
    check_timecode,
    open_virtual_camera,
    parse_server,
    serve,
)
from engine.look import add_look_arguments, parse_look

if TYPE_CHECKING:
    from engine.look import Look

EXAMPLES = """\
examples:
  visavis demo --open
  visavis demo -o hello.mp4 --size 720"""

VIDEO_S = 12.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument("-o", "--output", metavar="OUT.mp4", help="write a video instead of serving a page")
    parser.add_argument("--seconds", type=float, help=f"the video's length ({VIDEO_S:g}), or the page's")
    add_look_arguments(parser)
    add_server_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from engine.errors import UsageError

    if args.seconds is not None and not 0 < args.seconds <= 3600:
        raise UsageError(f"--seconds {args.seconds}: give a length above 0 and up to 3600")
    look = parse_look(args)
    return _write_video(args, look) if args.output is not None else _serve(args, look)


def _write_video(args: argparse.Namespace, look: Look) -> int:
    # torch and numba load from here on
    from engine.demo_motion import demo_motion
    from engine.offline.record import record_motion
    from render.avatars.library import open_avatar

    motion = demo_motion(args.seconds if args.seconds is not None else VIDEO_S)
    recording = record_motion(motion, args.output, open_avatar(args.avatar), look)
    for warning in recording.warnings:
        print(f"visavis: {warning}", file=sys.stderr)
    print(recording.summary())
    return 0


def _serve(args: argparse.Namespace, look: Look) -> int:
    from engine.live.casting import Casting
    from engine.live.settings import MOTION_FPS, LiveSettings

    server = parse_server(args)
    check_timecode(args, look)
    casting = Casting(args.avatar, driven=False)
    settings = LiveSettings(look, "motion", timecode=args.timecode)
    sinks = open_virtual_camera(args, look, MOTION_FPS)
    return serve(settings, server, casting, sinks=sinks, open_page=args.open, seconds=args.seconds)
