"""Calibrating what is to be driven: once, and never what needs none. The measuring is tested in tracking/."""

from __future__ import annotations

import pytest

from engine.calibrate import calibrated_if_seen, ensure_calibrated
from engine.progress import Bars
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.library import open_avatar
from tests.engine.live.fakes import small_avatar
from tracking.errors import TrackingError


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the avatars that were measured."""
    names: list[str] = []

    def calibrate(avatar: Avatar, progress: object) -> Avatar:
        names.append(avatar.name)
        if avatar.name == "unseen":
            raise TrackingError("the detector finds no face")
        return avatar

    monkeypatch.setattr("engine.calibrate.calibrate_avatar", calibrate)
    return names


def test_only_what_has_no_valid_calibration_is_measured(
    measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    vera = open_avatar("vera")
    with Bars() as bars:
        assert ensure_calibrated(vera, bars) is vera
        assert not measured
        assert capsys.readouterr().err == ""
        ensure_calibrated(vera.replace(extras={}, extras_meta={}), bars)
    assert measured == ["vera"]
    assert "calibrating vera" in capsys.readouterr().err


def test_what_the_detector_cannot_see_is_kept_as_it_is(
    measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    small = small_avatar()
    unseen = small.replace(info=AvatarInfo("unseen"))
    assert calibrated_if_seen(unseen, "imported without calibration") is unseen
    assert measured == ["unseen"]
    assert "imported without calibration: the detector finds no face" in capsys.readouterr().err
