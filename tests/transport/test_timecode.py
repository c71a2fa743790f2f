"""The timecode is read back from every kind of picture, through strong compression as well."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.synthetic import SyntheticSource
from transport.timecode import NUM_CELLS, draw_timecode, read_timecode
from transport.webrtc.encoders import ENCODERS, Codec, to_i420

UNIX_MS = 1_795_000_123_457


@given(milliseconds=st.integers(0, 2**NUM_CELLS - 1), is_rgb=st.booleans(), below_ns=st.integers(0, 999_999))
def test_every_time_is_read_back(milliseconds: int, is_rgb: bool, below_ns: int) -> None:
    picture = np.full((16, 386, 3) if is_rgb else (24, 386), 77, np.uint8)
    draw_timecode(picture, milliseconds * 1_000_000 + below_ns)
    assert read_timecode(picture) == milliseconds


def test_the_first_cell_is_the_highest_bit() -> None:
    picture = np.zeros((8, 384, 3), np.uint8)
    draw_timecode(picture, ((1 << 47) + 1) * 1_000_000)
    assert picture[:, :8].min() == 255
    assert picture[:, 8:376].max() == 0
    assert picture[:, 376:].min() == 255


def test_only_the_corner_changes() -> None:
    frame = SyntheticSource(512, 256).read()
    assert frame is not None
    picture = frame.rgb.copy()
    draw_timecode(picture, UNIX_MS * 1_000_000)
    assert np.array_equal(picture[8:], frame.rgb[8:])
    assert np.array_equal(picture[:, 384:], frame.rgb[:, 384:])


@pytest.mark.parametrize("codec", list(ENCODERS))
def test_it_survives_compression_to_150_kilobits(codec: Codec) -> None:
    source = SyntheticSource(512, 512)
    encoder = ENCODERS[codec](512, 512, fps=30, bitrate=150_000, max_bitrate=2_500_000)
    decoder = av.CodecContext.create("h264" if codec == "h264" else "libvpx", "r")
    for index in range(40):
        frame = source.read()
        assert frame is not None
        picture = to_i420(frame.rgb)
        draw_timecode(picture, (UNIX_MS + 33 * index) * 1_000_000)
        encoded = encoder.encode(picture, index * 3000, index == 0, 0)
        if not encoded.data:
            continue  # libvpx drops pictures to hold so low a rate
        (decoded,) = decoder.decode(av.Packet(encoded.data))
        for kind in ("yuv420p", "rgb24"):
            assert read_timecode(decoded.to_ndarray(format=kind).astype(np.uint8)) == UNIX_MS + 33 * index


def test_a_small_picture_is_refused() -> None:
    for shape in ((8, 382, 3), (6, 384, 3), (9, 384)):
        with pytest.raises(ValueError, match="384x8"):
            draw_timecode(np.zeros(shape, np.uint8), 0)
        with pytest.raises(ValueError, match="384x8"):
            read_timecode(np.zeros(shape, np.uint8))


def test_a_time_beyond_48_bits_is_refused() -> None:
    for capture_ns in (-1, (1 << 48) * 1_000_000):
        with pytest.raises(ValueError, match="48 bits"):
            draw_timecode(np.zeros((8, 384, 3), np.uint8), capture_ns)
