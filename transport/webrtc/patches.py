"""Every change this project makes to aiortc's insides, in one place; made for exactly the pinned version.

aiortc has no public way to hand in encoded pictures, to ask for no playout delay, or to release a frame when
its last packet arrives. What stands here replaces those pieces and nothing else: `install` puts the global
ones in, `send_from` and `deliver_to` work on one sender or one track.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import aioice.ice
import aiortc
import aiortc.rtp
import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, rtcrtpreceiver
from aiortc.codecs import HEADER_EXTENSIONS, get_decoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import RTP_HISTORY_SIZE, RtpPacket
from aiortc.utils import uint16_add, uint16_gt

from transport.errors import OutputError
from transport.webrtc.encoders import EncodedPicture, split_annex_b

PINNED = {"aiortc": "1.16.0", "aioice": "0.13.0"}  # aioice finds the ways for aiortc

PLAYOUT_DELAY_URI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
PLAYOUT_DELAY_ID = 4  # when we offer; an answer uses the offer's own number
NO_PLAYOUT_DELAY = b"\x00\x00\x00"  # 12 bits minimum, 12 bits maximum, both 0: show at once

NACK_INTERVAL_S = 0.02
GIVE_UP_S = 0.3  # a packet that did not come by then is skipped and a key frame asked for
PLI_INTERVAL_S = 0.3

# A vanished peer is noticed after 5 missed answers, 2 s apart (stock: 6, 5 s apart).
CONSENT_FAILURES = 5
CONSENT_INTERVAL_S = 2

logger = logging.getLogger(__name__)
_installed = False


def check_version() -> None:
    """Raise OutputError when aiortc or aioice is not the version these patches were made for."""
    for package, pinned in PINNED.items():
        if (found := version(package)) != pinned:
            raise OutputError(
                f"{package} {found} is installed, WebRTC here needs exactly {pinned}; "
                f"run: pip install {package}=={pinned}"
            )


def install() -> None:
    """Put every global patch in; calling it again changes nothing. Raises OutputError on another version."""
    global _installed
    check_version()
    if _installed:
        return
    _installed = True
    _install_playout_delay()
    _install_loss_recovery()
    _install_quick_end()
    rtcrtpreceiver.JitterBuffer = _make_jitter_buffer  # type: ignore[assignment, misc]
    rtcrtpreceiver.decoder_worker = decode_arriving
    aioice.ice.CONSENT_FAILURES = CONSENT_FAILURES
    aioice.ice.CONSENT_INTERVAL = CONSENT_INTERVAL_S
    aioice.ice.get_host_addresses = _with_loopback(aioice.ice.get_host_addresses)
    aioice.ice.server_reflexive_candidate = _not_from_loopback(aioice.ice.server_reflexive_candidate)


# --- sending: encoded pictures instead of frames --------------------------------------------------------


class PictureOutlet(Protocol):
    """Where a sender gets its encoded pictures, and whom it tells what the receiver wants."""

    target_bitrate: int  # bits per second; set whenever the receiver reports what its link carries (REMB)

    async def next_picture(self) -> PackedPicture: ...

    def request_key_frame(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """An encoded picture cut into RTP payloads; shared by all its viewers."""

    picture: EncodedPicture
    payloads: list[bytes]


class OutletTrack(MediaStreamTrack):
    """Stands where aiortc wants a track; the pictures themselves go past it."""

    kind = "video"

    async def recv(self) -> Any:
        raise MediaStreamError


def pack_picture(picture: EncodedPicture, picture_id: int) -> PackedPicture:
    """Cut a picture into RTP payloads (RFC 6184, RFC 7741). `picture_id` counts VP8 pictures, 15 bits."""
    if picture.codec == "h264":
        payloads = H264Encoder._packetize(split_annex_b(picture.data))
    else:
        payloads = Vp8Encoder._packetize(picture.data, picture_id & 0x7FFF)
    return PackedPicture(picture, payloads)


def send_from(sender: RTCRtpSender, outlet: PictureOutlet) -> None:
    """Make a video sender send the outlet's pictures; key-frame wishes and bitrate reports go to it.

    A receiver that asks for a packet no longer kept gets a key frame. It would not ask for one itself before
    three seconds had passed, as after a browser tab that slept.
    """

    async def next_encoded_frame(codec: RTCRtpCodecParameters) -> RTCEncodedFrame:
        packed = await outlet.next_picture()
        return RTCEncodedFrame(packed.payloads, packed.picture.ticks & 0xFFFFFFFF, None)  # type: ignore[arg-type]

    patched: Any = sender
    stock_retransmit = patched._retransmit

    async def retransmit(sequence_number: int) -> None:
        kept = patched._RTCRtpSender__rtp_history.get(sequence_number % RTP_HISTORY_SIZE)
        if kept is None or kept.sequence_number != sequence_number:
            outlet.request_key_frame()
        else:
            await stock_retransmit(sequence_number)

    patched._retransmit = retransmit
    patched._next_encoded_frame = next_encoded_frame
    patched._send_keyframe = outlet.request_key_frame  # stock: a flag its own encoder reads
    patched._RTCRtpSender__encoder = outlet  # stock: sets `target_bitrate` on it when a REMB arrives


# --- playout delay ---------------------------------------------------------------------------------------


def _install_playout_delay() -> None:
    """Offer and send the playout-delay header extension 0/0: 25 ms less between arrival and display."""
    HEADER_EXTENSIONS["video"].append(
        RTCRtpHeaderExtensionParameters(id=PLAYOUT_DELAY_ID, uri=PLAYOUT_DELAY_URI)
    )
    extensions_map: Any = aiortc.rtp.HeaderExtensionsMap
    stock_configure, stock_set = extensions_map.configure, extensions_map.set

    def configure(self: Any, parameters: Any) -> None:
        stock_configure(self, parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == PLAYOUT_DELAY_URI:
                self.playout_delay_id = extension.id

    def set_(self: Any, values: Any) -> tuple[int, bytes]:
        profile, value = stock_set(self, values)
        extension_id = getattr(self, "playout_delay_id", None)
        if extension_id is None:
            return profile, value
        extensions = aiortc.rtp.unpack_header_extensions(profile, value) if value else []
        return aiortc.rtp.pack_header_extensions([*extensions, (extension_id, NO_PLAYOUT_DELAY)])

    extensions_map.configure = configure
    extensions_map.set = set_


# --- receiving: frames without waiting --------------------------------------------------------------------


class ArrivedFrame(JitterFrame):
    """An encoded frame with the moment its last packet came."""

    def __init__(self, data: bytes, timestamp: int, after_gap: bool) -> None:
        super().__init__(data, timestamp)
        self.arrival_ns = time.time_ns()
        self.after_gap = after_gap  # a frame before it was given up: its references are damaged


class MarkerJitterBuffer(JitterBuffer):
    """Lets a video frame go when its marker packet completes it, not when the next frame's packet comes.

    A packet may be lost for good: `skip_lost` then moves on to the next frame that begins behind the hole.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, is_video=True)
        self._after_gap = False
        self._waiting_since: float | None = None  # since when packets wait behind a missing one

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        lost_all, frame = super().add(packet)
        self._after_gap |= lost_all
        first: Any = self._packets[self._origin % self._capacity]  # type: ignore[operator]
        if frame is not None or not self._holds(packet):
            self._waiting_since = None
        elif self._waiting_since is None and (first is None or first.timestamp != packet.timestamp):
            self._waiting_since = time.monotonic()
        return lost_all, frame

    def next_complete(self) -> JitterFrame | None:
        """Another whole frame, if one stands ready: a late packet may complete several."""
        return self._remove_frame(0)

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        packets: list[Any] = []
        for count in range(self._capacity):
            packet: Any = self._packets[(self._origin + count) % self._capacity]  # type: ignore[operator]
            if packet is None:
                return None
            if packets and packet.timestamp != packets[0].timestamp:
                # a sender that sets no marker: the next frame's first packet ends this one
                return self._release(packets)
            packets.append(packet)
            if packet.marker:
                return self._release(packets)
        return None

    def _release(self, packets: list[Any]) -> ArrivedFrame:
        self.remove(len(packets))
        after_gap, self._after_gap = self._after_gap, False
        return ArrivedFrame(b"".join(packet._data for packet in packets), packets[0].timestamp, after_gap)

    def _holds(self, packet: RtpPacket) -> bool:
        return self._packets[packet.sequence_number % self._capacity] is packet

    def is_behind(self, sequence_number: int) -> bool:
        """Whether this packet's place has already been given away."""
        return self._origin is not None and uint16_gt(self._origin, sequence_number)

    def skip_lost(self) -> bool:
        """Give up on a packet missing for longer than GIVE_UP_S; True when something was skipped."""
        if self._waiting_since is None or time.monotonic() - self._waiting_since < GIVE_UP_S:
            return False
        self._waiting_since = None
        origin = self._origin or 0
        num_skipped = 0  # up to behind the last packet held, or to the first whole frame's beginning
        follows_marker = False
        for count in range(self._capacity):
            packet = self._packets[(origin + count) % self._capacity]
            if packet is not None and follows_marker:
                num_skipped = count
                break
            follows_marker = packet is not None and bool(packet.marker)
            if packet is not None:
                num_skipped = count + 1
        self.remove(num_skipped)
        self._after_gap = True
        return num_skipped > 0


class AudioJitterBuffer(JitterBuffer):
    """Lets each audio packet go as it comes and drops late ones; Opus conceals what is missing.

    Stock aiortc holds back 80 ms, and 280 ms for ever after one lost packet.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        if self._origin is not None and uint16_gt(self._origin, packet.sequence_number):
            return False, None
        self._origin = uint16_add(packet.sequence_number, 1)
        data: bytes = packet._data  # type: ignore[attr-defined]
        return False, ArrivedFrame(data, packet.timestamp, after_gap=False)


def _make_jitter_buffer(capacity: int, prefetch: int = 0, is_video: bool = False) -> JitterBuffer:
    return MarkerJitterBuffer(capacity) if is_video else AudioJitterBuffer(capacity)


def _install_loss_recovery() -> None:
    """Ask again every 20 ms for packets still missing; stock aiortc asks once, and a lost answer freezes."""
    stock_receive = RTCRtpReceiver.receive
    stock_handle = RTCRtpReceiver._handle_rtp_packet

    async def receive(self: Any, parameters: Any) -> None:
        was_started = self._RTCRtpReceiver__started
        await stock_receive(self, parameters)
        if not was_started and self._track is not None and self._track.kind == "video":
            # the loop keeps only a weak reference to tasks; the receiver keeps this one
            self._loss_recovery = asyncio.ensure_future(_recover_losses(self))

    async def handle_rtp_packet(self: Any, packet: RtpPacket, arrival_time_ms: int) -> None:
        await stock_handle(self, packet, arrival_time_ms)
        buffer = self._RTCRtpReceiver__jitter_buffer
        if not isinstance(buffer, MarkerJitterBuffer) or buffer._origin is None:
            return
        while (frame := buffer.next_complete()) is not None:
            codecs = self._RTCRtpReceiver__codecs
            codec = codecs[packet.payload_type]
            if codec.name.lower() == "rtx":
                codec = codecs[codec.parameters["apt"]]
            frame.timestamp = self._RTCRtpReceiver__timestamp_mapper.map(frame.timestamp)
            self._RTCRtpReceiver__decoder_queue.put((codec, frame))

    RTCRtpReceiver.receive = receive  # type: ignore[method-assign]
    RTCRtpReceiver._handle_rtp_packet = handle_rtp_packet  # type: ignore[method-assign]


async def _recover_losses(receiver: Any) -> None:
    nacks = receiver._RTCRtpReceiver__nack_generator
    buffer = receiver._RTCRtpReceiver__jitter_buffer
    while receiver._RTCRtpReceiver__decoder_thread is not None:
        await asyncio.sleep(NACK_INTERVAL_S)
        for sequence_number in [number for number in nacks.missing if buffer.is_behind(number)]:
            nacks.missing.discard(sequence_number)
        ssrc = _media_ssrc(receiver)
        if ssrc is None:
            continue
        if buffer.skip_lost():
            await receiver._send_rtcp_pli(ssrc)
        if nacks.missing:
            await receiver._send_rtcp_nack(ssrc, sorted(nacks.missing))


def _media_ssrc(receiver: Any) -> int | None:
    """The stream of pictures, not the one of retransmissions."""
    retransmissions = receiver._RTCRtpReceiver__rtx_ssrc
    streams = receiver._RTCRtpReceiver__remote_streams
    return next((ssrc for ssrc in streams if ssrc not in retransmissions), None)


# --- decoding: straight to whoever wants the frames --------------------------------------------------------

FrameCallback = Callable[[Any, int], None]  # decoded av.VideoFrame or av.AudioFrame, arrival Unix ns


@dataclass(frozen=True, slots=True)
class _DirectDelivery:
    """Takes the place of a remote track's queue, which nobody would bound."""

    on_frame: FrameCallback


def deliver_to(track: MediaStreamTrack, on_frame: FrameCallback) -> None:
    """Hand a remote track's decoded frames to `on_frame` in the decoder's thread, past the event loop.

    Call it in the connection's "track" event.
    """
    track._queue = _DirectDelivery(on_frame)  # type: ignore[attr-defined]


def is_key_frame(codec_name: str, data: bytes) -> bool:
    """Whether an encoded video frame can be shown without the ones before it."""
    if codec_name == "H264":
        return any(unit[0] & 31 in (5, 7) for unit in split_annex_b(data))
    return bool(data) and not data[0] & 1


def decode_arriving(
    loop: asyncio.AbstractEventLoop,
    input_q: queue.Queue[Any],
    output_q: Any,
    decode_error: threading.Event,
) -> None:
    """Decode one track's frames until None comes; run by aiortc in a thread of its own.

    After a hole in the stream nothing is decoded until a key frame comes: a face made of wrong pieces would
    mislead the tracker more than a held picture.
    """
    decoder = None
    codec_name = None
    needs_key = False
    last_asked = 0.0
    while (task := input_q.get()) is not None:
        codec, encoded = task
        is_video = codec.mimeType.lower().startswith("video/")
        if codec.name != codec_name:
            decoder, codec_name = get_decoder(codec), codec.name
            needs_key = is_video
        assert decoder is not None
        needs_key = needs_key or getattr(encoded, "after_gap", False)
        if needs_key and is_video:
            if not is_key_frame(codec.name, encoded.data):
                if time.monotonic() - last_asked > PLI_INTERVAL_S:
                    last_asked = time.monotonic()
                    decode_error.set()  # the receiver answers with a picture loss indication
                continue
            needs_key = False
        try:
            frames = decoder.decode(encoded)
        except av.FFmpegError as error:
            logger.info("a received %s frame cannot be decoded: %s", codec.name, error)
            needs_key = True
            decode_error.set()
            continue
        arrival_ns = getattr(encoded, "arrival_ns", 0) or time.time_ns()
        for frame in frames:
            _pass_on(loop, output_q, frame, arrival_ns)
    if not isinstance(output_q, _DirectDelivery):
        with contextlib.suppress(RuntimeError):  # the loop may be gone already
            asyncio.run_coroutine_threadsafe(output_q.put(None), loop)


def _pass_on(loop: asyncio.AbstractEventLoop, output_q: Any, frame: Any, arrival_ns: int) -> None:
    if isinstance(output_q, _DirectDelivery):
        output_q.on_frame(frame, arrival_ns)
        return
    with contextlib.suppress(RuntimeError):
        asyncio.run_coroutine_threadsafe(output_q.put(frame), loop)


def _install_quick_end() -> None:
    """Wait for a decoder's thread beside the event loop; stock aiortc waits on it, for all viewers."""
    stock_stop = RTCRtpReceiver.stop

    def stop_decoder(self: Any) -> None:
        thread = self._RTCRtpReceiver__decoder_thread
        if thread is not None:
            self._RTCRtpReceiver__decoder_queue.put(None)
            self._RTCRtpReceiver__decoder_thread = None
            self._ending_decoder = thread

    async def stop(self: Any) -> None:
        await stock_stop(self)
        thread = getattr(self, "_ending_decoder", None)
        if thread is not None:
            await asyncio.to_thread(thread.join)

    RTCRtpReceiver._RTCRtpReceiver__stop_decoder = stop_decoder  # type: ignore[attr-defined]
    RTCRtpReceiver.stop = stop  # type: ignore[method-assign]


# --- addresses ---------------------------------------------------------------------------------------------


def is_on_this_machine(connection: RTCPeerConnection) -> bool:
    """Whether the media of an established connection stays on this machine."""
    ice: Any = connection.getTransceivers()[0].sender.transport.transport._connection
    pair = ice._nominated.get(1)
    if pair is None:
        return False
    remote = str(pair.remote_addr[0]).partition("%")[0]
    return remote in aioice.ice.get_host_addresses(True, True)


def _with_loopback(stock: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Gather 127.0.0.1 as well, so that a machine without a network can still show its own page."""

    def get_host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        addresses = stock(use_ipv4, use_ipv6)
        return [*addresses, "127.0.0.1"] if use_ipv4 else addresses

    return get_host_addresses


def _not_from_loopback(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Ask no STUN server elsewhere from 127.0.0.1: no answer would come, and gathering waits 5 s for it."""

    async def server_reflexive_candidate(protocol: Any, stun_server: tuple[str, int]) -> Any:
        if protocol.local_candidate.host == "127.0.0.1" != stun_server[0]:
            raise ConnectionError("a STUN server cannot be reached from 127.0.0.1")
        return await stock(protocol, stun_server)

    return server_reflexive_candidate
