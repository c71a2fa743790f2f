"""The live server: the page, WHEP, WHIP and controls of every stream, health and metrics, on one port."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from transport.errors import OutputError
from transport.http import api, signalling
from transport.http.api import Api
from transport.http.security import AccessRules, Handler, Refusal, is_loopback, make_guard, make_token
from transport.http.signalling import Signalling
from transport.http.stream import DEFAULT_STREAM, Stream, check_stream_name
from transport.webrtc import patches as aiortc_patches
from transport.webrtc.sessions import Sessions

Part = TypeVar("Part")

MAX_CONNECTIONS = 256  # open HTTP connections; one page needs two to six
IDLE_S = 30.0  # a connection without a request is closed
SHUTDOWN_S = 2.0

# Anyone may read these: the page is the same for everybody and holds no secret.
PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/api.js": ("api.js", "text/javascript"),
    "/figures.js": ("figures.js", "text/javascript"),
    "/orbit.js": ("orbit.js", "text/javascript"),
    "/panels.js": ("panels.js", "text/javascript"),
    "/session.js": ("session.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/manifest.webmanifest": ("manifest.webmanifest", "application/manifest+json"),
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens and whom it lets in.

    A server that others can reach, by its own address or under a name of `allow_hosts`, always has a token;
    one is made when none is given.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    certificate: Path | None = None  # PEM; with it the page is served over TLS
    private_key: Path | None = None  # PEM; None when the certificate's file holds it
    ice_servers: tuple[str, ...] = ()  # none: no request leaves the machine on its own
    max_viewers: int = 32  # of each stream
    recordings_dir: Path = field(default_factory=Path)

    def with_token(self) -> str | None:
        """The token in force: the given one, a new one where others can reach the server, else none."""
        if self.token is not None or (is_loopback(self.host) and not self.allow_hosts):
            return self.token
        return make_token()


class LiveServer:
    """Serves streams to browsers and other WHEP clients, until `stop`.

    Everything runs on the event loop that `start` is called on; `ServerThread` gives it one of its own.
    """

    def __init__(self, streams: Mapping[str, Stream], settings: ServerSettings) -> None:
        """`streams` by name: DEFAULT_STREAM is the page's, another one is served below /s/NAME.

        Raises OutputError: another aiortc than the pinned one, or a certificate that cannot be read.
        """
        aiortc_patches.install()
        for name in streams:
            check_stream_name(name)
        self._streams = dict(streams)
        self._settings = settings
        self._token = settings.with_token()
        self._tls = load_certificate(settings)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._open: dict[str, _OpenStream] = {}

    @property
    def token(self) -> str | None:
        return self._token

    @property
    def port(self) -> int:
        """The port listened on, chosen by the system when the settings say 0."""
        if self._server is not None and self._server.sockets:
            return int(self._server.sockets[0].getsockname()[1])
        return self._settings.port

    @property
    def address(self) -> str:
        """What to open in a browser, with the token behind # where no server log sees it."""
        host = self._settings.host
        if host in ("0.0.0.0", "::", ""):
            host = _own_address()
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self._tls is not None else "http"
        token = f"#token={self._token}" if self._token is not None else ""
        return f"{scheme}://{host}:{self.port}/{token}"

    @property
    def notes(self) -> list[str]:
        """What the person who started it should know, one line each."""
        if is_loopback(self._settings.host) or self._tls is not None:
            return []
        return ["browsers give no camera to pages without TLS: add --cert to use one from elsewhere"]

    async def start(self) -> None:
        """Listen. Raises OutputError when the port is taken or the address is not ours; nothing is left."""
        settings = self._settings
        rules = AccessRules(
            settings.host,
            self._token,
            frozenset(settings.allow_origins),
            frozenset(settings.allow_hosts),
            public_paths=frozenset({*PAGE_FILES, "/healthz"}),
        )
        self._open = {name: _OpenStream(name, stream, settings) for name, stream in self._streams.items()}
        app = web.Application(middlewares=[make_guard(rules)])
        app.add_routes(self._stream_routes())
        app.add_routes([web.get(path, self._page_file) for path in PAGE_FILES])
        app.add_routes([web.get("/healthz", self._health), web.get("/metrics", self._metrics)])
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_logger(),
            keepalive_timeout=IDLE_S,
            shutdown_timeout=SHUTDOWN_S,
            handle_signals=False,
        )
        try:
            await self._runner.setup()
            self._server = await self._listen(self._runner.server)
        except BaseException:
            await self.stop()
            raise
        for stream in self._streams.values():
            stream.broadcast.start()

    async def stop(self) -> None:
        """End every session and recording, free the port; safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        opened, self._open = self._open, {}
        await asyncio.gather(*(stream.close() for stream in opened.values()))
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for stream in self._streams.values():
            await asyncio.to_thread(stream.broadcast.close)

    def _stream_routes(self) -> Iterator[web.RouteDef]:
        for prefix in ("", "/s/{stream}"):
            for method, path, signal in signalling.ROUTES:
                yield web.route(method, prefix + path, self._to(lambda opened: opened.signalling, signal))
            for method, path, wish in api.ROUTES:
                yield web.route(method, prefix + path, self._to(lambda opened: opened.api, wish))

    def _to(
        self,
        part_of: Callable[[_OpenStream], Part],
        handle: Callable[[Part, web.Request], Awaitable[web.StreamResponse]],
    ) -> Handler:
        """A handler that finds the stream a request means and lets that part of it answer."""

        async def answer(request: web.Request) -> web.StreamResponse:
            opened = self._open.get(request.match_info.get("stream", DEFAULT_STREAM))
            if opened is None and self._server is None:
                raise Refusal(503, "the server is stopping")
            if opened is None:
                raise Refusal(404, "there is no stream of this name")
            return await handle(part_of(opened), request)

        return answer

    async def _listen(self, http: web.Server | None) -> asyncio.Server:
        assert http is not None
        loop = asyncio.get_running_loop()

        def make_protocol() -> asyncio.Protocol:
            return http() if len(http.connections) < MAX_CONNECTIONS else _Busy()

        host = "127.0.0.1" if self._settings.host == "localhost" else self._settings.host
        try:
            return await loop.create_server(
                make_protocol, host, self._settings.port, ssl=self._tls, backlog=128, reuse_address=True
            )
        except OSError as error:
            where = f"{self._settings.host}:{self._settings.port}"
            if error.errno == errno.EADDRINUSE:
                reason = "another program listens there; choose another --port"
            elif error.errno == errno.EACCES:
                reason = "permission denied; choose a --port above 1023"
            else:
                reason = "this machine has no such address; choose another --host"
            raise OutputError(f"cannot listen on {where}: {reason}") from error

    async def _page_file(self, request: web.Request) -> web.Response:
        name, kind = PAGE_FILES[request.path]
        body = (resources.files("transport.http") / "page" / name).read_bytes()
        headers = {"Cache-Control": "no-cache"}
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _metrics(self, request: web.Request) -> web.Response:
        by_stream = {name: await opened.figures() for name, opened in list(self._open.items())}
        lines = []
        for figure in sorted(set().union(*by_stream.values())):
            safe = "visavis_" + "".join(letter if letter.isalnum() else "_" for letter in figure)
            lines.append(f"# TYPE {safe} gauge")
            for name, figures in by_stream.items():
                label = "" if name == DEFAULT_STREAM else f'{{stream="{name}"}}'
                lines += [f"{safe}{label} {figures[figure]}"] if figure in figures else []
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def figures(self, name: str = DEFAULT_STREAM) -> dict[str, float]:
        """Every live figure of a stream, as /metrics gives them."""
        return await self._open[name].figures()


class _OpenStream:
    """A stream while it is served: who watches and sends, its recordings, its worker threads."""

    def __init__(self, name: str, stream: Stream, settings: ServerSettings) -> None:
        self._camera = stream.camera
        self.sessions = Sessions(
            stream.broadcast,
            stream.camera,
            max_viewers=settings.max_viewers,
            ice_servers=settings.ice_servers,
        )
        self.signalling = Signalling(self.sessions, settings.ice_servers)
        self.api = Api(
            stream,
            self.sessions,
            ice_servers=settings.ice_servers,
            recordings_dir=settings.recordings_dir,
            recordings_prefix="visavis" if name == DEFAULT_STREAM else f"visavis-{name}",
        )

    async def figures(self) -> dict[str, float]:
        figures = await self.api.live_figures()
        figures["sessions"] = float(len(self.sessions))
        figures["camera_connected"] = float(self._camera is not None and self._camera.connected)
        return figures

    async def close(self) -> None:
        await self.sessions.close_all()
        await self.api.close()


class _Busy(asyncio.Protocol):
    """Turns a connection away that is one too many."""

    def connection_made(self, transport: Any) -> None:
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
        )
        transport.close()


def _http_logger() -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.http")
    if not logger.filters:
        logger.addFilter(_is_our_concern)
    return logger


def _is_our_concern(record: logging.LogRecord) -> bool:
    """Not what strangers send that is no HTTP: they get their 400, the terminal no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], BadHttpMessage))


def load_certificate(settings: ServerSettings) -> ssl.SSLContext | None:
    """What TLS needs; None when the settings name no certificate. Raises OutputError for a bad one."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.certificate, settings.private_key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"cannot use the certificate {str(settings.certificate)!r}: {reason}; give PEM files of a "
            "certificate and its key"
        ) from error
    return context


def _own_address() -> str:
    """This machine's address in its network, for the line that tells where to go."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # UDP: chooses a route, sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
