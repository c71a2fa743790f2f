"""`visavis live` and `visavis demo` on the command line: mistakes in one line, a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine import cli
from tests.child_process import started
from tests.transport.live_client import ask


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["live", "--camera", "no such camera"], ["no camera 'no such camera'"]),
        (["live", "--input", "nothing.mp4"], ["nothing.mp4 does not exist"]),
        (["live", "--input", "a.mp4", "--browser"], ["not allowed with"]),
        (["live", "--seconds", "0", "--browser"], ["--seconds 0", "above 0"]),
        (["demo", "--port", "65536"], ["--port 65536", "65535"]),
        (["demo", "--key", "me.key"], ["--key me.key", "--cert"]),
        (["demo", "--cert", "nothing.pem", "--port", "0"], ["nothing.pem", "PEM"]),
        (["demo", "--token", " "], ["--token is empty"]),
        (["demo", "--allow-host", "a.org:80"], ["--allow-host a.org:80", "without a port"]),
        (["demo", "--max-viewers", "0"], ["--max-viewers 0", "above 0"]),
        (["demo", "--ice-server", "turn:example.org"], ["--ice-server turn:example.org", "stun:"]),
        (["demo", "--allow-origin", "example.org"], ["--allow-origin example.org", "http://"]),
        (
            ["demo", "--virtual-camera", "/dev/none", "--port", "0"],
            ["no virtual camera /dev/none", "modprobe"],
        ),
        (["demo", "--timecode", "--size", "256"], ["384", "--size 512"]),
        (["demo", "--avatar", "nobody", "--port", "0"], ["no avatar nobody", "vera"]),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: list[str]
) -> None:
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    for part in told:
        assert part in printed.err


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["demo", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_the_demo_serves_its_page_until_it_is_told_to_end(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "engine.cli", "demo", "--port", "0", "--timecode"]
    with started(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert ask(address + "healthz").json == {"status": "ok"}
        assert ask(address + "api/state").json["source"] == "motion"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
