"""Reading SDP offers and trickled candidates of strangers: what is accepted, what is refused and why."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

import aiortc.sdp
from aiortc import RTCIceCandidate
from aiortc.sdp import MediaDescription, SessionDescription

from transport.webrtc.encoders import Codec

MAX_SDP_BYTES = 64 * 1024  # Chromium's video offer is 6 KB, with every codec and extension 20 KB
MAX_MEDIA_SECTIONS = 4
MAX_LINES = 1000
MAX_LINE_CHARACTERS = 4096
MAX_CANDIDATES = 64  # of one session, over its whole life

CODEC_NAMES: dict[Codec, str] = {"h264": "video/H264", "vp8": "video/VP8"}

# Chrome on its own starts a camera at 0.3 Mb/s and stays there: receiver reports (REMB) rise slowly.
CAMERA_BITRATE = "x-google-start-bitrate=1500;x-google-min-bitrate=600;x-google-max-bitrate=2500"

Role = Literal["watch", "send"]


class OfferError(ValueError):
    """An offer or a fragment that cannot be served; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Offer:
    """A checked offer."""

    sdp: str  # without candidates of hidden names, which only a browser on the same link could resolve
    codec: Codec  # the codec to use: the caller's wish, else H.264, else VP8
    ice_ufrag: str


def read_offer(text: str, role: Role, preferred: Codec | None = None) -> Offer:
    """Check an SDP offer to watch (it must receive video) or to send a camera (it must send video).

    Raises OfferError: 400 for what is no offer, 406 for media that is not served here.
    """
    description = _parse(text)
    if not description.media:
        raise OfferError(400, "the offer has no media section")
    if len(description.media) > MAX_MEDIA_SECTIONS:
        raise OfferError(406, f"the offer has more than {MAX_MEDIA_SECTIONS} media sections")
    videos = [media for media in description.media if media.kind == "video"]
    if any(media.kind not in ("audio", "video") for media in description.media) or len(videos) != 1:
        raise OfferError(406, "the offer must hold one video section and no data channel")
    video = videos[0]
    directions = ("recvonly", "sendrecv") if role == "watch" else ("sendonly", "sendrecv")
    if (video.direction or "sendrecv") not in directions:
        raise OfferError(406, f"the offer's video is {video.direction}, expected {' or '.join(directions)}")
    for media in description.media:
        _check_transport(media)
    _check_bundle(description)
    offered = [codec for codec in CODEC_NAMES if _offers(video, codec)]
    if not offered:
        raise OfferError(
            406, "the offer holds neither H.264 (baseline, packetization-mode 1) nor VP8 with a 90 kHz clock"
        )
    codec = preferred if preferred in offered else offered[0]
    ice = video.ice
    return Offer(_without_hidden_candidates(text), codec, str(ice.usernameFragment if ice else ""))


@dataclass(frozen=True, slots=True)
class Fragment:
    """A trickled SDP fragment (RFC 8840)."""

    ice_ufrag: str | None
    candidates: tuple[RTCIceCandidate, ...] = field(default=())
    is_end: bool = False


def read_fragment(text: str) -> Fragment:
    """Read the body of a PATCH. Raises OfferError 400 for what is no fragment."""
    lines = _lines(text)
    ice_ufrag: str | None = None
    mid: str | None = None
    is_end = False
    candidates = []
    for line in lines:
        if not re.fullmatch(r"[a-z]=.*", line):
            raise OfferError(400, "the body is no SDP fragment")
        if line.startswith("a=ice-ufrag:"):
            ice_ufrag = line.partition(":")[2].strip()
        elif line.startswith("a=mid:"):
            mid = line.partition(":")[2].strip()
        elif line.startswith("a=end-of-candidates"):
            is_end = True
        elif line.startswith("a=candidate:"):
            candidate = _read_candidate(line.partition(":")[2])
            if candidate is not None:
                candidate.sdpMid = mid if mid is not None else "0"
                candidates.append(candidate)
    if len(candidates) > MAX_CANDIDATES:
        raise OfferError(400, f"more than {MAX_CANDIDATES} candidates")
    return Fragment(ice_ufrag, tuple(candidates), is_end)


def with_camera_bitrate(answer: str) -> str:
    """The answer to a camera's offer, asking Chrome to start at a useful bitrate."""
    lines = []
    for line in answer.split("\r\n"):
        if line.startswith("a=fmtp:") and "packetization-mode" in line:
            line += ";" + CAMERA_BITRATE
        lines.append(line)
        match = re.match(r"a=rtpmap:(\d+) VP8/", line)
        if match:
            lines.append(f"a=fmtp:{match[1]} {CAMERA_BITRATE}")
    return "\r\n".join(lines)


def _parse(text: str) -> SessionDescription:
    lines = _lines(text)
    if not lines or lines[0] != "v=0":
        raise OfferError(400, "the body is no SDP offer: it must begin with v=0")
    try:
        return SessionDescription.parse(text)
    except Exception as error:
        # aiortc's parser is no validator: on broken lines it raises whatever Python raises, StopIteration too
        raise OfferError(400, "the body is no SDP offer that can be read") from error


def _lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) > MAX_LINES or any(len(line) > MAX_LINE_CHARACTERS for line in lines):
        raise OfferError(400, "the SDP is longer than any browser's")
    return [line for line in lines if line]


def _check_transport(media: MediaDescription) -> None:
    ice, dtls = media.ice, media.dtls
    # RFC 8839 section 5.4: 4 to 256 characters of user name, 22 to 256 of password
    if ice is None or not re.fullmatch(r"[A-Za-z0-9+/=_-]{1,256}", ice.usernameFragment or ""):
        raise OfferError(400, "the offer has no ICE user name fragment")
    if not re.fullmatch(r"[A-Za-z0-9+/=_-]{1,256}", ice.password or ""):
        raise OfferError(400, "the offer has no ICE password")
    if dtls is None or not dtls.fingerprints:
        raise OfferError(400, "the offer has no DTLS fingerprint")
    if not media.rtcp_mux:
        raise OfferError(406, "the offer does not multiplex RTP and RTCP")
    if len(media.ice_candidates) > MAX_CANDIDATES:
        raise OfferError(400, f"the offer has more than {MAX_CANDIDATES} candidates")


def _check_bundle(description: SessionDescription) -> None:
    mids = [media.rtp.muxId for media in description.media]
    if len(set(mids)) != len(mids):
        raise OfferError(400, "two media sections of the offer have the same mid")
    for group in description.group:
        items = [str(item) for item in group.items]
        if group.semantic == "BUNDLE" and (len(set(items)) != len(items) or not set(items) <= set(mids)):
            raise OfferError(400, "the offer's BUNDLE group does not match its media sections")


def _offers(video: MediaDescription, codec: Codec) -> bool:
    for offered in video.rtp.codecs:
        if offered.mimeType.lower() != CODEC_NAMES[codec].lower() or offered.clockRate != 90_000:
            continue
        if codec == "vp8":
            return True
        profile = str(offered.parameters.get("profile-level-id", "42e01f")).lower()
        if str(offered.parameters.get("packetization-mode", "0")) == "1" and profile.startswith("42"):
            return True
    return False


def _without_hidden_candidates(text: str) -> str:
    """Leave out what cannot be reached, and the mark that no more come.

    Browsers hide their addresses behind names of the local link (mDNS); asking for those costs seconds and
    sends requests into the network. Their own checks reach us, and their address shows itself then.
    """
    kept = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith("a=end-of-candidates"):
            continue
        if line.startswith("a=candidate:") and _read_candidate(line.partition(":")[2]) is None:
            continue
        kept.append(line)
    return "\r\n".join(kept)


def _read_candidate(text: str) -> RTCIceCandidate | None:
    """A candidate, or None for one that cannot be used: hidden, broken or over TCP."""
    try:
        candidate = aiortc.sdp.candidate_from_sdp(text)
        ipaddress.ip_address(candidate.ip)
    except (ValueError, LookupError, AssertionError):
        return None
    usable = candidate.protocol.lower() == "udp" and 0 < candidate.port < 65536 and candidate.component == 1
    return candidate if usable else None
