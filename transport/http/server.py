"""The live server: the page, WHEP, WHIP, the page's controls, health and metrics, on one port."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from transport.errors import OutputError
from transport.http.api import Api
from transport.http.controls import Controls
from transport.http.security import AccessRules, Refusal, is_loopback, make_guard, make_token
from transport.http.signalling import Signalling
from transport.webrtc import patches as aiortc_patches
from transport.webrtc.broadcast import Broadcast
from transport.webrtc.camera import BrowserCamera
from transport.webrtc.sessions import Sessions

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

    An address other than this machine's own always has a token; one is made when none is given.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    certificate: Path | None = None  # PEM; with it the page is served over TLS
    private_key: Path | None = None  # PEM; None when the certificate's file holds it
    ice_servers: tuple[str, ...] = ()  # none: no request leaves the machine on its own
    max_viewers: int = 32
    recordings_dir: Path = field(default_factory=Path)

    def with_token(self) -> str | None:
        """The token in force: the given one, a new one beyond this machine, else none."""
        if self.token is not None or is_loopback(self.host):
            return self.token
        return make_token()


class LiveServer:
    """Serves one broadcast to browsers and other WHEP clients, until `stop`.

    Everything runs on the event loop that `start` is called on; `ServerThread` gives it one of its own.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        controls: Controls,
        settings: ServerSettings,
        camera: BrowserCamera | None = None,
    ) -> None:
        """`camera` takes what visitors send with WHIP; None when the server takes no camera.

        Raises OutputError: another aiortc than the pinned one, or a certificate that cannot be read.
        """
        aiortc_patches.install()
        self._settings = settings
        self._broadcast = broadcast
        self._controls = controls
        self._camera = camera
        self._token = settings.with_token()
        self._tls = load_certificate(settings)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._sessions: Sessions | None = None
        self._api: Api | None = None

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
        self._sessions = Sessions(
            self._broadcast,
            self._camera,
            max_viewers=settings.max_viewers,
            ice_servers=settings.ice_servers,
        )
        self._api = Api(
            self._controls, self._broadcast, self._sessions, self._camera, settings.recordings_dir
        )
        app = web.Application(middlewares=[make_guard(rules)])
        app.add_routes(Signalling(self._sessions, settings.ice_servers).routes())
        app.add_routes(self._api.routes())
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
        self._broadcast.start()

    async def stop(self) -> None:
        """End every session and recording, free the port; safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._sessions is not None:
            await self._sessions.close_all()
        if self._api is not None:
            await self._api.close()
            self._api = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await asyncio.to_thread(self._broadcast.close)

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
        if self._api is None:
            raise Refusal(503, "the server is stopping")
        lines = []
        for name, value in sorted((await self.figures()).items()):
            safe = "".join(character if character.isalnum() else "_" for character in name)
            lines += [f"# TYPE visavis_{safe} gauge", f"visavis_{safe} {value}"]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def figures(self) -> dict[str, float]:
        """Every live figure, for /metrics and for reports."""
        assert self._api is not None
        assert self._sessions is not None
        figures = await self._api.live_figures()
        figures["sessions"] = float(len(self._sessions))
        figures["camera_connected"] = float(self._camera is not None and self._camera.connected)
        return figures


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
