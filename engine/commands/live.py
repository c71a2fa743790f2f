"""Answer the face in front of the camera with an avatar, live, on a page in the browser.

The page shows the avatar with a few hundredths of a second delay; WHEP clients can watch at /whep. Without
options the first camera of this machine is used; --browser takes the visitor's own camera instead, and
--input plays a video as if it were a camera, over and over.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

from engine.live.serve import (
    add_server_arguments,
    check_timecode,
    open_virtual_camera,
    parse_server,
    serve,
)
from engine.look import add_look_arguments, parse_look
from engine.person import add_person_argument, parse_person

if TYPE_CHECKING:
    from engine.live.sources import LiveSource
    from transport.http.controls import SourceKind
    from transport.webrtc.camera import BrowserCamera

EXAMPLES = """\
examples:
  visavis live                          camera 0 drives the built-in avatar
  visavis live --browser --open         the browser's camera drives it
  visavis live --input talk.mp4 --timecode
  visavis live --virtual-camera         a camera for any meeting program
  visavis live --person left            of several people, the one at the left of the picture
  visavis live --host 0.0.0.0 --cert me.pem --key me.key"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--camera", default=None, metavar="N", help="number, name or device of a camera (0)")
    source.add_argument("--input", metavar="FILE", help="a video or a folder of pictures, played in a loop")
    source.add_argument("--browser", action="store_true", help="the camera of whoever opens the page")
    add_person_argument(parser)
    add_look_arguments(parser)
    add_server_arguments(parser)
    parser.add_argument(
        "--predict", action="store_true", help="show the face where it will be when the picture is seen"
    )
    parser.add_argument("--seconds", type=float, help="end by itself after so long")


def run(args: argparse.Namespace) -> int:
    from engine.errors import UsageError

    if args.seconds is not None and not args.seconds > 0:
        raise UsageError(f"--seconds {args.seconds}: give a time above 0")
    look = parse_look(args)
    person = parse_person(args)
    server = parse_server(args)
    check_timecode(args, look)
    from engine.live.casting import Casting
    from engine.live.settings import LiveSettings
    from engine.model_fetch import ensure_model
    from tracking.detect.face_finder import FaceFinderFactory
    from tracking.detect.process import DetectorProcess

    with contextlib.ExitStack() as stack:
        source, kind, visitor = _open_source(args)
        stack.callback(source.close)
        sinks = open_virtual_camera(args, look, source.fps)
        for sink in sinks:
            stack.callback(sink.close)
        ensure_model("face_landmarker")
        # The model loads while the avatar does.
        detector = stack.enter_context(DetectorProcess(FaceFinderFactory(person, live=True)))
        casting = Casting(args.avatar, driven=True)
        # A mirror is for oneself: what others see in a meeting is not turned.
        mirror = kind != "file" and args.virtual_camera is None
        settings = LiveSettings(
            look, kind, timecode=args.timecode, predict=args.predict, mirror=mirror, person=person
        )
        return serve(
            settings,
            server,
            casting,
            source,
            detector,
            visitor,
            sinks=sinks,
            open_page=args.open,
            seconds=args.seconds,
        )


def _open_source(args: argparse.Namespace) -> tuple[LiveSource, SourceKind, BrowserCamera | None]:
    if args.input is not None:
        from capture.source import open_input
        from engine.live.sources import FilePlayer

        return FilePlayer(lambda: open_input(args.input)), "file", None
    if args.browser:
        from transport.webrtc.camera import BrowserCamera

        camera = BrowserCamera()
        return camera, "browser", camera
    from capture.webcam import Webcam

    return Webcam(args.camera if args.camera is not None else 0), "camera", None
