"""Fixtures every test may use; real clips and models are read in place, never copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
