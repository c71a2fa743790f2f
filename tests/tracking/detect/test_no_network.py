"""Nothing leaves this machine while a face is looked at.

MediaPipe's C++ resolves and connects on its own, so Python's sockets prove nothing: strace watches the system
calls.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# The dead proxy, where nothing listens: the one address that may be tried.
_ALLOWED = re.compile(r'sin_port=htons\(9\), sin_addr=inet_addr\("127\.0\.0\.1"\)')
_OUTWARD = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(")
# Name look-ups may also be handed to a local service over a Unix socket.
_TALK = re.compile(r"AF_INET|nscd|systemd/resolve")

DETECT = """
    from pathlib import Path
    from capture.source import frames
    from capture.video import VideoFile
    from tracking.detect.face_detector import FaceDetector, FaceDetectorFactory
    from tracking.detect.process import DetectorProcess

    if __name__ == "__main__":
        model = Path({model!r})
        with VideoFile({video!r}) as video, {detector} as detector:
            for _ in range(5):
                assert detector.detect(video.read()).found
"""


@pytest.fixture(scope="module")
def strace() -> str:
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    if subprocess.run([path, "-f", "true"], capture_output=True).returncode:
        pytest.skip("strace may not watch processes here")
    return path


def outward_calls(strace: str, program: str, folder: Path, environment: dict[str, str]) -> list[str]:
    """The system calls of a program and its children that would leave this machine."""
    script, trace = folder / "program.py", folder / "trace.txt"
    script.write_text(textwrap.dedent(program))
    command = [strace, "-f", "-qq", "-e", "trace=network", "-o", str(trace), sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    lines = trace.read_text().splitlines()
    return [
        line for line in lines if _OUTWARD.search(line) and _TALK.search(line) and not _ALLOWED.search(line)
    ]


def environment(**extra: str) -> dict[str, str]:
    import os

    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    return {name: value for name, value in os.environ.items() if name.lower() not in proxies} | extra


def test_the_watch_sees_a_program_that_reaches_out(strace, tmp_path):
    # 192.0.2.1 is reserved for documentation; connecting a UDP socket sends nothing.
    program = """
        import socket
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 53))
    """
    calls = outward_calls(strace, program, tmp_path, environment())
    assert len(calls) == 1
    assert "192.0.2.1" in calls[0]


@pytest.mark.parametrize(
    "detector", ["FaceDetector(model)", "DetectorProcess(FaceDetectorFactory(model=model))"]
)
@pytest.mark.parametrize("extra", [{}, {"NO_PROXY": "*", "no_proxy": "*"}], ids=["plain", "no_proxy"])
def test_no_traffic_leaves_the_detector(strace, tmp_path, models_dir, testdata_dir, detector, extra):
    program = DETECT.format(
        video=str(testdata_dir / "videos" / "lp_d20.mp4"),
        model=str(models_dir / "face_landmarker.task"),
        detector=detector,
    )
    assert outward_calls(strace, program, tmp_path, environment(**extra)) == []
