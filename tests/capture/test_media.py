"""Any legal name and any bytes in tags are opened; what is no file to read is one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from capture.errors import SourceError
from capture.images import read_picture
from capture.media import create_media, is_heic, open_media
from capture.source import frames, open_input
from capture.video import VideoFile

NAMES = [
    "take:2.mp4",
    "http:clip.mp4",
    "file:clip.mp4",
    "pipe:0",
    "50%.mp4",
    "%03d.mp4",
    "-take.mp4",
    "two\nlines.mp4",
    'it\'s "quoted" \\ here.mp4',
    " blank .mp4",
    "ünïcødé 日本語 🎥.mp4",
    "é" * 125 + ".mp4",  # 254 bytes of the 255 that a name may have
    "no_ending",
]


def small_film(path: str | Path, num_frames: int = 3) -> None:
    with av.open("file:" + os.fspath(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(num_frames):
            grey = np.full((32, 32, 3), number * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    small_film(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read_and_written(tmp_path: Path, film: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(film)
    with open_input(path) as video:
        assert len(list(frames(video))) == 3
    out = tmp_path / "out" / name
    out.parent.mkdir()
    with create_media(out, "mp4", {}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = 32, 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with VideoFile(out) as video:
        assert len(list(frames(video))) == 1


def test_a_name_in_bytes_that_are_no_text(tmp_path: Path, film: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    with open(path, "wb") as file:
        file.write(film)
    with open_input(os.fsdecode(path)) as video:
        assert len(list(frames(video))) == 3


def test_a_pictures_name_is_no_pattern(tmp_path: Path) -> None:
    for name in ("100%d.ppm", "50%.ppm", "%*.ppm"):
        (tmp_path / name).write_bytes(b"P6\n2 1\n255\n" + bytes([9, 9, 9, 200, 200, 200]))
        assert read_picture(tmp_path / name).tolist() == [[[9, 9, 9], [200, 200, 200]]]
        with open_input(tmp_path / name) as source:
            assert len(list(frames(source))) == 1


def test_tags_in_any_bytes(tmp_path: Path, testdata_dir: Path) -> None:
    with VideoFile(testdata_dir / "cases" / "latin1_title.avi") as video:
        assert video.has_audio
        assert video.fps == 30
        assert len(list(frames(video))) == 60
        assert video.problem is None


def test_what_is_no_file_to_read_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n")
    (tmp_path / "script.mp4").write_text("ffconcat version 1.0\nfile missing.mp4\n")
    cases = {
        tmp_path / "pipe.mp4": "a device or a pipe, which has no end: give a file",
        Path("/dev/zero"): "a device or a pipe",
        Path("https://example.org/a.mp4"): "is an address, not a file: download it first",
        tmp_path / "list.mp4": "no video FFmpeg can read",
        tmp_path / "script.mp4": "no video FFmpeg can read",
        tmp_path / ("x" * 300): "cannot be read",
        tmp_path / "a\0b.mp4": "cannot be read",
    }
    for path, words in cases.items():
        for opened in (open_media, open_input):
            with pytest.raises(SourceError, match=words) as raised:
                opened(path)
            assert len(str(raised.value).splitlines()) == 1


def test_a_heic_picture_is_named_for_what_it_is(tmp_path: Path) -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for name in ("photo.heic", "photo.jpg"):
        (tmp_path / name).write_bytes(heic)
        assert is_heic(tmp_path / name)
        for opened in (read_picture, open_input):
            with pytest.raises(SourceError, match=r"is a HEIC picture.*save it as JPEG"):
                opened(tmp_path / name)


def test_stray_bytes_in_the_header_of_a_webm_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "film.webm"
    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    at = data.index(bytes.fromhex("23e38384"))  # the frame rate's element, of which the end stays behind
    damaged = data[:at] + bytes.fromhex("ec8400000000") + data[at + 6 :]
    path.write_bytes(damaged)
    with av.open(str(path)) as container:
        assert len(container.streams) == 2  # FFmpeg alone takes the one track for two, one without a picture
    with open_media(path) as container:
        assert len(container.streams) == 1
    with VideoFile(path) as video:
        assert video.size == (32, 32)
        assert len(list(frames(video))) == 4
