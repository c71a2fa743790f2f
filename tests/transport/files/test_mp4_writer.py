"""The mp4 writer against what a decoder reads back."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.child_process import started
from transport.errors import OutputError
from transport.files.mp4_writer import Mp4Writer

SIZE = 128


def picture(index: int) -> np.ndarray:
    """A smooth picture that differs from frame to frame, [SIZE, SIZE, 3]."""
    y, x = np.mgrid[:SIZE, :SIZE]
    rgb = np.stack([x + 20, y + 40, (x + y) // 2 + 5 * (index % 20)], axis=-1)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def record(path: Path, times_ns: list[int], rate: Fraction = Fraction(30), **options: object) -> None:
    with Mp4Writer(path, width=SIZE, height=SIZE, frame_rate=rate, **options) as recorder:  # type: ignore[arg-type]
        for i, ns in enumerate(times_ns):
            recorder.write(picture(i), ns)


def decode(path: Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24") for f in frames], [float(f.time or 0.0) for f in frames]


def make_sounding_video(path: Path, codec: str, *, sound_start_s: float = 0.0, video: bool = True) -> None:
    """A file with 2 s of a 440 Hz tone that starts at `sound_start_s`, and two pictures."""
    with av.open(str(path), "w") as container:
        if video:
            pictures = container.add_stream("libx264", rate=1)
            pictures.width = pictures.height = SIZE
        sound = container.add_stream(codec, rate=44100, layout="mono")
        if video:
            for i in range(2):
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture(i), format="rgb24")))
            container.mux(pictures.encode(None))
        t = np.arange(88200) / 44100
        tone = (8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)[None]
        for start in range(0, tone.shape[1], 1024):
            block = np.ascontiguousarray(tone[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.rate, frame.pts = 44100, start + round(sound_start_s * 44100)
            frame.time_base = Fraction(1, 44100)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def sound_of(path: Path) -> tuple[str, float, np.ndarray]:
    """Codec, time of the first sample (seconds) and the samples [n] of a file's sound."""
    with av.open(str(path)) as container:
        codec = container.streams.audio[0].codec.canonical_name
        blocks = [(float(f.time or 0.0), f.to_ndarray()) for f in container.decode(audio=0)]
    return codec, blocks[0][0], np.concatenate([b.reshape(-1, b.shape[-1])[0] for _, b in blocks])


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30), Fraction(60), Fraction(30000, 1001)])
def test_frames_rate_and_duration_are_kept(tmp_path: Path, rate: Fraction) -> None:
    out = tmp_path / "out.mp4"
    record(out, [round(i / rate * 10**9) for i in range(50)], rate)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == rate
        assert stream.duration is not None
        assert stream.duration * stream.time_base == 50 / rate
        assert len(list(container.decode(stream))) == 50


def test_variable_frame_times_and_a_late_start_are_kept(tmp_path: Path) -> None:
    times_ns = list(np.cumsum(np.random.default_rng(0).integers(5_000_000, 90_000_000, 40)))
    out = tmp_path / "out.mp4"
    record(out, [int(t) for t in times_ns])
    _, times = decode(out)
    # one tick of the 90 kHz clock is 11 us
    np.testing.assert_allclose(times, np.array(times_ns) / 1e9, atol=1.2e-5)


def test_pictures_come_back(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    record(out, [i * 33_333_333 for i in range(20)])
    pictures, _ = decode(out)
    error = np.mean([(a.astype(float) - picture(i)) ** 2 for i, a in enumerate(pictures)])
    # crf 18 on a smooth picture; a swapped matrix or range costs 15 dB and more
    assert 10 * np.log10(255**2 / error) > 38


@pytest.mark.parametrize("rgb", [(200, 50, 50), (50, 200, 50), (50, 50, 200), (0, 0, 0), (255, 255, 255)])
def test_known_colours_and_their_tags(tmp_path: Path, rgb: tuple[int, int, int]) -> None:
    out = tmp_path / "out.mp4"
    flat = np.full((SIZE, SIZE, 3), rgb, np.uint8)
    with Mp4Writer(out, width=SIZE, height=SIZE, frame_rate=Fraction(30)) as recorder:
        recorder.write(flat, 0)
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        planes = frame.to_ndarray()
    assert tags == (1, 1, 1, 1)  # BT.709 throughout, limited range
    y, cb, cr = int(planes[5, 5]), int(planes[SIZE + 5, 5]), int(planes[SIZE * 5 // 4 + 5, 5])
    r, g, b = (v / 255 for v in rgb)
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    expected = 16 + 219 * luma, 128 + 224 * (b - luma) / 1.8556, 128 + 224 * (r - luma) / 1.5748
    # 8-bit rounding of the conversion and the coarse quantiser of crf 18; BT.601 would be 6 to 20 off
    np.testing.assert_allclose((y, cb, cr), expected, atol=2.5)


def test_i420_is_written_as_given(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    planes = np.full((SIZE * 3 // 2, SIZE), 128, np.uint8)
    planes[:SIZE] = np.arange(SIZE)[None] + 50
    with Mp4Writer(out, width=SIZE, height=SIZE, frame_rate=Fraction(30)) as recorder:
        recorder.write(planes, 0)
    with av.open(str(out)) as container:
        decoded = next(container.decode(video=0)).to_ndarray()
    assert np.abs(decoded.astype(int) - planes).mean() < 1.5  # crf 18


@pytest.mark.parametrize(("suffix", "codec", "kept"), [(".mp4", "aac", "aac"), (".mov", "pcm_s16le", "aac")])
def test_sound_is_copied_or_transcoded(tmp_path: Path, suffix: str, codec: str, kept: str) -> None:
    source, out = tmp_path / f"in{suffix}", tmp_path / "out.mp4"
    make_sounding_video(source, codec)
    record(out, [i * 33_333_333 for i in range(60)], sound_from=source)
    name, start, samples = sound_of(out)
    assert name == kept
    assert abs(start) < 0.05  # an AAC block is 23 ms; priming is cut to the block
    assert abs(len(samples) / 44100 - 2.0) < 0.07  # three blocks of priming and padding
    middle = samples[20000:60000].astype(float)
    peak_hz = np.argmax(np.abs(np.fft.rfft(middle))) * 44100 / len(middle)
    assert abs(peak_hz - 440) < 3


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_keeps_its_place_against_the_pictures(tmp_path: Path, codec: str) -> None:
    source, out = tmp_path / "in.mov", tmp_path / "out.mp4"
    make_sounding_video(source, codec, sound_start_s=0.7)
    record(out, [i * 33_333_333 for i in range(60)], sound_from=source)
    _, start, _ = sound_of(out)
    assert abs(start - 0.7) < 0.05  # two AAC blocks of 23 ms

    record(out, [i * 33_333_333 for i in range(60)], sound_from=source, sound_origin_s=1.5)
    _, start, samples = sound_of(out)
    assert abs(start) < 0.05
    assert abs(len(samples) / 44100 - 1.2) < 0.1  # 0.8 s lay before the first picture


def test_a_file_without_sound_gives_none(tmp_path: Path) -> None:
    silent, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    record(silent, [0, 40_000_000])
    record(out, [0, 40_000_000], sound_from=silent)
    with av.open(str(out)) as container:
        assert not container.streams.audio


def test_index_stands_before_the_pictures(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    record(out, [0, 33_000_000])
    data = out.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_an_error_in_the_block_removes_the_file(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with Mp4Writer(tmp_path / "out.mp4", width=SIZE, height=SIZE, frame_rate=Fraction(30)) as recorder:
            recorder.write(picture(0), 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_text("old")
    recorder = Mp4Writer(out, width=SIZE, height=SIZE, frame_rate=Fraction(30))
    recorder.write(picture(0), 0)
    assert out.read_text() == "old"
    recorder.close()
    assert len(decode(out)[0]) == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """Wherever the space ends, in the pictures, the index or its move to the front, nothing broken stays."""
    whole = tmp_path / "whole.mp4"
    record(whole, [i * 33_333_333 for i in range(40)])
    size = whole.stat().st_size
    out = tmp_path / "out.mp4"
    refusals = []
    for limit in [0, 1, 30, *range(40, size + 200, max(1, size // 25)), size - 1]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            record(out, [i * 33_333_333 for i in range(40)])
        except OutputError as error:
            refusals.append(str(error))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if out.exists():
            assert len(decode(out)[0]) == 40
            out.unlink()
        assert [p.name for p in tmp_path.iterdir()] == ["whole.mp4"]
    assert len(refusals) > 20
    assert all("out.mp4" in message and "\n" not in message for message in refusals)


def test_places_that_cannot_be_written_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    source = tmp_path / "in.mp4"
    source.write_bytes(b"x")
    places: list[tuple[Path, list[Path], str]] = [
        (tmp_path / "none" / "out.mp4", [], "no folder"),
        (tmp_path / "folder.mp4", [], "is a folder"),
        (tmp_path / "out.avi", [], "mp4"),
        (source, [source], "also the input"),
        (Path("/proc/out.mp4"), [], "/proc/out.mp4"),
    ]
    for path, inputs, part in places:
        sound = inputs[0] if inputs else None
        with pytest.raises(OutputError, match=part):
            Mp4Writer(path, width=SIZE, height=SIZE, frame_rate=Fraction(30), sound_from=sound)
    assert source.read_bytes() == b"x"


def test_pictures_of_a_wrong_size_or_time(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="even"):
        Mp4Writer(tmp_path / "out.mp4", width=127, height=128, frame_rate=Fraction(30))
    with Mp4Writer(tmp_path / "out.mp4", width=SIZE, height=SIZE, frame_rate=Fraction(30)) as recorder:
        recorder.write(picture(0), 40_000_000)
        with pytest.raises(ValueError, match="shape"):
            recorder.write(picture(0)[:50], 80_000_000)
        with pytest.raises(ValueError, match="after"):
            recorder.write(picture(0), 40_000_000)


INTERRUPTED = """
import sys, time
from fractions import Fraction
import numpy as np
from transport.files.mp4_writer import Mp4Writer
with Mp4Writer(sys.argv[1], width=128, height=128, frame_rate=Fraction(30)) as recorder:
    for i in range(10**6):
        recorder.write(np.full((128, 128, 3), i % 256, np.uint8), i * 33_333_333)
        if i == 20:
            print("running", flush=True)
        time.sleep(0.005)
"""


def test_ctrl_c_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "out.mp4")]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        assert len(list(tmp_path.iterdir())) == 1  # the temporary file
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
    assert list(tmp_path.iterdir()) == []
