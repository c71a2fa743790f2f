"""WebRTC sessions: those who watch, and the one who sends a camera."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError

from transport.webrtc.broadcast import Broadcast, Viewer
from transport.webrtc.camera import BrowserCamera
from transport.webrtc.encoders import Codec
from transport.webrtc.offer import (
    CODEC_NAMES,
    MAX_CANDIDATES,
    Fragment,
    Offer,
    OfferError,
    Role,
    with_camera_bitrate,
)
from transport.webrtc.patches import OutletTrack, deliver_to, is_on_this_machine, send_from

logger = logging.getLogger(__name__)

MAX_GONE = 64
CONNECT_TIMEOUT_S = 20.0  # a session that has not connected by then is forgotten


@dataclass(slots=True)
class Session:
    """One connection and its WHIP or WHEP resource."""

    role: Role
    connection: RTCPeerConnection
    ice_ufrag: str
    codec: Codec
    viewer: Viewer | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    etag: str = field(default_factory=lambda: f'"{secrets.token_hex(8)}"')
    opened_s: float = field(default_factory=time.monotonic)
    num_candidates: int = 0
    closed: bool = False
    task: asyncio.Task[None] | None = None  # the one that gives up on a session that never connects
    last_bytes: tuple[float, int] = (0.0, 0)


class Sessions:
    """Every open session of a server. All methods run on its event loop."""

    def __init__(
        self,
        broadcast: Broadcast,
        camera: BrowserCamera | None,
        *,
        max_viewers: int,
        ice_servers: Sequence[str] = (),
    ) -> None:
        self._broadcast = broadcast
        self._camera = camera
        self._max_viewers = max_viewers
        # an explicit empty list: aiortc's own default is a public STUN server
        self._configuration = RTCConfiguration(iceServers=[RTCIceServer(url) for url in ice_servers])
        self._sessions: dict[str, Session] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._gone: deque[tuple[str, Role]] = deque(maxlen=MAX_GONE)  # ended by their connections
        self._num_opening = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, session_id: str, role: Role) -> Session | None:
        session = self._sessions.get(session_id)
        return session if session is not None and session.role == role else None

    def viewers(self) -> list[Session]:
        return [session for session in self._sessions.values() if session.viewer is not None]

    async def watch(self, offer: Offer, *, on_this_machine: bool) -> tuple[Session, str]:
        """Open a session that watches; gives it and the SDP answer.

        Raises OfferError: 503 when there are as many viewers as allowed, 400 or 406 for the offer.
        """
        if len(self.viewers()) + self._num_opening >= self._max_viewers:
            raise OfferError(503, f"{self._max_viewers} viewers are watching already; try again later")
        connection = RTCPeerConnection(self._configuration)
        transceiver = connection.addTransceiver(OutletTrack(), direction="sendonly")
        _prefer(transceiver, offer.codec)
        self._num_opening += 1
        try:
            answer = await self._answer(connection, offer)
        finally:
            self._num_opening -= 1
        viewer = self._broadcast.add_viewer(offer.codec, unlimited=on_this_machine)
        send_from(transceiver.sender, viewer)
        session = Session("watch", connection, offer.ice_ufrag, offer.codec, viewer)
        self._register(session)
        return session, answer

    async def send(self, offer: Offer) -> tuple[Session, str]:
        """Open the session that sends a camera; the newest sender takes the place of an older one.

        Raises OfferError: 403 when this server takes no camera, 400 or 406 for the offer.
        """
        camera = self._camera
        if camera is None:
            raise OfferError(403, "this server does not take a camera; start it with --browser")
        connection = RTCPeerConnection(self._configuration)

        @connection.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            deliver_to(track, camera.accept if track.kind == "video" else lambda frame, arrival_ns: None)

        answer = await self._answer(connection, offer)
        for other in [other for other in self._sessions.values() if other.role == "send"]:
            await self.close(other)
        session = Session("send", connection, offer.ice_ufrag, offer.codec)
        camera.begin()
        self._register(session)
        return session, with_camera_bitrate(answer)

    async def patch(self, session: Session, fragment: Fragment) -> None:
        """Add trickled candidates. Raises OfferError: 422 for an ICE restart, 400 for too many candidates."""
        if fragment.ice_ufrag not in (None, session.ice_ufrag):
            raise OfferError(422, "ICE restarts are not supported here; close this session and open another")
        session.num_candidates += len(fragment.candidates)
        if session.num_candidates > MAX_CANDIDATES:
            raise OfferError(400, f"more than {MAX_CANDIDATES} candidates")
        mids = {transceiver.mid for transceiver in session.connection.getTransceivers()}
        for candidate in fragment.candidates:
            if candidate.sdpMid not in mids:
                raise OfferError(400, f"no media section has the mid {candidate.sdpMid!r}")
            # a connection that is closing takes no candidates any more
            with contextlib.suppress(ValueError, ConnectionError, InvalidStateError):
                await session.connection.addIceCandidate(candidate)

    async def end(self, session_id: str, role: Role) -> bool:
        """End a session for its owner; False when there is none.

        Clients that close their connection first find the session ended already: that is no error.
        """
        session = self.find(session_id, role)
        if session is not None:
            await self.close(session)
            return True
        if (session_id, role) not in self._gone:
            return False
        self._gone.remove((session_id, role))
        return True

    async def close(self, session: Session) -> None:
        """End a session; closing twice does no harm."""
        if session.closed:
            return
        session.closed = True
        self._sessions.pop(session.id, None)
        if session.task is not None and session.task is not asyncio.current_task():
            session.task.cancel()
        if session.viewer is not None:
            self._broadcast.remove_viewer(session.viewer)
        elif self._camera is not None:
            self._camera.end()
        await session.connection.close()

    async def close_all(self) -> None:
        """End every session, those being closed included."""
        await asyncio.gather(*(self.close(session) for session in list(self._sessions.values())))
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def figures(self, session: Session) -> dict[str, float | str]:
        """Bitrate sent, loss, round trip and jitter of one viewer, as its receiver reports them."""
        figures: dict[str, float | str] = {
            "codec": session.codec,
            "state": session.connection.connectionState,
            "seconds": round(time.monotonic() - session.opened_s, 1),
        }
        viewer = session.viewer
        if viewer is None:
            return figures
        now = time.monotonic()
        since, before = session.last_bytes
        if now - since >= 0.5:
            session.last_bytes = (now, viewer.num_bytes)
            figures["bits_per_second"] = (
                round(8 * (viewer.num_bytes - before) / (now - since)) if since else 0
            )
        figures |= {
            "pictures": viewer.num_sent,
            "dropped_pictures": viewer.num_dropped,
            "level": viewer.rate.level,
            "estimated_bits_per_second": viewer.rate.estimate or 0,
        }
        for report in (await session.connection.getSenders()[0].getStats()).values():
            if report.type == "remote-inbound-rtp":
                figures["lost_packets"] = report.packetsLost
                figures["loss"] = round(report.fractionLost / 256, 4)
                if report.roundTripTime is not None:
                    figures["round_trip_ms"] = round(1e3 * report.roundTripTime, 2)
                figures["jitter_ms"] = round(report.jitter / 90, 2)
        return figures

    async def _answer(self, connection: RTCPeerConnection, offer: Offer) -> str:
        try:
            await connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
            answer = await connection.createAnswer()
            assert answer is not None
            await connection.setLocalDescription(answer)
        except (OperationError, InvalidAccessError) as error:
            await _discard(connection)
            raise OfferError(406, "the offer holds no codec that is served here") from error
        except Exception as error:
            # aiortc checks little: an offer that contradicts itself raises whatever Python raises
            await _discard(connection)
            logger.info("an offer could not be answered: %r", error)
            raise OfferError(400, "the offer cannot be answered: it contradicts itself") from error
        except BaseException:
            await _discard(connection)
            raise
        return connection.localDescription.sdp

    def _register(self, session: Session) -> None:
        self._sessions[session.id] = session

        @session.connection.on("connectionstatechange")
        def on_state() -> None:
            if session.connection.connectionState in ("failed", "closed"):
                self._close_soon(session)
            elif session.connection.connectionState == "connected" and session.viewer is not None:
                # the request may have come through a proxy on this machine, the pictures do not
                session.viewer.rate.unlimited = is_on_this_machine(session.connection)
                self._broadcast.update_rates()

        session.task = asyncio.create_task(self._expect_connection(session))

    async def _expect_connection(self, session: Session) -> None:
        await asyncio.sleep(CONNECT_TIMEOUT_S)
        if session.connection.connectionState != "connected":
            await self.close(session)

    def _close_soon(self, session: Session) -> None:
        if not session.closed:
            self._gone.append((session.id, session.role))
        task = asyncio.ensure_future(self.close(session))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _discard(connection: RTCPeerConnection) -> None:
    """Close a connection that an offer may have left half made."""
    try:
        await connection.close()
    except Exception as error:
        logger.info("a refused connection could not be closed: %r", error)


def _prefer(transceiver: object, codec: Codec) -> None:
    name = CODEC_NAMES[codec].lower()
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    chosen = [entry for entry in capabilities if entry.mimeType.lower() in (name, "video/rtx")]
    transceiver.setCodecPreferences(chosen)  # type: ignore[attr-defined]
