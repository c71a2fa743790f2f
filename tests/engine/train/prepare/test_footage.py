"""Which frames of a film are looked at, and pictures of several sizes on one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from capture.source import Source, open_input
from capture.synthetic import SyntheticSource
from engine.train.prepare.footage import Thinning, _common_size


def taken_s(source: Source, thinning: Thinning) -> list[float]:
    return [frame.capture_ns / 1e9 for frame, taken in thinning.thinned(source) if taken]


@pytest.mark.parametrize("source_fps", [25.0, 30000 / 1001, 59.94, 10.0, 7.0])
def test_at_most_so_many_frames_a_second(source_fps: float) -> None:
    source = SyntheticSource(8, 8, source_fps, round(10 * source_fps))
    thinning = Thinning(fps=10)
    times = taken_s(source, thinning)
    assert len(times) <= 101
    assert len(times) == pytest.approx(10 * min(10, source_fps), abs=1)
    assert thinning.rate(source) == min(10, source_fps)


def test_every_nth() -> None:
    source = SyntheticSource(8, 8, 20, 10)
    assert taken_s(source, Thinning(every=3)) == pytest.approx([0, 0.15, 0.3, 0.45])
    assert Thinning(every=4).rate(source) == 5


def test_a_film_of_varying_rate_is_thinned_by_its_own_clock(tmp_path: Path) -> None:
    times_ms = [*range(0, 2000, 20), *range(2000, 6000, 200)]  # 50 a second, then 5
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time in times_ms:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_input(path) as source:
        times = taken_s(source, Thinning(fps=10))
    # 10 a second of the fast part, all of the slow one
    assert times == pytest.approx([*np.arange(20) / 10, *(2 + np.arange(20) / 5)], abs=0.011)


def test_a_browsers_recording_is_not_thinned_below_what_is_asked(testdata_dir: Path) -> None:
    with open_input(testdata_dir / "cases" / "browser_recording.webm") as source:
        assert len(taken_s(source, Thinning(fps=30))) == 120


@pytest.mark.parametrize(
    ("shapes", "size", "changed"),
    [
        ([(40, 60, 3)] * 3, (60, 40), 0),
        ([(40, 60, 3), (60, 40, 3)], (60, 60), 2),  # turned on its side: one focal length, one centre
        ([(40, 60, 3), (80, 120, 3)], (120, 80), 1),
        ([(45, 80, 3), (60, 80, 3)], (80, 60), 1),
    ],
)
def test_pictures_of_several_sizes(
    shapes: Sequence[tuple[int, ...]], size: tuple[int, int], changed: int
) -> None:
    assert _common_size(shapes) == (size, changed)
