"""The command line as a user meets it: exit codes, one line of advice, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import cli
from engine.cli import COMMANDS
from render.avatars.library import DEFAULT_AVATAR

Refused = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused; gives its one line on stderr, whoever wrote there."""

    def run(*args: str | Path) -> str:
        code = cli.main([str(a) for a in args])
        printed = capfd.readouterr()
        assert code == 2, printed.err
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith("visavis: ")
        return line

    return run


def test_help_teaches_and_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "engine.cli", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"  {name}" in result.stdout
    assert "examples:" in result.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "engine.errors" in loaded
    assert not loaded & {"torch", "numba", "mediapipe", "av", "numpy", "rich"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main([name, "--help"])
    assert leaving.value.code == 0
    assert f"usage: visavis {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("visavis 0")


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["recrod"], ["'recrod'", "record"]),
        (["--verison"], ["'--verison'", "--version"]),
        (["record", "a.mp4", "-o", "b.mp4", "--sise", "3"], ["'--sise'", "--size", "visavis record --help"]),
        (["record", "a.mp4"], ["-o", "visavis record --help"]),
        (["record", "a.mp4", "-o", "b.mp4", "--backend", "metal"], ["metal", "cpu"]),
        (["record", "a.mp4", "-o", "b.mp4", "--backend", "cuda"], ["cuda", "--backend cpu"]),
        (["record", "a.mp4", "-o", "b.mp4", "--size", "511"], ["511", "even"]),
        (["record", "a.mp4", "-o", "b.mp4", "--size", "wide"], ["wide", "512"]),
        (["record", "a.mp4", "-o", "b.mp4", "--background", "mauvish"], ["mauvish", "#rrggbb"]),
        (["demo", "--seconds", "-1"], ["-1", "above 0"]),
    ],
)
def test_usage_mistakes_name_the_value_and_the_next_step(
    args: list[str], parts: list[str], tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(*args)
    for part in parts:
        assert part in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_beats_the_work(tmp_path: Path, refused: Refused) -> None:
    refused("demo", "--sizes", "64", "-o", tmp_path / "o.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "sound", "folder"])
@pytest.mark.parametrize("command", ["record", "track"])
def test_inputs_that_are_no_video(kind: str, command: str, tmp_path: Path, refused: Refused) -> None:
    source = tmp_path / "in.mp4"
    if kind == "empty":
        source.touch()
    elif kind == "text":
        source.write_text("this is not a video\n" * 100)
    elif kind == "sound":
        source.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64))
    elif kind == "folder":
        source.mkdir()
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / ("out.mp4" if command == "record" else "out.npz")
    line = refused(command, source, "-o", out)
    assert "in.mp4" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_outputs_that_cannot_be_written(tmp_path: Path, refused: Refused) -> None:
    clip = tmp_path / "in.mp4"
    clip.write_bytes(b"never read")
    (tmp_path / "folder.mp4").mkdir()
    for out, part in [
        (tmp_path / "no" / "such" / "out.mp4", "no folder"),
        (tmp_path / "folder.mp4", "is a folder"),
        (tmp_path / "out.txt", ".mp4"),
        (clip, "also the input"),
    ]:
        assert part in refused("record", clip, "-o", out)
    assert "no folder" in refused(
        "record", clip, "-o", tmp_path / "out.mp4", "--report", tmp_path / "no" / "r.json"
    )
    assert ".npz" in refused("track", clip, "-o", tmp_path / "out.mp4")
    assert clip.read_bytes() == b"never read"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.mp4", "in.mp4"]


def test_an_unknown_avatar(tmp_path: Path, refused: Refused) -> None:
    line = refused("demo", "--avatar", "nobody", "-o", tmp_path / "out.mp4")
    assert "nobody" in line
    assert DEFAULT_AVATAR in line
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error() -> None:
    """As in `visavis ... | head -0`."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.stdin.read(); from engine.cli import main; sys.exit(main(['--version']))",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()  # now it prints
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_bugs_keep_their_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "demo", ("engine.no_such_module", ""))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["demo"])


def test_the_program_s_exit_code_is_main_s(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine.cli", "recrod"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("visavis: unknown command 'recrod', did you mean record?")


def test_the_default_avatar_is_the_library_s() -> None:
    from render.avatars import library

    assert DEFAULT_AVATAR == library.DEFAULT_AVATAR


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Interrupts come as they do to a command."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGINT, cli._interrupt)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGALRM), before, strict=True):
        signal.signal(number, handler)


INTERRUPTED = """
interrupt()
for _ in range(20):
    sleep(0.005)
done.append(__name__)
"""
CALLED_BACK = f"def notify():{INTERRUPTED.replace(chr(10), chr(10) + '    ')}\nnotify()"
FINALISED = f"class It:\n  def __del__(self):{INTERRUPTED.replace(chr(10), chr(10) + '    ')}\nIt()"


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize(
    ("module", "code"),
    [("torch", INTERRUPTED), ("llvmlite.binding.executionengine", CALLED_BACK), ("any", FINALISED)],
    ids=["torch loads", "LLVM calls back", "an object goes"],
)
def test_ctrl_c_where_an_exception_does_harm_comes_just_after(module: str, code: str) -> None:
    """While torch loads it would abort the process; in the others it would be printed and lost."""
    done: list[str] = []
    names = {"interrupt": lambda: signal.raise_signal(signal.SIGINT), "sleep": time.sleep, "done": done}
    code_object = compile(code, module, "exec")

    def work() -> None:
        exec(code_object, {"__name__": module, **names})
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [module]


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_while_a_lock_is_taken_comes_just_after() -> None:
    """An interrupt between the lines of threading's own code would leave its lock taken for ever."""
    condition = threading.Condition(threading.Lock())
    taken, reached = threading.Event(), []

    def hold() -> None:
        with condition:
            taken.set()
            time.sleep(0.1)  # the main thread waits inside Condition.__enter__ by then
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.1)

    def enter() -> None:
        with condition:
            reached.append("inside")
            time.sleep(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    with pytest.raises(KeyboardInterrupt):
        enter()
    holder.join()
    assert reached == ["inside"]
    assert condition.acquire(blocking=False)


@pytest.mark.parametrize(("command", "code"), [("caught", 0), ("uncaught", 130)])
def test_an_interrupt_in_text_run_by_exec_leaves_the_exit_code_ours(
    command: str, code: int, tmp_path: Path
) -> None:
    """As it comes while torch loads, which makes its dataclasses so; Python would end by the signal."""
    (tmp_path / "caught.py").write_text(
        "import contextlib\n"
        "def add_arguments(parser): pass\n"
        "def run(args):\n"
        "    with contextlib.suppress(KeyboardInterrupt):\n"
        "        exec('raise KeyboardInterrupt')\n"
    )
    (tmp_path / "uncaught.py").write_text(
        "def add_arguments(parser): pass\ndef run(args): exec('raise KeyboardInterrupt')\n"
    )
    (tmp_path / "entry.py").write_text(
        "import sys\n"
        "from engine import cli\n"
        f"cli.COMMANDS[{command!r}] = ({command!r}, '')\n"
        f"sys.exit(cli.main([{command!r}]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "entry"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")
