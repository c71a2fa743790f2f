"""Offers and fragments of strangers: what passes, and which status refuses the rest."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.webrtc.offer import (
    MAX_CANDIDATES,
    Fragment,
    OfferError,
    read_fragment,
    read_offer,
    with_camera_bitrate,
)


def make_offer(
    direction: str = "recvonly", kind: str = "video", count: int = 1, channel: bool = False
) -> str:
    async def run() -> str:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        for _ in range(count):
            connection.addTransceiver(kind, direction=direction)
        if channel:
            connection.createDataChannel("x")
        await connection.setLocalDescription(await connection.createOffer())
        text = connection.localDescription.sdp
        await connection.close()
        return str(text)

    return asyncio.run(run())


OFFER = make_offer()


def status(text: str, role: str = "watch") -> int:
    with pytest.raises(OfferError) as raised:
        read_offer(text, role)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    return raised.value.status


def outcome(read: Callable[[], object]) -> int | str:
    try:
        read()
    except OfferError as error:
        return error.status
    return "passed"


def test_h264_is_preferred_and_vp8_taken_when_wished_or_alone() -> None:
    assert read_offer(OFFER, "watch").codec == "h264"
    assert read_offer(OFFER, "watch", "vp8").codec == "vp8"
    without = OFFER.replace("H264/90000", "AV1/90000")
    assert read_offer(without, "watch").codec == "vp8"
    assert read_offer(without, "watch", "h264").codec == "vp8"


@pytest.mark.parametrize(("direction", "role"), [("recvonly", "watch"), ("sendonly", "send")])
def test_directions(direction: str, role: str) -> None:
    assert read_offer(make_offer("sendrecv"), role)  # type: ignore[arg-type]
    assert read_offer(make_offer(direction), role)  # type: ignore[arg-type]
    other = "send" if role == "watch" else "watch"
    assert status(make_offer(direction), other) == 406
    assert status(make_offer("inactive"), role) == 406


def test_media_that_is_not_served() -> None:
    assert status(make_offer(kind="audio")) == 406
    assert status(make_offer(count=2)) == 406
    assert status(make_offer(channel=True)) == 406
    assert status(re.sub(r"(H264|VP8)/90000", "AV1/90000", OFFER)) == 406
    assert status(OFFER.replace("profile-level-id=42", "profile-level-id=64").replace("VP8/", "AV1/")) == 406


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "v=0",
        "v=0\r\nm=video\r\n",
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF abc\r\n",
        "v=0\r\n" * 2000,
        "v=0\r\na=" + "x" * 10_000,
        OFFER.replace("BUNDLE 0", "BUNDLE 0 1"),
        OFFER.replace("BUNDLE 0", "BUNDLE 0 0"),
        re.sub(r"a=ice-ufrag:.*\r\n", "", OFFER),
        re.sub(r"a=ice-pwd:.*\r\n", "", OFFER),
        re.sub(r"a=fingerprint:.*\r\n", "", OFFER),
    ],
    ids=[
        "empty",
        "words",
        "bare",
        "media",
        "formats",
        "lines",
        "long line",
        "ghost",
        "twin",
        "ufrag",
        "pwd",
        "fingerprint",
    ],
)
def test_garbage_is_a_bad_request(text: str) -> None:
    assert status(text) == 400


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_offers_are_refused_never_crash(data: st.DataObject) -> None:
    lines = OFFER.split("\r\n")
    for _ in range(data.draw(st.integers(1, 6))):
        index = data.draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        change = data.draw(st.sampled_from(["drop", "double", "cut", "garble"]))
        if change == "drop":
            lines[index] = ""
        elif change == "double":
            lines.insert(index, line)
        elif change == "cut":
            lines[index] = line[: data.draw(st.integers(0, len(line)))]
        else:
            at = data.draw(st.integers(0, len(line)))
            lines[index] = line[:at] + data.draw(st.text(max_size=6)) + line[at:]
    assert outcome(lambda: read_offer("\r\n".join(lines), "watch")) in ("passed", 400, 406)


def test_hidden_addresses_and_the_end_mark_are_left_out() -> None:
    extra = [
        "a=candidate:1 1 udp 2113937151 3b1f5c2e.local 50000 typ host",
        "a=candidate:2 1 tcp 2113937151 192.0.2.9 9 typ host tcptype active",
        "a=candidate:3 1 udp 2113937151 192.0.2.9 50001 typ host",
        "a=end-of-candidates",
    ]
    kept = read_offer(OFFER.rstrip() + "\r\n" + "\r\n".join(extra) + "\r\n", "watch").sdp
    assert "192.0.2.9 50001" in kept
    assert ".local" not in kept
    assert "tcptype" not in kept
    assert "end-of-candidates" not in kept


def test_fragments() -> None:
    text = (
        "a=ice-ufrag:abcd\r\na=ice-pwd:secret\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        "a=candidate:3 1 udp 2113937151 192.0.2.9 50001 typ host\r\n"
        "a=candidate:1 1 udp 2113937151 3b1f5c2e.local 50000 typ host\r\na=end-of-candidates\r\n"
    )
    fragment = read_fragment(text)
    assert fragment.ice_ufrag == "abcd"
    assert [(candidate.ip, candidate.sdpMid) for candidate in fragment.candidates] == [("192.0.2.9", "0")]
    assert fragment.is_end
    assert read_fragment("") == Fragment(None)
    for bad in ("hello", text + "a=candidate:3 1 udp 1 192.0.2.9 5 typ host\r\n" * (MAX_CANDIDATES + 1)):
        with pytest.raises(OfferError) as raised:
            read_fragment(bad)
        assert raised.value.status == 400


@given(text=st.text(max_size=200))
def test_any_text_is_a_fragment_or_a_bad_request(text: str) -> None:
    assert outcome(lambda: read_fragment(text)) in ("passed", 400)


def test_chrome_is_asked_to_start_with_a_useful_bitrate() -> None:
    answer = with_camera_bitrate(OFFER)
    for line in answer.split("\r\n"):
        if line.startswith("a=fmtp:") and "packetization-mode" in line:
            assert line.endswith("x-google-max-bitrate=2500")
    assert re.search(r"a=rtpmap:(\d+) VP8/90000\r\na=fmtp:\1 x-google-start-bitrate=1500", answer)
