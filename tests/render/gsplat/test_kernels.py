"""gsplat's kernels are built once and said to be; a failed build is one line. Nothing is compiled here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from render.gsplat import kernels as gsplat_kernels
from render.gsplat.kernels import GsplatError, first_error, gsplat_refusal, load_gsplat

LOG = """Error building extension 'gsplat_cuda': [1/29] nvcc -o a.o
FAILED: a.o
\x1b[1m/src/Projection.cu(12): error: identifier "foo" is undefined
ninja: build stopped: subcommand failed."""


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine that could build: gives where the result would lie."""
    pytest.importorskip("gsplat", reason="pip install gsplat")
    built = tmp_path / "gsplat_cuda.so"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gsplat_kernels, "built_kernels", lambda: built)
    monkeypatch.setattr(gsplat_kernels, "_has_nvcc", lambda: True)
    load_gsplat.cache_clear()
    yield built
    load_gsplat.cache_clear()


def build_as(
    monkeypatch: pytest.MonkeyPatch, kernels: object, said: str = "", error: Exception | None = None
) -> None:
    """Make importing gsplat's back end do what a build does."""

    def import_module(name: str) -> ModuleType:
        if name != "gsplat.cuda._backend":
            return sys.modules[name]
        print(said)
        if error is not None:
            raise error
        module = ModuleType(name)
        module._C = kernels  # type: ignore[attr-defined]
        return module

    monkeypatch.setattr(gsplat_kernels.importlib, "import_module", import_module)


def test_every_reason_names_the_next_step_or_what_is_missing(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gsplat_refusal() is None
    monkeypatch.setattr(gsplat_kernels, "_has_nvcc", lambda: False)
    assert "install the CUDA toolkit" in str(gsplat_refusal())
    ready.touch()  # built before, by another toolkit
    assert gsplat_refusal() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in str(gsplat_refusal())
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "without CUDA" in str(gsplat_refusal())
    monkeypatch.setattr(gsplat_kernels.importlib.util, "find_spec", lambda name: None)
    assert "pip install" in str(gsplat_refusal())


def test_a_build_is_said_on_stderr_and_a_built_one_is_not(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_as(monkeypatch, object(), said="gsplat: CUDA extension has been set up")
    assert load_gsplat().__name__ == "gsplat"
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 2
    assert "compiling gsplat's kernels, once" in printed.err
    ready.touch()
    load_gsplat.cache_clear()
    load_gsplat()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("kernels", "error", "told"),
    [
        (None, RuntimeError(LOG), 'did not compile: /src/Projection.cu(12): error: identifier "foo"'),
        (None, None, "are not there: gsplat: No CUDA toolkit found"),
    ],
)
def test_a_failed_build_is_one_line(
    ready: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernels: object,
    error: Exception | None,
    told: str,
) -> None:
    build_as(monkeypatch, kernels, "gsplat: No CUDA toolkit found. gsplat will be disabled.", error)
    with pytest.raises(GsplatError) as failure:
        load_gsplat()
    assert told in str(failure.value)
    assert "\n" not in str(failure.value)


def test_without_a_device_nothing_is_imported_or_built() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a device")
    sys.modules.pop("gsplat.cuda._backend", None)
    with pytest.raises(GsplatError):
        load_gsplat()
    assert "gsplat.cuda._backend" not in sys.modules


def test_the_telling_line_of_a_log() -> None:
    assert first_error("one\ntwo") == "one"
    assert first_error("") == "no message"
    assert (
        first_error("a\nx.cpp:3: fatal error: cuda.h: no such file")
        == "x.cpp:3: fatal error: cuda.h: no such file"
    )
