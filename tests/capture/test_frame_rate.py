"""The frame rate is that of the frames' own times, whatever the file says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from capture.frame_rate import FALLBACK_FPS, frame_rate, plausible
from capture.source import frames
from capture.video import VideoFile

MS = Fraction(1, 1000)


def ticks(times_s: np.ndarray, tick_s: Fraction) -> list[int | None]:
    return [round(time / float(tick_s)) for time in times_s]


@pytest.mark.parametrize("tick_s", [MS, Fraction(1, 90_000)])
@pytest.mark.parametrize(
    "rate",
    [Fraction(n) for n in (10, 15, 24, 25, 30, 50, 60, 90, 120, 240)]
    + [Fraction(25, 2), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)],
)
def test_every_usual_rate_is_met_exactly_from_any_start(rate: Fraction, tick_s: Fraction) -> None:
    for start_s in (0.0, -0.7, 3.01):
        times = start_s + np.arange(240) / float(rate)
        assert frame_rate(ticks(times, tick_s), tick_s, [Fraction(1000)]) == float(rate)


def test_frames_that_are_missing_or_late_change_nothing() -> None:
    random = np.random.default_rng(0)
    regular = np.arange(240) / 30
    dropped = np.delete(regular, random.choice(np.arange(1, 239), 40, replace=False))
    paused = np.where(np.arange(240) < 120, regular, regular + 5)
    jittered = regular + random.normal(0, 0.003, 240)
    for times in (dropped, paused, jittered):
        # a jitter of 3 ms, in whole milliseconds, leaves a percent of doubt
        assert frame_rate(ticks(times, MS), MS, []) == pytest.approx(30, rel=0.02)


def test_a_dropped_frame_counts_where_frames_are_a_tick_apart() -> None:
    assert frame_rate([0, 2, 3, 4, 6, 7, 8, 9], Fraction(1, 30), []) == 30


def test_a_phones_rate_is_the_one_it_has_most_of_the_time() -> None:
    steps = np.where(np.arange(240) < 150, 1 / 30, 1 / 24)
    assert frame_rate(ticks(np.cumsum(steps), Fraction(1, 600)), Fraction(1, 600), []) == 30


def test_film_shown_as_television_has_films_rate() -> None:
    for count in (100, 101):
        fields = np.where(np.arange(count) % 2, 2, 3)
        assert frame_rate(ticks(np.cumsum(fields) / 60, MS), MS, []) == 24


def test_without_two_times_a_stated_rate_counts_if_it_can_be_one() -> None:
    assert frame_rate([7], MS, [None, Fraction(1000), Fraction(25)]) == 25
    assert frame_rate([None, None], MS, [Fraction(12)]) == 12
    assert frame_rate([], MS, [Fraction(90_000), Fraction(0)]) == FALLBACK_FPS
    assert plausible([None, 0, 1000.0]) == FALLBACK_FPS


def test_of_rates_that_a_short_film_cannot_tell_apart_the_stated_one_counts() -> None:
    for stated in (Fraction(30), Fraction(30000, 1001)):
        assert frame_rate([0, 33, 67], MS, [stated]) == float(stated)


def write_film(
    path: Path, rate: Fraction, times: list[int], tick_s: Fraction, codec: str = "libx264"
) -> Path:
    with av.open(str(path), "w", options={"live": "1"} if path.suffix == ".webm" else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick_s
        for number, time in enumerate(times):
            picture = np.full((32, 32, 3), number % 200, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, tick_s
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def browser_recording(path: Path, times_ms: list[int]) -> Path:
    """A WebM as a browser writes it: neither the film's length nor the track's frame rate is in it."""
    data = bytearray(write_film(path, Fraction(30), times_ms, MS, "libvpx").read_bytes())
    at = data.find(bytes.fromhex("23e38384"))  # DefaultDuration, four bytes long
    assert at > 0
    data[at : at + 8] = bytes([0xEC, 0x86, *bytes(6)])  # Void
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("times_ms", "fps"),
    [
        ([round(i * 1000 / 30) for i in range(60)], 30.0),
        ([round(i * 80) for i in range(20)], 12.5),
        ([0], FALLBACK_FPS),
    ],
)
def test_a_browsers_recording(tmp_path: Path, times_ms: list[int], fps: float) -> None:
    with VideoFile(browser_recording(tmp_path / "call.webm", times_ms)) as video:
        assert video.fps == fps
        assert [round(frame.capture_ns / 1e6) for frame in frames(video)] == times_ms


def test_the_browsers_recording_of_the_cases(testdata_dir: Path) -> None:
    with VideoFile(testdata_dir / "cases" / "browser_recording.webm") as video:
        assert video.fps == 30
        assert video.size == (256, 256)
        assert len(list(frames(video))) == 120


@pytest.mark.parametrize(
    "rate", [Fraction(120), Fraction(25, 2), Fraction(24000, 1001), Fraction(60000, 1001)]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".h264"])
def test_files_of_odd_rates(tmp_path: Path, rate: Fraction, suffix: str) -> None:
    # 90 frames: what Matroska's milliseconds need to tell 23.976 from 24; a raw stream has no times at all
    path = write_film(tmp_path / f"film{suffix}", rate, list(range(90)), 1 / rate)
    with VideoFile(path) as video:
        assert video.fps == pytest.approx(float(rate), rel=1e-6)
        times_ns = [frame.capture_ns for frame in frames(video)]
    np.testing.assert_allclose(np.diff(times_ns), 1e9 / float(rate), atol=1.01e6)


def test_the_stated_average_of_a_film_that_pauses_is_not_its_rate(tmp_path: Path) -> None:
    times = [*range(40), *range(400, 440)]
    with VideoFile(write_film(tmp_path / "pause.mp4", Fraction(25), times, Fraction(1, 25))) as video:
        assert video.fps == 25
        assert [round(f.capture_ns / 4e7) for f in frames(video)] == times
        assert video.problem is None
