"""A live server over a made-up moving picture, for tests and for looking at the page without an engine.

Run `python tests/transport/synthetic_live.py --port 8080` and open the address it prints.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from capture.synthetic import SyntheticSource
from transport.http.controls import AvatarChoice, Background, ControlError, LiveState
from transport.http.server import LiveServer, ServerSettings
from transport.http.server_thread import ServerThread
from transport.http.stream import DEFAULT_STREAM, Stream
from transport.timecode import draw_timecode
from transport.webrtc.broadcast import Broadcast
from transport.webrtc.camera import BrowserCamera
from transport.webrtc.encoders import to_i420


class FakeControls:
    """Remembers every wish; grants all but the avatar called "broken"."""

    def __init__(self, size: int = 512, fps: float = 30.0, source: str = "motion") -> None:
        self.live = LiveState("vera", source, size, size, fps)  # type: ignore[arg-type]
        self.wishes: list[tuple[str, object]] = []
        self.background = Background()
        self.view = (0.0, 0.0, 1.0)

    def state(self) -> LiveState:
        return self.live

    def avatars(self) -> Sequence[AvatarChoice]:
        return [
            AvatarChoice("vera", "Vera", "CC0-1.0"),
            AvatarChoice("elias", "Elias", "CC0-1.0"),
            AvatarChoice("amara", "Amara", "CC0-1.0"),
            AvatarChoice("broken", "Broken", ""),
        ]

    def avatar_picture(self, name: str) -> bytes | None:
        return None

    def choose_avatar(self, name: str) -> None:
        self.wishes.append(("avatar", name))
        if name not in ("vera", "elias", "amara"):
            raise ControlError(f"avatar {name!r} cannot be opened: its file is damaged; choose another one")
        self.live = replace(self.live, avatar=name)

    def remeasure_neutral(self) -> None:
        self.wishes.append(("neutral", None))
        self.live = replace(self.live, has_neutral=True)

    def set_mirror(self, mirror: bool) -> None:
        self.wishes.append(("mirror", mirror))
        self.live = replace(self.live, mirror=mirror)

    def set_background(self, background: Background) -> None:
        self.wishes.append(("background", background))
        self.background = background

    def orbit(self, yaw_deg: float, pitch_deg: float, zoom: float) -> None:
        self.wishes.append(("orbit", (yaw_deg, pitch_deg, zoom)))
        self.view = (yaw_deg, pitch_deg, zoom)

    def figures(self) -> Mapping[str, float]:
        return {
            "fps": self.live.fps,
            "track_p50_ms": 9.1,
            "track_p95_ms": 12.0,
            "solve_p50_ms": 1.6,
            "pose_p50_ms": 1.1,
            "render_p50_ms": 6.2,
        }


class SyntheticLive:
    """Synthetic pictures at their frame rate into a server: `with SyntheticLive() as live`."""

    def __init__(
        self,
        settings: ServerSettings | None = None,
        *,
        width: int = 512,
        height: int = 512,
        fps: float = 30.0,
        camera: BrowserCamera | None = None,
        timecode: bool = True,
    ) -> None:
        self.broadcast = Broadcast(fps=fps)
        self.controls = FakeControls(width, fps, "browser" if camera is not None else "motion")
        streams = {DEFAULT_STREAM: Stream(self.broadcast, self.controls, camera)}
        self.server = LiveServer(streams, settings or ServerSettings(port=0))
        self.camera = camera
        self._source = SyntheticSource(width, height, fps)
        self._timecode = timecode
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="synthetic", daemon=True)
        self._server_thread = ServerThread(self.server)

    @property
    def url(self) -> str:
        return self.server.address.split("/#")[0].rstrip("/")

    def __enter__(self) -> SyntheticLive:
        self._server_thread.start()
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._server_thread.close()

    def figures(self) -> dict[str, float]:
        return self._server_thread.figures()

    def _feed(self) -> None:
        # pictures are made beforehand: the test measures the transport, not the maker
        pictures = []
        for _ in range(30):
            frame = self._source.read()
            assert frame is not None
            pictures.append(to_i420(frame.rgb))
        interval = 1 / self._source.fps
        due = time.perf_counter()
        index = 0
        while not self._stopping.is_set():
            # like a camera: a picture that comes late moves those behind it, none is caught up
            due = max(due + interval, time.perf_counter() + interval / 2)
            time.sleep(max(0.0, due - time.perf_counter()))
            picture = pictures[index % len(pictures)].copy()
            index += 1
            now = time.time_ns()
            if self._timecode:
                draw_timecode(picture, now)
            self.broadcast.put(np.ascontiguousarray(picture), now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--browser", action="store_true", help="take a visitor's camera")
    parser.add_argument("--allow-origin", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=3600.0)
    args = parser.parse_args()
    width, height = (int(part) for part in args.size.split("x"))
    settings = ServerSettings(
        args.host, args.port, allow_origins=tuple(args.allow_origin), recordings_dir=Path.cwd()
    )
    camera = BrowserCamera() if args.browser else None
    with SyntheticLive(settings, width=width, height=height, fps=args.fps, camera=camera) as live:
        print(live.server.address, flush=True)
        time.sleep(args.seconds)


if __name__ == "__main__":
    main()
