"""Who may talk to the server: host names, origins, the token, and the headers every answer carries."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)

# The page holds everything it needs; nothing it shows may come from, or go to, another address.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob: mediastream:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
SAFETY_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
EXPOSED_HEADERS = "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After"
ALLOWED_REQUEST_HEADERS = "Authorization, Content-Type, If-Match"
PREFLIGHT_SECONDS = "600"


class Refusal(Exception):
    """A request that is not granted; the message is one line for the visitor."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def is_loopback(host: str) -> bool:
    """Whether an address or host name can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def make_token() -> str:
    """A token nobody guesses, short enough for an address line."""
    return secrets.token_urlsafe(18)


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Which requests are let in.

    Host names: on this machine only loopback names pass, so that a foreign name that was made to point here
    (DNS rebinding) does not; elsewhere plain addresses, this machine's own names and `allow_hosts` pass.
    Origins: a browser page of another origin is refused unless `allow_origins` names it.
    """

    host: str  # the address listened on
    token: str | None = None
    allow_origins: frozenset[str] = frozenset()
    allow_hosts: frozenset[str] = frozenset()  # in small letters, without ports
    public_paths: frozenset[str] = frozenset()  # need no token

    def allows_host(self, header: str | None) -> bool:
        """Judge a Host header, with or without a port."""
        name = _host_name(header or "")
        if name is None:
            return False
        if name in self.allow_hosts or is_loopback(name):
            return True
        if is_loopback(self.host):
            return False
        own_name = socket.gethostname().lower()
        return _is_address(name) or name in (own_name, f"{own_name}.local", self.host.lower())

    def allows_token(self, header: str | None) -> bool:
        """Judge an Authorization header."""
        if self.token is None:
            return True
        scheme, _, given = (header or "").partition(" ")
        # compared in constant time: the answer's delay must not tell how much was right
        return scheme.lower() == "bearer" and hmac.compare_digest(_bytes(given.strip()), _bytes(self.token))

    def allows_origin(self, request: web.Request) -> bool:
        """Judge Origin and Sec-Fetch-Site: no header (not a browser), our own origin, or one allowed.

        Under a name of `allow_hosts` a proxy may hold the certificate: https is our own there as well.
        """
        origin = request.headers.get("Origin")
        if origin is None:
            # a page elsewhere can make a browser fetch pictures and scripts without an Origin header
            return request.headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site") or (
                request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"
            )
        own = {f"{request.scheme}://{request.host}"}
        if _host_name(request.host) in self.allow_hosts:
            own.add(f"https://{request.host}")
        return origin in self.allow_origins or origin in own


def _bytes(text: str) -> bytes:
    """What came over the wire or from the command line, UTF-8 or not."""
    return text.encode("utf-8", "surrogateescape")


def _host_name(header: str) -> str | None:
    """A Host header's name in small letters, without the port."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def make_guard(rules: AccessRules) -> Middleware:
    """The middleware in front of every handler: checks, CORS, and answers without stack traces."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await _guarded(request, handler)
        except Refusal as refusal:
            response = _error_response(refusal.status, str(refusal), refusal.headers)
        except web.HTTPException as error:
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            response = _error_response(error.status, _REASONS.get(error.status, error.reason), headers)
        except (ConnectionError, TimeoutError):
            response = _error_response(408, "the request did not arrive in time", {})
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            response = _error_response(500, "something went wrong here; the server's log says more", {})
        if not response.prepared:
            response.headers.update(SAFETY_HEADERS)
            _add_cors(request, response)
        return response

    async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not rules.allows_host(request.headers.get("Host")):
            raise Refusal(403, "this host name does not belong to the server; use its address")
        if not rules.allows_origin(request):
            raise Refusal(403, "pages of this origin are not let in; start the server with --allow-origin")
        if request.method == "OPTIONS":
            return await handler(request)  # a preflight carries no token and learns nothing but the rules
        is_public = request.path in rules.public_paths
        if not is_public and not rules.allows_token(request.headers.get("Authorization")):
            raise Refusal(
                401,
                "a token is needed: open the address the server printed",
                {"WWW-Authenticate": 'Bearer realm="visavis"'},
            )
        return await handler(request)

    def _add_cors(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("Origin")
        if rules.allow_origins:
            response.headers["Vary"] = "Origin"
        if origin is None or origin not in rules.allow_origins:
            return
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
            if request.headers.get("Access-Control-Request-Private-Network") == "true":
                response.headers["Access-Control-Allow-Private-Network"] = "true"

    return guard


_REASONS = {
    404: "there is nothing at this address",
    405: "this method is not served here",
    413: "the request is larger than allowed",
}


def _error_response(status: int, message: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"error": message}, status=status, headers=headers)
