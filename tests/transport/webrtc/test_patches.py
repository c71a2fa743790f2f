"""Each change to aiortc's insides, on its own; the network tests show them together."""

from __future__ import annotations

import asyncio
import queue
import threading
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import aiortc
import av
import numpy as np
import pytest
from aiortc import rtcrtpreceiver
from aiortc.codecs import CODECS, HEADER_EXTENSIONS
from aiortc.codecs.h264 import H264PayloadDescriptor
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import (
    RTP_HISTORY_SIZE,
    HeaderExtensions,
    HeaderExtensionsMap,
    RtpPacket,
    unpack_header_extensions,
)
from hypothesis import given
from hypothesis import strategies as st

from transport.errors import OutputError
from transport.webrtc import patches as aiortc_patches
from transport.webrtc.encoders import EncodedPicture, X264Encoder, to_i420
from transport.webrtc.patches import (
    GIVE_UP_S,
    PLAYOUT_DELAY_URI,
    AudioJitterBuffer,
    MarkerJitterBuffer,
    decode_arriving,
    deliver_to,
    is_key_frame,
    pack_picture,
    send_from,
)


@pytest.fixture(autouse=True)
def installed() -> None:
    aiortc_patches.install()


def rtp(sequence_number: int, timestamp: int, *, marker: bool = False, data: bytes = b"x") -> RtpPacket:
    packet = RtpPacket(
        payload_type=97, sequence_number=sequence_number & 0xFFFF, timestamp=timestamp, marker=int(marker)
    )
    packet._data = data  # type: ignore[attr-defined]
    return packet


def picture(size: int = 128, frames: int = 1, keys: tuple[int, ...] = (0,)) -> list[EncodedPicture]:
    encoder = X264Encoder(size, size, fps=30, bitrate=2_000_000, max_bitrate=2_000_000)
    noise = np.random.default_rng(1).integers(0, 256, (frames, size, size, 3)).astype(np.uint8)
    return [encoder.encode(to_i420(noise[i]), 3000 * i, i in keys, 100 + i) for i in range(frames)]


def test_another_aiortc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc_patches, "version", {"aiortc": "1.17.3", "aioice": "0.13.0"}.get)
    with pytest.raises(OutputError, match=r"aiortc 1\.17\.3 .* pip install aiortc==1\.16\.0"):
        aiortc_patches.check_version()


def test_the_pinned_version_is_installed_once() -> None:
    aiortc_patches.check_version()
    aiortc_patches.install()
    assert sum(entry.uri == PLAYOUT_DELAY_URI for entry in HEADER_EXTENSIONS["video"]) == 1
    ids = [entry.id for kind in HEADER_EXTENSIONS.values() for entry in kind]
    shared = [entry.id for entry in HEADER_EXTENSIONS["audio"] if entry in HEADER_EXTENSIONS["video"]]
    assert len(set(ids)) == len(ids) - len(shared)


def test_playout_delay_0_0_is_sent_only_when_agreed() -> None:
    values = HeaderExtensions(abs_send_time=1, mid="0")
    agreed, refused = HeaderExtensionsMap(), HeaderExtensionsMap()
    send_time = RTCRtpHeaderExtensionParameters(
        id=3, uri="http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
    )
    delay = RTCRtpHeaderExtensionParameters(id=12, uri=PLAYOUT_DELAY_URI)
    agreed.configure(RTCRtpParameters(headerExtensions=[send_time, delay]))
    refused.configure(RTCRtpParameters(headerExtensions=[send_time]))
    assert dict(unpack_header_extensions(*agreed.set(values))) == {3: b"\x00\x00\x01", 12: b"\x00\x00\x00"}
    assert dict(unpack_header_extensions(*refused.set(values))) == {3: b"\x00\x00\x01"}


def test_a_packet_asked_for_too_late_brings_a_key_frame() -> None:
    again: list[int] = []
    wishes: list[str] = []

    async def stock(sequence_number: int) -> None:
        again.append(sequence_number)

    sender: Any = SimpleNamespace(_retransmit=stock)
    newest = 1000
    sender._RTCRtpSender__rtp_history = {
        number % RTP_HISTORY_SIZE: rtp(number, 0)
        for number in range(newest - RTP_HISTORY_SIZE + 1, newest + 1)
    }
    send_from(sender, SimpleNamespace(request_key_frame=lambda: wishes.append("key")))  # type: ignore[arg-type]
    asyncio.run(sender._retransmit(newest))
    asyncio.run(sender._retransmit(newest - RTP_HISTORY_SIZE + 1))
    assert again == [newest, newest - RTP_HISTORY_SIZE + 1]
    assert wishes == []
    asyncio.run(sender._retransmit(newest - RTP_HISTORY_SIZE))
    assert len(again) == 2
    assert wishes == ["key"]


def test_h264_is_cut_and_put_together_again() -> None:
    (encoded,) = picture(size=512)
    packed = pack_picture(encoded, 0)
    assert len(packed.payloads) > 3
    assert max(len(payload) for payload in packed.payloads) <= 1300
    assert b"".join(H264PayloadDescriptor.parse(payload)[1] for payload in packed.payloads) == encoded.data


def test_vp8_is_cut_and_put_together_again() -> None:
    data = bytes(range(256)) * 20
    packed = pack_picture(EncodedPicture(data, 0, True, 0, 8, 8, "vp8"), 40_000)
    parts = [VpxPayloadDescriptor.parse(payload) for payload in packed.payloads]
    assert b"".join(part for _, part in parts) == data
    assert [descriptor.partition_start for descriptor, _ in parts] == [1, 0, 0, 0]
    assert {descriptor.picture_id for descriptor, _ in parts} == {40_000 & 0x7FFF}


def test_a_video_frame_goes_with_its_marker() -> None:
    buffer = MarkerJitterBuffer(64)
    assert buffer.add(rtp(10, 0, data=b"a")) == (False, None)
    lost_all, frame = buffer.add(rtp(11, 0, marker=True, data=b"b"))
    assert not lost_all
    assert frame is not None
    assert (frame.data, frame.timestamp) == (b"ab", 0)


def test_a_sender_without_markers_is_understood() -> None:
    buffer = MarkerJitterBuffer(64)
    buffer.add(rtp(10, 0, data=b"a"))
    _, frame = buffer.add(rtp(11, 3000, data=b"b"))
    assert frame is not None
    assert frame.data == b"a"


def test_a_late_packet_frees_every_frame_behind_it() -> None:
    buffer = MarkerJitterBuffer(64)
    _, first = buffer.add(rtp(10, 0, marker=True, data=b"a"))
    assert first is not None
    assert buffer.add(rtp(12, 6000, marker=True, data=b"c"))[1] is None
    assert buffer.add(rtp(13, 9000, marker=True, data=b"d"))[1] is None
    _, frame = buffer.add(rtp(11, 3000, marker=True, data=b"b"))
    frames = [frame, buffer.next_complete(), buffer.next_complete()]
    assert [frame.data for frame in frames if frame is not None] == [b"b", b"c", b"d"]
    assert buffer.next_complete() is None


@given(order=st.permutations(range(12)), start=st.sampled_from([0, 65_530]))
def test_any_order_of_arrival_gives_the_frames_in_order(order: list[int], start: int) -> None:
    """Three packets a frame; sequence numbers may wrap."""
    order = [0, *[index for index in order if index]]  # the first packet of all tells where to begin
    buffer = MarkerJitterBuffer(64)
    frames: list[JitterFrame] = []
    for index in order:
        last = index % 3 == 2
        _, frame = buffer.add(rtp(start + index, index // 3 * 3000, marker=last, data=bytes([index])))
        while frame is not None:
            frames.append(frame)
            frame = buffer.next_complete()
    assert b"".join(frame.data for frame in frames) == bytes(range(12))
    assert [frame.timestamp for frame in frames] == [0, 3000, 6000, 9000]


@pytest.mark.parametrize(
    "lost", [{11}, {12}, {10, 11, 12}], ids=["middle", "marker of a frame", "a whole frame"]
)
def test_a_packet_lost_for_good_is_skipped(lost: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(aiortc_patches.time, "monotonic", lambda: now[0])
    buffer = MarkerJitterBuffer(64)
    assert buffer.add(rtp(9, 0, marker=True))[1] is not None
    for number in range(10, 19):  # three frames of three packets
        if number not in lost:
            frame_number = (number - 10) // 3
            assert buffer.add(rtp(number, 3000 + 3000 * frame_number, marker=number % 3 == 0))[1] is None
    now[0] += GIVE_UP_S - 0.01
    assert not buffer.skip_lost()
    now[0] += 0.02
    assert buffer.skip_lost()
    frame: Any = buffer.next_complete()
    assert frame is not None
    assert frame.after_gap
    assert buffer.is_behind(11)
    assert not buffer.skip_lost()


def test_a_hole_that_fills_in_time_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(aiortc_patches.time, "monotonic", lambda: now[0])
    buffer = MarkerJitterBuffer(64)
    buffer.add(rtp(9, 0, marker=True))
    buffer.add(rtp(11, 6000, marker=True))
    now[0] += GIVE_UP_S / 2
    assert buffer.add(rtp(10, 3000, marker=True))[1] is not None
    assert buffer.next_complete() is not None
    now[0] += GIVE_UP_S
    assert not buffer.skip_lost()


def test_audio_goes_at_once_and_late_packets_are_dropped() -> None:
    buffer = AudioJitterBuffer(16)
    played = []
    for number in (65_534, 65_535, 1, 0, 2):
        _, frame = buffer.add(rtp(number, 0, data=bytes([number & 255])))
        played.append(frame.data[0] if frame is not None else None)
    assert played == [254, 255, 1, None, 2]


def test_new_receivers_get_these_buffers() -> None:
    make: Any = rtcrtpreceiver.JitterBuffer
    assert isinstance(make(capacity=512, is_video=True), MarkerJitterBuffer)
    assert isinstance(make(capacity=16, prefetch=4), AudioJitterBuffer)


def h264_codec() -> Any:
    return next(codec for codec in CODECS["video"] if codec.name == "H264")


class Frame(JitterFrame):
    def __init__(self, encoded: EncodedPicture, after_gap: bool = False) -> None:
        super().__init__(encoded.data, encoded.ticks)
        self.after_gap = after_gap
        self.arrival_ns = encoded.capture_ns


def decode(frames: list[Frame]) -> tuple[list[int], bool]:
    """Run the decoder's thread over frames: arrival times shown, whether a key was asked for."""
    tasks: queue.Queue[Any] = queue.Queue()
    for frame in frames:
        tasks.put((h264_codec(), frame))
    tasks.put(None)
    shown: list[int] = []
    asked = threading.Event()
    track: Any = rtcrtpreceiver.RemoteStreamTrack("video")
    deliver_to(track, lambda frame, arrival_ns: shown.append(arrival_ns))
    loop = asyncio.new_event_loop()
    decode_arriving(loop, tasks, track._queue, asked)
    loop.close()
    return shown, asked.is_set()


def test_decoded_frames_come_with_their_arrival() -> None:
    assert decode([Frame(encoded) for encoded in picture(frames=4)]) == ([100, 101, 102, 103], False)


def test_nothing_is_shown_before_a_key_frame() -> None:
    encoded = picture(frames=5, keys=(0, 3))
    assert decode([Frame(entry) for entry in encoded[1:]]) == ([103, 104], True)


def test_after_a_hole_the_next_key_frame_is_awaited() -> None:
    encoded = picture(frames=6, keys=(0, 4))
    frames = [Frame(entry, after_gap=entry.capture_ns == 102) for entry in encoded if entry.capture_ns != 101]
    assert decode(frames) == ([100, 104, 105], True)


def test_garbage_asks_for_a_key_frame() -> None:
    encoded = picture(frames=1)
    broken = EncodedPicture(b"\x00\x00\x00\x01\x65garbage", 3000, True, 1, 8, 8, "h264")
    shown, asked = decode([Frame(encoded[0]), Frame(broken)])
    assert shown == [100]
    assert asked


def test_a_track_nobody_claims_keeps_the_stock_queue() -> None:
    async def run() -> int:
        tasks: queue.Queue[Any] = queue.Queue()
        tasks.put((h264_codec(), Frame(picture()[0])))
        tasks.put(None)
        track: Any = rtcrtpreceiver.RemoteStreamTrack("video")
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(decode_arriving, loop, tasks, track._queue, threading.Event())
        frame = await track.recv()
        with pytest.raises(aiortc.mediastreams.MediaStreamError):
            await track.recv()
        return int(frame.width)

    assert asyncio.run(run()) == 128


def test_key_frames_are_known() -> None:
    encoded = picture(frames=2)
    assert is_key_frame("H264", encoded[0].data)
    assert not is_key_frame("H264", encoded[1].data)
    context = av.CodecContext.create("libvpx", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 64, "yuv420p", Fraction(1, 30)
    context.options = {"lag-in-frames": "0", "deadline": "realtime"}
    packets = [bytes(packet) for _ in range(2) for packet in context.encode(av.VideoFrame(64, 64, "yuv420p"))]
    assert [is_key_frame("VP8", data) for data in packets] == [True, False]
    assert not is_key_frame("VP8", b"")


def test_this_machine_is_reachable_without_a_network() -> None:
    assert "127.0.0.1" in aiortc_patches.aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)
