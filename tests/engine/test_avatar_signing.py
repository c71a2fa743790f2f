"""`visavis avatar sign` and `verify`, from arguments to exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli import main
from render.avatars.file import save_avatar
from tests.render.avatars.small_avatars import random_avatar


@pytest.fixture
def avatar_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "sam.avatar"
    save_avatar(random_avatar(), path)
    return path


def test_signing_makes_a_key_once_and_verifying_tells_whose_it_is(
    avatar_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["avatar", "verify", str(avatar_file)]) == 1
    assert "not signed" in capsys.readouterr().out
    assert main(["avatar", "sign", str(avatar_file), "--name", "Ann Lee"]) == 0
    out, err = capsys.readouterr()
    assert "signed by Ann Lee" in out
    assert "keep it secret" in err
    fingerprint = out.strip().rpartition(" ")[2]
    other = tmp_path / "other.avatar"
    assert (
        main(["avatar", "sign", str(avatar_file), "--name", "Ann Lee", "--no-copies", "-o", str(other)]) == 0
    )
    out, err = capsys.readouterr()
    assert "not to be copied" in out
    assert fingerprint in out
    assert not err, "the key is there"
    assert main(["avatar", "verify", str(other), "--key", fingerprint.upper()]) == 0
    out = capsys.readouterr().out
    assert "unchanged since" in out
    assert "nobody's face" in out
    assert main(["avatar", "verify", str(avatar_file), "--key", "0" * 32]) == 1
    assert "not the key" in capsys.readouterr().out
    assert main(["avatar", "info", str(other)]) == 0
    assert "signed by Ann Lee" in capsys.readouterr().out


def test_a_changed_file_is_told_and_not_played(
    avatar_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["avatar", "sign", str(avatar_file), "--name", "Ann Lee"]) == 0
    avatar_file.write_bytes(avatar_file.read_bytes().replace(b"nobody's face", b"anybody's fac"))
    capsys.readouterr()
    assert main(["avatar", "verify", str(avatar_file), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["good"], facts["signed"]) == (False, True)
    assert "its signature is broken" in facts["said"]
    assert main(["demo", "-o", str(tmp_path / "a.mp4"), "--avatar", str(avatar_file)]) == 2
    assert "its signature is broken" in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vera", "--name", "Ann"], "must end in .avatar"),
        (["none.avatar", "--name", "Ann"], "none.avatar is no file"),
        (["{file}", "--name", ""], "--name ''"),
        (["{file}", "--name", "Ann", "--key", "{file}"], "no private key"),
        (["{file}", "--name", "Ann", "-o", "a.txt"], "must end in .avatar"),
    ],
)
def test_mistakes_are_one_line(
    avatar_file: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = avatar_file.read_bytes()
    assert main(["avatar", "sign", *(text.replace("{file}", str(avatar_file)) for text in arguments)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert avatar_file.read_bytes() == before
