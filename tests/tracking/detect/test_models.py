"""Model files: where they are looked for, and downloads that break, resume, lie and fail."""

from __future__ import annotations

import argparse
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.commands import models as command
from engine.model_fetch import ensure_model
from tracking.detect.models import catalogue as models
from tracking.detect.models import wheel_model
from tracking.detect.models.catalogue import ModelFile, fetch_model, installed_path, model_path, models_folder
from tracking.detect.models.download import DownloadError, download
from tracking.errors import TrackingError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT on this machine; can cut connections and ignore ranges."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.cut_at: int | None = None
        self.honours_ranges = True
        self.content = CONTENT
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.ranges.append(asked)
                if self.path != "/model":
                    self.send_error(404)
                    return
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
                if asked and not outer.honours_ranges:
                    start, asked = 0, None
                if start >= len(outer.content):
                    self.send_error(416)
                    return
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(outer.content) - start))
                self.end_headers()
                self.wfile.write(outer.content[start : outer.cut_at])

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path / "models"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "models"


@pytest.fixture
def model(server, monkeypatch) -> ModelFile:
    entry = ModelFile(
        "small", "small.task", f"{server.address}/model", SHA256, len(CONTENT), "CC0-1.0", "tests"
    )
    monkeypatch.setitem(models.MODELS, "small", entry)
    return entry


def test_a_model_is_fetched_once_with_progress(folder, model, server):
    seen: list[tuple[int, int]] = []
    path = model_path("small", lambda done, total: seen.append((done, total)))
    assert path == folder / "small.task"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert model_path("small") == path
    assert len(server.ranges) == 1
    assert [file.name for file in folder.iterdir()] == ["small.task"]


def test_a_broken_connection_is_resumed_where_it_stopped(folder, model, server):
    server.cut_at = 100_000
    with pytest.raises(TrackingError, match="the connection ended at 100000 of 512000 bytes"):
        fetch_model("small")
    assert not (folder / "small.task").exists()
    server.cut_at = None
    assert fetch_model("small").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_a_server_without_ranges_sends_it_all_again(folder, model, server):
    folder.mkdir()
    (folder / "small.task.part").write_bytes(CONTENT[:5000])
    server.honours_ranges = False
    assert fetch_model("small").read_bytes() == CONTENT


def test_a_whole_part_is_taken_as_it_is(folder, model, server):
    folder.mkdir()
    (folder / "small.task.part").write_bytes(CONTENT)
    assert fetch_model("small").read_bytes() == CONTENT


def test_another_file_under_the_address_is_refused_and_deleted(folder, model, server):
    server.content = b"a log-in page of the hotel's network"
    with pytest.raises(TrackingError, match="got another file"):
        fetch_model("small")
    assert list(folder.iterdir()) == []


def test_no_network_names_the_address_and_the_folder_in_one_line(folder, model, server):
    server.close()
    with pytest.raises(TrackingError) as raised:
        model_path("small")
    message = str(raised.value)
    assert model.url in message
    assert str(folder) in message
    assert "\n" not in message


def test_an_http_error_is_told(tmp_path, server):
    with pytest.raises(DownloadError, match="HTTP 404"):
        download(f"{server.address}/other", tmp_path / "x", SHA256)


def test_a_damaged_installed_file_is_noticed(folder, model):
    folder.mkdir()
    (folder / "small.task").write_bytes(CONTENT[:-1])
    with pytest.raises(TrackingError, match="delete it and run `visavis models fetch`"):
        model_path("small")


def test_a_folder_that_cannot_be_made_is_one_line(monkeypatch, tmp_path, model):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path / "file"))
    with pytest.raises(TrackingError, match="cannot make the models' folder"):
        fetch_model("small")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(TrackingError, match="the models are: face_landmarker"):
        model_path("nose")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "/home/ada/.cache/visavis/models"),
        ("linux", {"XDG_CACHE_HOME": "/cache"}, "/cache/visavis/models"),
        ("darwin", {}, "/home/ada/Library/Caches/visavis/models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/visavis/Cache/models"),
        ("linux", {"VISAVIS_MODELS": "~/mine"}, "/home/ada/mine"),
    ],
)
def test_the_folder_follows_the_platforms_custom(monkeypatch, platform, variables, expected):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("HOME", "/home/ada")
    for name in ("VISAVIS_MODELS", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert models_folder() == Path(expected)


# --- the stand-in from the wheel


@pytest.fixture
def with_stand_in(server, monkeypatch) -> ModelFile:
    """A model whose address gives 404."""
    entry = ModelFile(
        "small", "small.task", f"{server.address}/gone", SHA256, 1, "CC0-1.0", "tests", "small_stand_in.task"
    )
    monkeypatch.setitem(models.MODELS, "small", entry)
    return entry


def test_where_the_address_fails_the_stand_in_is_made_once(folder, with_stand_in, monkeypatch):
    made = []

    def install(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"bundle")

    monkeypatch.setattr(wheel_model, "install_from_wheel", install)
    monkeypatch.setattr(wheel_model, "is_current", lambda path: path.exists())
    stand_in = folder / "small_stand_in.task"
    assert model_path("small") == stand_in
    assert model_path("small") == stand_in
    assert fetch_model("small") == stand_in  # tried the address again, in vain
    assert made == [stand_in]
    assert installed_path("small") == stand_in


def test_the_official_file_is_preferred(folder, with_stand_in, monkeypatch):
    folder.mkdir()
    monkeypatch.setattr(wheel_model, "is_current", lambda path: True)
    (folder / "small.task").write_bytes(CONTENT)
    assert model_path("small") == folder / "small.task"


def test_when_the_registry_fails_too_both_reasons_are_told_in_one_line(folder, with_stand_in, monkeypatch):
    def refuse(path: Path) -> None:
        raise TrackingError("pip cannot get mediapipe==0.10.21 (no such host)")

    monkeypatch.setattr(wheel_model, "install_from_wheel", refuse)
    with pytest.raises(TrackingError) as raised:
        model_path("small")
    message = str(raised.value)
    for part in (with_stand_in.url, "HTTP 404", "no such host", str(folder)):
        assert part in message
    assert "\n" not in message


# --- the command


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def test_list_tells_where_each_model_is(folder, model, capsys):
    assert run("list") == 0
    assert "run `visavis models fetch`" in capsys.readouterr().out
    fetch_model("small")
    assert run("list") == 0
    out = capsys.readouterr().out
    for part in (str(folder / "small.task"), "(checked)", SHA256, "CC0-1.0", model.url):
        assert part in out


def test_fetch_prints_the_path_and_does_not_fetch_twice(folder, model, server, capsys):
    assert run("fetch", "small") == 0
    assert capsys.readouterr().out == f"{folder / 'small.task'}\n"
    assert run("fetch", "small") == 0
    assert "already there" in capsys.readouterr().out
    assert len(server.ranges) == 1


def test_a_command_that_needs_a_model_fetches_it_and_says_so(folder, model, server, capsys):
    assert ensure_model("small") == folder / "small.task"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "fetching the model small" in captured.err
    ensure_model("small")
    assert capsys.readouterr().err == ""


def test_fetch_of_an_unknown_name_fetches_nothing(folder, model, server):
    with pytest.raises(TrackingError, match="'nose'"):
        run("fetch", "small", "nose")
    assert server.ranges == []
