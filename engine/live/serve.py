"""From command-line options to a running loop: what `visavis live` and `visavis demo` share."""

from __future__ import annotations

import argparse
import contextlib
import gc
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.encoding import live_encoders
from engine.errors import UsageError
from engine.live.lifeline import Lifeline
from engine.live.opening import OpeningControls
from engine.live.settings import MOTION_FPS, LiveSettings

if TYPE_CHECKING:
    from engine.live.casting import Casting
    from engine.live.detecting import Detector
    from engine.live.loop import LiveLoop
    from engine.live.scene import Cast
    from engine.live.sources import LiveSource
    from engine.look import Look
    from transport.http.server import LiveServer, ServerSettings
    from transport.sink import Sink
    from transport.webrtc.camera import BrowserCamera

MAX_PORT = 65535


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the page is served, and to whom."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port; 0 takes any free one (%(default)s)")
    parser.add_argument("--token", help="what visitors must know; made and printed beyond this machine")
    parser.add_argument("--cert", type=Path, metavar="PEM", help="certificate: the page comes over TLS")
    parser.add_argument("--key", type=Path, metavar="PEM", help="the certificate's private key")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of another origin in, such as http://127.0.0.1:8078; repeatable",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this host name too, of a proxy for example; visitors need a token then; repeatable",
    )
    parser.add_argument(
        "--max-viewers", type=int, default=32, metavar="N", help="who may watch at once (%(default)s)"
    )
    parser.add_argument(
        "--ice-server",
        action="append",
        default=[],
        metavar="URL",
        help="stun:HOST[:PORT], which tells the outer address of a machine behind a NAT; repeatable",
    )
    parser.add_argument(
        "--virtual-camera",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="be a camera of this machine too, for any meeting program: a device such as /dev/video10 "
        "(default: the first virtual one)",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--timecode", action="store_true", help="draw each frame's arrival time as a row of cells, top left"
    )


def parse_server(args: argparse.Namespace) -> ServerSettings:
    """The settings that the options of `add_server_arguments` describe. Raises UsageError or OutputError."""
    from transport.http.server import ServerSettings, load_certificate

    if not 0 <= args.port <= MAX_PORT:
        raise UsageError(f"--port {args.port}: give a number from 0 to {MAX_PORT}")
    if args.key is not None and args.cert is None:
        raise UsageError(f"--key {args.key}: a key needs its certificate; add --cert")
    if args.token is not None and not args.token.strip():
        raise UsageError("--token is empty; give some letters and digits, or leave it out")
    for origin in args.allow_origin:
        scheme, _, rest = origin.partition("://")
        if scheme not in ("http", "https") or not rest or "/" in rest:
            raise UsageError(f"--allow-origin {origin}: give an origin such as http://127.0.0.1:8078")
    for name in args.allow_host:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
            raise UsageError(f"--allow-host {name}: give a name such as avatar.example.org, without a port")
    if args.max_viewers < 1:
        raise UsageError(f"--max-viewers {args.max_viewers}: give a number above 0")
    for url in args.ice_server:
        if not re.fullmatch(r"stun:[A-Za-z0-9.-]+(:\d{1,5})?", url):
            raise UsageError(f"--ice-server {url}: give a STUN server such as stun:stun.example.org:3478")
    settings = ServerSettings(
        host=args.host,
        port=args.port,
        token=args.token,
        allow_origins=tuple(args.allow_origin),
        allow_hosts=tuple(name.lower() for name in args.allow_host),
        certificate=args.cert,
        private_key=args.key,
        ice_servers=tuple(args.ice_server),
        max_viewers=args.max_viewers,
        recordings_dir=Path.cwd(),
    )
    load_certificate(settings)  # a wrong one is told before anything slow begins
    return settings


def check_timecode(args: argparse.Namespace, look: Look) -> None:
    """Raise UsageError when the timecode does not fit the picture."""
    from transport.timecode import CELL_PX, WIDTH_PX

    if args.timecode and (look.width < WIDTH_PX or look.height < CELL_PX):
        raise UsageError(
            f"--timecode needs a picture at least {WIDTH_PX} pixels wide, "
            f"this one has {look.width}; use --size 512"
        )


def warm_up(cast: Cast, look: Look) -> None:
    """Draw one picture, so that the first visitor does not wait for compilers."""
    import torch

    from engine.backends import open_backend
    from engine.live.painter import Painter
    from engine.live.scene import View
    from render.motion import Motion

    painter = Painter(look.width, look.height, open_backend(look.backend))
    try:
        with torch.inference_mode():
            posed = painter.pose(cast.avatar, Motion.neutral())
            painter.paint(posed, cast.avatar, View(look.background))
    finally:
        painter.close()


def open_virtual_camera(args: argparse.Namespace, look: Look, fps: float) -> list[Sink]:
    """The virtual camera that was asked for, if one was. Raises OutputError where there is none."""
    if args.virtual_camera is None:
        return []
    from transport.virtual_camera import VirtualCamera

    camera = VirtualCamera(look.width, look.height, fps, args.virtual_camera or None)
    print(f"visavis: choose the camera {camera.device} in your meeting program", file=sys.stderr)
    return [camera]


@contextlib.contextmanager
def on_air(
    settings: LiveSettings,
    server_settings: ServerSettings,
    casting: Casting,
    source: LiveSource | None = None,
    detector: Detector | None = None,
    camera: BrowserCamera | None = None,
    *,
    sinks: Sequence[Sink] = (),
    up: Callable[[LiveServer], None] = lambda server: None,
) -> Iterator[tuple[LiveLoop, LiveServer]]:
    """One participant and a server of their own, from the first request to the last thread's end.

    The page answers at once, and `up` is called; torch is loaded, kernels are compiled and the avatar is made
    ready while it says so. `camera` takes what a visitor sends; pictures go to `sinks` too. The other
    arguments, and what becomes of them: see `LiveLoop`. Raises OutputError as `LiveServer` does; nothing is
    left running then.
    """
    from transport.http.server import LiveServer
    from transport.http.server_thread import ServerThread
    from transport.http.stream import DEFAULT_STREAM, Stream
    from transport.webrtc.broadcast import Broadcast

    fps = MOTION_FPS if source is None else source.fps
    broadcast = Broadcast(fps=fps)
    opening = OpeningControls(settings, casting.first, fps)
    server = LiveServer({DEFAULT_STREAM: Stream(broadcast, opening, camera)}, server_settings)
    lifeline = Lifeline()  # of the server, before there is a loop
    rest = contextlib.ExitStack()
    for part in (detector, source, *sinks):
        if part is not None:
            rest.callback(part.close)  # until there is a loop, nobody else does
    with (
        rest,  # ends after the server
        ServerThread(server, on_error=lifeline.fail),
        contextlib.closing(opening),
    ):
        up(server)
        cast = casting.cast(casting.first, opening.tell)
        warm_up(cast, settings.look)
        broadcast.encode_with(live_encoders(settings.look))  # a card was looked for now
        from engine.live.loop import LiveLoop

        loop = LiveLoop(settings, cast, casting.cast, [broadcast, *sinks], source, detector, lifeline)
        rest.enter_context(loop)
        opening.hand_over(loop.controls)
        loop.start()
        yield loop, server


def serve(
    settings: LiveSettings,
    server_settings: ServerSettings,
    casting: Casting,
    source: LiveSource | None = None,
    detector: Detector | None = None,
    camera: BrowserCamera | None = None,
    *,
    sinks: Sequence[Sink] = (),
    open_page: bool,
    seconds: float | None = None,
) -> int:
    """Run what `on_air` gives until Ctrl-C, an error, or the time is over; prints the address."""
    # A thread that waits for the interpreter's lock gets it after this long, not after 5 ms: the server's
    # packets must not wait for the renderer.
    sys.setswitchinterval(0.001)

    def tell_address(server: LiveServer) -> None:
        print(server.address, flush=True)
        for note in server.notes:
            print(f"visavis: {note}", file=sys.stderr)
        print("visavis: open this address in a browser; Ctrl-C ends", file=sys.stderr, flush=True)
        if open_page:
            import webbrowser

            if not webbrowser.open(server.address):
                print("visavis: there is no browser here to open it in", file=sys.stderr, flush=True)

    casting.check()
    show = on_air(settings, server_settings, casting, source, detector, camera, sinks=sinks, up=tell_address)
    summary = ""
    with contextlib.suppress(KeyboardInterrupt), show as (loop, _):  # it may come while the avatar opens
        # What is loaded by now stays: a full garbage collection that walks through it stops every thread
        # 170 ms.
        gc.collect()
        gc.freeze()
        with contextlib.suppress(KeyboardInterrupt):
            loop.wait(seconds)
        summary = loop.summary()
    gc.unfreeze()
    if summary:
        print(f"visavis: {summary}", file=sys.stderr)
    return 0
