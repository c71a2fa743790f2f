"""Colours come out as a player shows them: every matrix, range and transfer, said or not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from capture.colour import ScreenColours, screen_colours
from capture.source import frames
from capture.video import VideoFile

Array = NDArray[np.float64]

# Luma weights of red and blue. Source: H.273.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
COLOURS = [(200, 80, 50), (60, 160, 90), (40, 60, 190), (128, 128, 128), (230, 220, 210)]
# swscale's shortest way from 8 bits to RGB is 1 to 2 of 255 off; a wrong matrix is 8 and more.
TOLERANCE = 3


def planes(
    rgb: Array, matrix: int, *, full: bool, bits: int = 8, size: tuple[int, int] = (64, 64)
) -> NDArray:
    """A flat picture of R'G'B' in 0..1 as planar 4:2:0, [H * 3 / 2, W]."""
    kr, kb = WEIGHTS[matrix]
    red, green, blue = rgb
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    top, unit = 2**bits - 1, 2 ** (bits - 8)
    y = luma * top if full else (16 + 219 * luma) * unit
    chroma = [128 * unit + (value * top if full else 224 * value * unit) for value in (cb, cr)]
    width, height = size
    picture = np.empty((height * 3 // 2, width), np.uint8 if bits == 8 else np.uint16)
    picture[:height] = round(y)
    picture[height : height * 5 // 4], picture[height * 5 // 4 :] = (round(value) for value in chroma)
    return picture


def film(
    path: Path,
    picture: NDArray,
    *,
    matrix: int,
    transfer: int = 2,
    primaries: int = 2,
    full: bool | None = False,
) -> Path:
    """Three frames of one picture, almost lossless, with these tags (2: unspecified)."""
    ten_bits = picture.dtype == np.uint16
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265" if ten_bits else "libx264", rate=Fraction(30))
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p10le" if ten_bits else "yuv420p"
        stream.options = {"x265-params": "log-level=none:crf=4"} if ten_bits else {"crf": "4"}
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries = matrix, transfer, primaries
        context.color_range = {None: 0, False: 1, True: 2}[full]
        for pts in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format=stream.pix_fmt)
            frame.pts, frame.time_base = pts, Fraction(1, 30)
            frame.colorspace, frame.color_trc, frame.color_primaries = matrix, transfer, primaries
            frame.color_range = context.color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(path: Path) -> NDArray[np.uint8]:
    with VideoFile(path) as video:
        frame = video.read()
    assert frame is not None
    return frame.rgb[frame.height // 2, frame.width // 2]


@pytest.mark.parametrize("rgb", COLOURS)
@pytest.mark.parametrize(
    ("matrix", "tag", "full", "size"),
    [
        (1, 1, False, (64, 64)),
        (1, 1, True, (64, 64)),
        (5, 5, False, (64, 64)),
        (5, 6, True, (64, 64)),
        (9, 9, False, (64, 64)),
        (5, 2, False, (720, 576)),  # says nothing: by its size
        (5, 2, True, (64, 64)),
        (1, 2, False, (1280, 720)),
        (1, 2, False, (720, 1280)),
        (1, 2, True, (960, 720)),
    ],
)
def test_ordinary_films(
    tmp_path: Path, rgb: tuple[int, ...], matrix: int, tag: int, full: bool, size: tuple[int, int]
) -> None:
    picture = planes(np.array(rgb) / 255, matrix, full=full, size=size)
    path = film(tmp_path / "film.mp4", picture, matrix=tag, full=full)
    np.testing.assert_allclose(shown(path), rgb, atol=TOLERANCE)


def test_ordinary_films_are_read_without_tone_mapping() -> None:
    frame = av.VideoFrame(16, 16, "yuv420p10le")
    for transfer, primaries, needed in (
        (1, 1, False),
        (2, 2, False),
        (6, 5, False),
        (14, 9, True),
        (18, 2, True),
    ):
        frame.color_trc, frame.color_primaries = transfer, primaries
        assert ScreenColours.needed(frame) == needed


def pq(nits: Array) -> Array:
    """Source: BT.2100, table 4."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = (nits / 10_000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg(nits: Array) -> Array:
    """Of a screen of 1000 cd/m2. Source: BT.2100, tables 5."""
    share = nits / 1000
    luma = np.maximum(share @ np.array([0.2627, 0.678, 0.0593]), 1e-9)
    scene = share * luma[..., None] ** (1 / 1.2 - 1)
    log = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), log)


def bt2020(rgb: Array) -> Array:
    """Linear BT.2020 of linear BT.709. Source: BT.2087."""
    return rgb @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T


@pytest.mark.parametrize("rgb", COLOURS)
@pytest.mark.parametrize(("code", "transfer", "primaries"), [(pq, 16, 9), (hlg, 18, 9), (hlg, 18, 2)])
def test_hdr_of_ordinary_colours_comes_back(
    tmp_path: Path, rgb: tuple[int, ...], code: object, transfer: int, primaries: int
) -> None:
    assert callable(code)
    nits = 203 * bt2020((np.array(rgb) / 255) ** 2.4)
    picture = planes(code(nits), 9, full=False, bits=10)
    path = film(tmp_path / "film.mov", picture, matrix=9, transfer=transfer, primaries=primaries)
    # near white the shoulder for what is brighter begins
    np.testing.assert_allclose(shown(path), rgb, atol=6, rtol=0.02)


@pytest.mark.parametrize(("code", "transfer"), [(pq, 16), (hlg, 18)])
def test_light_brighter_than_paper_is_rolled_off(code: object, transfer: int) -> None:
    assert callable(code)
    nits = np.array([50.0, 100.0, 203.0, 400.0, 900.0])[:, None].repeat(3, 1)
    grey = screen_colours(code(nits), transfer, 9)[:, 0]
    assert (np.diff(grey) > 0).all()
    assert grey[-1] <= 1
    np.testing.assert_allclose(grey[:2], (nits[:2, 0] / 203) ** (1 / 2.4), rtol=0.01)
    assert 0.95 < grey[2] < 0.99
    warm = screen_colours(code(bt2020(np.array([[900.0, 300.0, 100.0]]))), transfer, 9)[0]
    assert warm[0] > warm[1] > warm[2]  # a lamp keeps its hue


def test_a_wide_gamut_is_brought_into_bt709(tmp_path: Path) -> None:
    rgb = np.array([200, 80, 50])
    codes = bt2020((rgb / 255) ** 2.4) ** (1 / 2.4)
    path = film(
        tmp_path / "film.mp4", planes(codes, 9, full=False, bits=10), matrix=9, transfer=14, primaries=9
    )
    np.testing.assert_allclose(shown(path), rgb, atol=TOLERANCE)


def test_the_phones_film_of_the_cases_has_the_colours_of_its_source(testdata_dir: Path) -> None:
    with VideoFile(testdata_dir / "cases" / "hlg_film.mov") as video:
        means = np.mean([frame.rgb.mean((0, 1)) for frame in frames(video)], 0)
    with VideoFile(testdata_dir / "videos" / "lp_d10.mp4") as video:  # its second second and the next three
        cut = [frame.rgb.mean((0, 1)) for frame, _ in zip(frames(video), range(150), strict=False)][30:]
    np.testing.assert_allclose(means, np.mean(cut, 0), rtol=0.03)


def test_a_change_of_size_on_the_way_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "call.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for start, (width, height) in ((0, (64, 48)), (330, (48, 64))):
            context = av.CodecContext.create("libvpx", "w")
            context.width, context.height, context.pix_fmt = width, height, "yuv420p"
            context.time_base, context.framerate = Fraction(1, 1000), Fraction(30)
            packets = []
            for number in range(10):
                grey = np.full((height, width, 3), 200, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts, frame.time_base = start + 33 * number, Fraction(1, 1000)
                packets += context.encode(frame)
            for packet in [*packets, *context.encode(None)]:
                packet.stream = stream
                container.mux(packet)
    with VideoFile(path) as video:
        read = [frame.rgb for frame in frames(video)]
    assert {rgb.shape for rgb in read} == {(48, 64, 3)}
    assert read[-1][24, 32].min() > 190  # in the middle
    assert read[-1][24, 2].max() == 0  # black beside it
