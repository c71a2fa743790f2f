"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): one HTTP resource per WebRTC session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import web

from transport.http.security import Refusal, is_loopback
from transport.webrtc.encoders import Codec
from transport.webrtc.offer import (
    CODEC_NAMES,
    MAX_SDP_BYTES,
    OfferError,
    Role,
    read_fragment,
    read_offer,
)
from transport.webrtc.sessions import Session, Sessions

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
BODY_TIMEOUT_S = 10.0
RETRY_AFTER_S = "5"


class Signalling:
    """Answers requests for one stream's sessions."""

    def __init__(self, sessions: Sessions, ice_servers: Sequence[str]) -> None:
        self._sessions = sessions
        self._links = [f'<{url}>; rel="ice-server"' for url in ice_servers]

    async def open(self, request: web.Request, *, role: Role) -> web.Response:
        if request.content_type != SDP:
            raise Refusal(415, f"the body must be {SDP}", {"Accept-Post": SDP})
        text = await read_text(request, MAX_SDP_BYTES)
        try:
            offer = read_offer(text, role, _wished_codec(request))
            if role == "watch":
                on_this_machine = is_loopback(request.remote or "")
                session, answer = await self._sessions.watch(offer, on_this_machine=on_this_machine)
            else:
                session, answer = await self._sessions.send(offer)
        except OfferError as error:
            headers = {"Retry-After": RETRY_AFTER_S} if error.status == 503 else {}
            raise Refusal(error.status, str(error), headers) from error
        response = web.Response(text=answer, status=201, content_type=SDP)
        response.headers["Location"] = f"{request.path}/{session.id}"
        response.headers["ETag"] = session.etag
        response.headers["Accept-Patch"] = FRAGMENT
        for link in self._links:
            response.headers.add("Link", link)
        return response

    async def patch(self, request: web.Request, *, role: Role) -> web.Response:
        session = self._find(request, role)
        if request.content_type != FRAGMENT:
            raise Refusal(415, f"the body must be {FRAGMENT}", {"Accept-Patch": FRAGMENT})
        condition = request.headers.get("If-Match")
        if condition is None:
            raise Refusal(428, "If-Match is missing: send the session's ETag")
        if condition.strip() == "*":
            # RFC 9725 section 4.3.3: this is how a client asks for an ICE restart
            raise Refusal(422, "ICE restarts are not supported here; close this session, open another")
        if condition.strip() != session.etag:
            raise Refusal(412, "If-Match names another state of this session")
        text = await read_text(request, MAX_SDP_BYTES)
        try:
            await self._sessions.patch(session, read_fragment(text))
        except OfferError as error:
            raise Refusal(error.status, str(error)) from error
        return web.Response(status=204, headers={"ETag": session.etag})

    async def end(self, request: web.Request, *, role: Role) -> web.Response:
        if not await self._sessions.end(request.match_info["id"], role):
            raise _unknown_session()
        return web.Response(status=200)

    async def endpoint_options(self, request: web.Request) -> web.Response:
        response = web.Response(status=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
        for link in self._links:
            response.headers.add("Link", link)
        return response

    async def session_options(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Accept-Patch": FRAGMENT, "Allow": "DELETE, OPTIONS, PATCH"})

    def _find(self, request: web.Request, role: Role) -> Session:
        session = self._sessions.find(request.match_info["id"], role)
        if session is None:
            raise _unknown_session()
        return session


ROUTES: list[tuple[str, str, Callable[[Signalling, web.Request], Awaitable[web.Response]]]] = [
    ("POST", "/whep", partial(Signalling.open, role="watch")),
    ("OPTIONS", "/whep", Signalling.endpoint_options),
    ("PATCH", "/whep/{id}", partial(Signalling.patch, role="watch")),
    ("DELETE", "/whep/{id}", partial(Signalling.end, role="watch")),
    ("OPTIONS", "/whep/{id}", Signalling.session_options),
    ("POST", "/whip", partial(Signalling.open, role="send")),
    ("OPTIONS", "/whip", Signalling.endpoint_options),
    ("PATCH", "/whip/{id}", partial(Signalling.patch, role="send")),
    ("DELETE", "/whip/{id}", partial(Signalling.end, role="send")),
    ("OPTIONS", "/whip/{id}", Signalling.session_options),
]


def _unknown_session() -> Refusal:
    return Refusal(404, "no such session: it was closed or never opened")


async def read_bytes(request: web.Request, limit: int) -> bytes:
    """The whole body. Raises Refusal: 413 beyond `limit` bytes, 408 when it does not come in time."""
    too_large = Refusal(413, f"the body is larger than {limit // 1024} KB")
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        raise Refusal(408, "the body did not arrive in time") from error
    return bytes(body)


async def read_text(request: web.Request, limit: int) -> str:
    """The whole body as text. Raises Refusal: as `read_bytes`, and 400 when it is not UTF-8."""
    try:
        return (await read_bytes(request, limit)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(400, "the body is not UTF-8 text") from error


def _wished_codec(request: web.Request) -> Codec | None:
    """`?codec=vp8` asks for VP8 although H.264 is offered, `?codec=h264` the other way round."""
    wish = request.query.get("codec", "").lower()
    for codec in CODEC_NAMES:
        if wish == codec:
            return codec
    return None
