"""The fault and soak benchmarks' parts: what was seen, when it was steady again, links, verdicts."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bench import faults, soak
from bench.processes import holdings
from bench.viewing.chromium import find_chromium
from bench.viewing.link import Link, LinkQuality, _Direction, why_not
from bench.viewing.watcher import seen, steady_from_ms

STEADY = [(1000.0 + 33 * number, 975.0 + 33 * number) for number in range(300)]  # 30 fps, 25 ms late


def test_what_was_seen_between_two_times() -> None:
    figures = seen(STEADY, 1990.0, 4960.0)
    assert figures == {"shown_fps": 30.3, "p50_ms": 25.0, "p95_ms": 25.0, "largest_gap_ms": 33}


def test_a_gap_counts_even_when_nothing_came_after_it() -> None:
    figures = seen(STEADY[:30], 1000.0, 5000.0)
    assert figures["largest_gap_ms"] == round(5000 - STEADY[29][0])
    assert seen([], 1000.0, 2000.0)["p95_ms"] is None


def test_steady_again_is_a_whole_second_of_frames() -> None:
    sparse = [(2000.0 + 200 * number, 0.0) for number in range(5)]
    dense = [(3000.0 + 33 * number, 0.0) for number in range(60)]
    # the last of the sparse frames has 25 more within its second
    assert steady_from_ms(sparse + dense, 1500.0, window_ms=1000, fps=24) == 2800.0
    assert steady_from_ms(sparse + dense, 1500.0, window_ms=1000, fps=29) == 3000.0
    assert steady_from_ms(sparse, 1500.0, window_ms=1000, fps=24) is None
    assert steady_from_ms([], 1500.0, window_ms=1000, fps=24) is None


def test_a_link_holds_back_loses_and_limits() -> None:
    direction = _Direction(target=0)
    slow = LinkQuality(bits_per_second=1e6, queue_ms=100, delay_ms=5)
    due = [direction.due_s(1250, slow, 0.0) for _ in range(20)]  # 10 ms each
    kept = [at for at in due if at is not None]
    assert kept == pytest.approx(
        [0.015 + 0.010 * number for number in range(11)]
    )  # 100 ms and one on its way
    assert due[11:] == [None] * 9
    random.seed(1)
    lossy = LinkQuality(loss=0.05)
    lost = sum(_Direction(0).due_s(1200, lossy, 0.0) is None for _ in range(10_000))
    assert 435 < lost < 565  # three standard deviations of 5 % of 10000


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_packets_cross_a_real_link_until_it_is_dark() -> None:
    ask = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.2)\n"
        "for _ in range(50):\n"
        "    s.sendto(b'hello', (sys.argv[1], int(sys.argv[2])))\n"
        "    try: s.recv(9); print('heard'); break\n"
        "    except TimeoutError: pass\n"
    )
    with Link(LinkQuality()) as link, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind((link.near, 0))

        def answer() -> None:
            while (said := echo.recvfrom(9))[0] != b"end":
                echo.sendto(said[0], said[1])

        thread = threading.Thread(target=answer)
        thread.start()
        command = [*link.inside, sys.executable, "-c", ask, link.near, str(echo.getsockname()[1])]
        heard = subprocess.run(command, capture_output=True, text=True, check=True)
        link.change(LinkQuality(loss=1.0))
        command[-3] = ask.replace("50", "3")
        dark = subprocess.run(command, capture_output=True, text=True, check=True)
        echo.sendto(b"end", echo.getsockname())
        thread.join()
    assert heard.stdout == "heard\n"
    assert dark.stdout == ""
    assert not Path(f"/sys/class/net/{link._devices[0]}").exists()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc")
def test_a_process_is_weighed_and_counted() -> None:
    code = (
        "import threading, sys; kept = bytearray(64 << 20); files = [open('/dev/null') for _ in range(20)]\n"
        "threading.Thread(target=sys.stdin.read).start(); print(1, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        held = holdings(other.pid)
        other.communicate()
    assert held is not None
    assert 64 < held.pss_mb < held.rss_mb < 200
    assert held.threads == 2
    assert 23 <= held.files <= 30
    assert holdings(other.pid) is None


def _samples(growth_mb: float, threads: int) -> list[soak.Sample]:
    """Twenty minutes, in which the server's memory grows evenly after the warm-up."""
    samples = []
    for number in range(120):
        after = max(0.0, number - 12) / 107
        held = {"rss_mb": 500 + growth_mb * after, "pss_mb": 400.0, "threads": threads, "files": 30}
        samples.append({"seconds": 10.0 * (number + 1), "processes": dict.fromkeys(soak.JUDGED, held)})
    return samples


def test_growth_is_called_growth() -> None:
    minutes = [{"seconds": 60.0 * (number + 1), "p95_ms": 40.0} for number in range(20)]
    flat = soak.judge(_samples(5.0, 20), minutes)
    assert all(entry["holds"] for row in flat.values() for entry in row.values())
    grown = soak.judge(_samples(60.0, 20), minutes)
    assert not grown["server"]["rss_mb"]["holds"]
    assert grown["server"]["pss_mb"]["holds"]
    slower = [row | {"p95_ms": 40.0 + row["seconds"] / 60} for row in minutes]
    assert not soak.judge(_samples(0.0, 20), slower)["latency"]["p95_ms"]["holds"]
    more = _samples(0.0, 20)[:70] + _samples(0.0, 21)[70:]
    assert not soak.judge(more, minutes)["server"]["threads"]["holds"]
    assert soak.judge(_samples(0.0, 20)[:12], minutes[:2]) == {}


def test_a_soak_is_told_in_ranges_after_the_warm_up() -> None:
    minutes = [{"seconds": 60.0 * (number + 1), "p95_ms": 30.0 + number} for number in range(4)]
    minutes[3]["p95_ms"] = None  # nothing was shown in that minute
    told = soak.ranges(_samples(50.0, 20), minutes)
    assert set(told["processes"]) == set(soak.JUDGED)
    memory = told["processes"]["server"]["rss_mb"]
    assert (memory["min"], memory["max"]) == (500.0, 550.0)
    assert 524 < memory["median"] < 526
    assert told["latency"] == {"p95_ms": {"min": 32.0, "median": 32.0, "max": 32.0}}
    assert soak.ranges([], []) == {"processes": {}, "latency": {}}


def test_what_cannot_be_done_here_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(faults, "why_not", lambda: "shaped links need root: run it with sudo")
    monkeypatch.setattr(faults, "find_chromium", lambda: "chromium")
    result = faults.measure(str(tmp_path / "clip.mp4"), cases=["loss-5"])
    assert result["cases"] == {"loss-5": {"skipped": "shaped links need root: run it with sudo"}}
    assert "skipped: shaped links need root" in faults.table(result)


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt install chromium")
def test_a_killed_tracker_is_measured_end_to_end(models_dir: Path, testdata_dir: Path) -> None:
    clip = testdata_dir / "videos" / "lp_d10.mp4"
    result: dict[str, Any] = faults.measure(str(clip), seconds=1.0, cases=["tracker"])
    case = result["cases"]["tracker"]
    assert case["tracker_restarts"] == 1
    assert case["recovered_s"] is not None
    assert case["viewer"]["shown_fps"] > 3  # the avatar idles on meanwhile; of 30, the machine may be busy
    assert case["most_queued_pictures"] <= 8  # transport.webrtc.broadcast.VIEWER_QUEUE
    assert "tracker process killed" in faults.table(result)
