"""Compiling the CUDA kernels, which needs the compiler's package and no device."""

from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="pip install 'visavis[gpu]'")

from render.cuda import program
from render.cuda.program import KERNELS, compile_kernels, kernels_for, supported_architectures

ARCHITECTURES = ("sm_80", "sm_89", "sm_90", "sm_100", "sm_120")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_kernels_compile_without_spills(arch: str) -> None:
    if arch not in supported_architectures():
        pytest.skip(f"the installed compiler does not know {arch}")
    cubin, resources = compile_kernels(arch)
    assert cubin.startswith(b"\x7fELF")
    assert set(resources) == set(KERNELS)
    for name, kernel in resources.items():
        assert name.encode() in cubin
        assert kernel.spill_bytes == 0, name
        assert kernel.shared_bytes <= 48 * 1024, name  # what a block gets without asking for more
        assert 16 <= kernel.registers <= 80, name  # 80: three blocks of 256 threads on a multiprocessor


def test_the_cache_is_used_until_the_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_once(arch: str) -> tuple[bytes, dict[str, program.Resources]]:
        compiled.append(arch)
        return b"code", {}

    monkeypatch.setattr(program, "compile_kernels", compile_once)
    for _ in range(2):
        assert kernels_for("sm_90", tmp_path / "new") == b"code"
    assert compiled == ["sm_90"]
    kernels_for("sm_80", tmp_path / "new")
    monkeypatch.setattr(program, "ALPHA_MIN", 1 / 254)
    kernels_for("sm_90", tmp_path / "new")
    assert compiled == ["sm_90", "sm_80", "sm_90"]
    assert len(list((tmp_path / "new").iterdir())) == 3  # and no half-written file


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "compile_kernels", lambda arch: (b"code", {}))
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert kernels_for("sm_90", blocked) == b"code"


def test_a_refused_architecture_is_named() -> None:
    with pytest.raises(RuntimeError, match="sm_1"):
        compile_kernels("sm_1")


def test_wrong_code_brings_the_compilers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_UNITS", ("nothing.cu",))
    with pytest.raises(RuntimeError, match=r"sm_90.*nothing\.cu"):
        compile_kernels("sm_90")
