"""/api: the page's buttons and figures, as JSON."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from transport.errors import OutputError
from transport.files.packet_recording import PacketRecording, discard
from transport.http.controls import Background, ControlError
from transport.http.pictures import MAX_JPEG_BYTES, background_from_jpeg
from transport.http.security import Refusal
from transport.http.signalling import read_bytes
from transport.http.stream import Stream
from transport.webrtc.sessions import Sessions

MAX_JSON_BYTES = 4096
MAX_ANGLE_DEG = 180.0

T = TypeVar("T")


class Api:
    """Answers /api for one stream.

    The engine is only touched in worker threads: nothing slow runs on the event loop.
    """

    def __init__(
        self,
        stream: Stream,
        sessions: Sessions,
        *,
        ice_servers: Sequence[str],
        recordings_dir: Path,
        recordings_prefix: str,
    ) -> None:
        """Recordings go to `recordings_dir` as PREFIX-DATE-TIME.mp4."""
        self._controls = stream.controls
        self._broadcast = stream.broadcast
        self._camera = stream.camera
        self._sessions = sessions
        self._ice_servers = ice_servers
        self._recordings_dir = recordings_dir
        self._recordings_prefix = recordings_prefix
        self._wishes = ThreadPoolExecutor(1, thread_name_prefix="controls")
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="figures")
        self._recording: PacketRecording | None = None
        self._recording_changes = asyncio.Lock()
        self._recorded: dict[str, Path] = {}  # what this stream wrote: the only files it gives out
        self._jpeg: bytes | None = None
        self._closed = False

    async def close(self) -> None:
        """End a running recording and the worker threads."""
        self._closed = True
        if self._recording is not None:
            self._broadcast.remove_tap(self._recording)
            await asyncio.to_thread(discard, self._recording)
            self._recording = None
        for threads in (self._wishes, self._looks):  # an avatar being opened may take a while
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    async def live_figures(self) -> dict[str, float]:
        """The engine's figures and the broadcast's, in one table."""
        live = await self._look(self._controls.figures)
        figures = {name: round(float(value), 2) for name, value in live.items() if math.isfinite(value)}
        return figures | self._broadcast.figures()

    async def state(self, request: web.Request) -> web.Response:
        state, avatars = await self._look(lambda: (self._controls.state(), self._controls.avatars()))
        answer = asdict(state) | {
            "avatars": [asdict(avatar) for avatar in avatars],
            "takes_camera": self._camera is not None,
            "camera_connected": self._camera is not None and self._camera.connected,
            # browsers notice slowly that the server closed their connection: the page asks for its own
            "camera_is_yours": self._sessions.find(request.query.get("camera", ""), "send") is not None,
            "recording": self._recording_state(),
        }
        if self._ice_servers:
            answer["ice_servers"] = list(self._ice_servers)
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def figures(self, request: web.Request) -> web.Response:
        answer: dict[str, Any] = {"live": await self.live_figures(), "server_ms": time.time() * 1e3}
        session = self._sessions.find(request.query.get("session", ""), "watch")
        if session is not None:
            answer["viewer"] = await self._sessions.figures(session)
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def clock(self, request: web.Request) -> web.Response:
        """The server's clock, so that a page can compare timecodes with its own."""
        return web.json_response({"unix_ms": time.time() * 1e3}, headers={"Cache-Control": "no-store"})

    async def avatar_picture(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        picture = await self._wish(lambda: self._controls.avatar_picture(name))
        if picture is None:
            raise Refusal(404, "this avatar has no picture")
        kind = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
        return web.Response(body=picture, content_type=kind, headers={"Cache-Control": "private"})

    async def choose_avatar(self, request: web.Request) -> web.Response:
        name = _text(await _json(request), "name")
        await self._wish(lambda: self._controls.choose_avatar(name))
        return await self.state(request)

    async def remeasure_neutral(self, request: web.Request) -> web.Response:
        await self._wish(self._controls.remeasure_neutral)
        return await self.state(request)

    async def set_mirror(self, request: web.Request) -> web.Response:
        mirror = (await _json(request)).get("mirror")
        if not isinstance(mirror, bool):
            raise Refusal(422, "mirror must be true or false")
        await self._wish(lambda: self._controls.set_mirror(mirror))
        return await self.state(request)

    async def set_background(self, request: web.Request) -> web.Response:
        if request.content_type == "image/jpeg":
            self._jpeg = await read_bytes(request, MAX_JPEG_BYTES)
            blur = request.query.get("blur", "0")
            await self._show_background_picture(_number(blur, "blur", 0.0, 1.0))
            return await self.state(request)
        wish = await _json(request)
        if "blur" in wish:
            if self._jpeg is None:
                raise Refusal(422, "there is no background picture to blur; choose one first")
            await self._show_background_picture(_number(wish["blur"], "blur", 0.0, 1.0))
        else:
            colour = re.fullmatch(r"#([0-9a-fA-F]{6})", _text(wish, "colour"))
            if colour is None:
                raise Refusal(422, "colour must be written #rrggbb")
            red, green, blue = bytes.fromhex(colour[1])
            self._jpeg = None
            await self._wish(lambda: self._controls.set_background(Background((red, green, blue))))
        return await self.state(request)

    async def _show_background_picture(self, blur: float) -> None:
        jpeg = self._jpeg
        assert jpeg is not None

        def show() -> None:
            state = self._controls.state()
            picture = background_from_jpeg(jpeg, state.width, state.height, blur)
            self._controls.set_background(replace(Background(), picture=picture))

        await self._wish(show)

    async def orbit(self, request: web.Request) -> web.Response:
        wish = await _json(request)
        yaw = _number(wish.get("yaw_deg"), "yaw_deg", -MAX_ANGLE_DEG, MAX_ANGLE_DEG)
        pitch = _number(wish.get("pitch_deg"), "pitch_deg", -90.0, 90.0)
        zoom = _number(wish.get("zoom", 1.0), "zoom", 0.2, 5.0)
        await self._wish(lambda: self._controls.orbit(yaw, pitch, zoom))
        return web.Response(status=204)

    async def start_recording(self, request: web.Request) -> web.Response:
        async with self._recording_changes:
            if self._recording is not None:
                raise Refusal(409, "a recording is running already")
            path = self._recordings_dir / time.strftime(f"{self._recordings_prefix}-%Y%m%d-%H%M%S.mp4")
            try:
                recording = await asyncio.to_thread(
                    PacketRecording, path, lambda: self._broadcast.request_key_frame(None)
                )
            except OutputError as error:
                raise Refusal(422, str(error)) from error
            self._recording = recording
            self._broadcast.add_tap(recording)
        return web.json_response(self._recording_state(), status=201)

    async def stop_recording(self, request: web.Request) -> web.Response:
        async with self._recording_changes:
            recording = self._recording
            if recording is None:
                raise Refusal(409, "no recording is running")
            self._recording = None
            self._broadcast.remove_tap(recording)
            try:
                path = await asyncio.to_thread(recording.close)
            except OutputError as error:
                raise Refusal(422, str(error)) from error
            if path is None:
                raise Refusal(422, "nothing was recorded: no picture came")
            self._recorded[path.name] = path
        answer = {"name": path.name, "seconds": round(recording.seconds, 2), "bytes": recording.num_bytes}
        return web.json_response(answer)

    async def recording_file(self, request: web.Request) -> web.StreamResponse:
        path = self._recorded.get(request.match_info["name"])
        if path is None or not path.is_file():
            raise Refusal(404, "no such recording")
        headers = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return web.FileResponse(path, headers=headers)

    async def options(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    def _recording_state(self) -> dict[str, Any] | None:
        recording = self._recording
        if recording is None:
            return None
        return {
            "name": recording.path.name,
            "seconds": round(recording.seconds, 1),
            "bytes": recording.num_bytes,
            "error": recording.error,
        }

    async def _wish(self, call: Callable[[], T]) -> T:
        """Run an engine call after those before it. Raises Refusal with the engine's own words."""
        try:
            return await self._in(self._wishes, call)
        except ControlError as error:
            raise Refusal(422, str(error)) from error

    async def _look(self, call: Callable[[], T]) -> T:
        return await self._in(self._looks, call)

    async def _in(self, threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        if self._closed:
            raise Refusal(503, "the server is stopping")
        return await asyncio.get_running_loop().run_in_executor(threads, call)


ROUTES: list[tuple[str, str, Callable[[Api, web.Request], Awaitable[web.StreamResponse]]]] = [
    ("GET", "/api/state", Api.state),
    ("GET", "/api/figures", Api.figures),
    ("GET", "/api/time", Api.clock),
    ("GET", "/api/avatars/{name}/picture", Api.avatar_picture),
    ("POST", "/api/avatar", Api.choose_avatar),
    ("POST", "/api/neutral", Api.remeasure_neutral),
    ("POST", "/api/mirror", Api.set_mirror),
    ("POST", "/api/background", Api.set_background),
    ("POST", "/api/orbit", Api.orbit),
    ("POST", "/api/record/start", Api.start_recording),
    ("POST", "/api/record/stop", Api.stop_recording),
    ("GET", "/api/recordings/{name}", Api.recording_file),
]
ROUTES += [("OPTIONS", path, Api.options) for _, path, _ in ROUTES]


async def _json(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Refusal(415, "the body must be application/json")
    try:
        # a deeply nested body must not reach the recursion limit as a server error
        wish = json.loads(await read_bytes(request, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "the body is not JSON") from error
    if not isinstance(wish, dict):
        raise Refusal(422, "the body must be a JSON object")
    return wish


def _text(wish: dict[str, Any], key: str) -> str:
    value = wish.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise Refusal(422, f"{key} must be a text")
    return value


def _number(value: object, name: str, lowest: float, highest: float) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise Refusal(422, f"{name} must be a number from {lowest:g} to {highest:g}")
    return min(max(number, lowest), highest)
