"""Fixtures of the live server's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.transport.synthetic_live import SyntheticLive
from transport.http.server import ServerSettings
from transport.webrtc.camera import BrowserCamera


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyntheticLive]:
    """A server of a synthetic picture, one for all the tests of a module."""
    folder = tmp_path_factory.mktemp("recordings")
    settings_ = ServerSettings(port=0, recordings_dir=folder, max_viewers=4)
    with SyntheticLive(settings_, width=384, height=256, camera=BrowserCamera()) as running:
        yield running
