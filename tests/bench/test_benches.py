"""Benchmarks print a table for people and one JSON object last; nobody checks the figures here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import encode
from bench import record as record_bench
from bench import track as track_bench
from engine import cli
from engine.commands import bench as bench_command
from engine.errors import UsageError


def test_encode_measures_time_size_and_quality() -> None:
    result = encode.measure(num_frames=6)
    assert set(result["sizes"]) == {"512x512", "1280x720"}
    for figures in result["sizes"].values():
        assert 0 < figures["p50_ms"] <= figures["p95_ms"]
        assert figures["kbit_per_s"] > 10
        assert figures["psnr_db"] > 35  # crf 18: below, the planes were mixed up
    assert len(encode.table(result).splitlines()) == 3


def test_record_measures_every_stage(models_dir: Path) -> None:
    result = record_bench.measure(seconds=0.4)
    assert result["frames"] == 12
    assert {"capture", "track", "solve", "pose", "render", "encode"} <= set(result["stages"])
    assert result["found"] > 0.9  # the detector sees the avatar
    assert "fps" in record_bench.table(result)


def test_track_measures_the_driver_that_users_get(models_dir: Path) -> None:
    result = track_bench.measure(frames=40)
    (clip,) = result["clips"]
    assert clip["frames"] == 40
    assert clip["found"] == 1.0  # the detector sees the avatar
    live = clip["live"]
    assert 0 < live["solve"]["p50_ms"] < live["detect"]["p50_ms"] < live["both"]["p50_ms"]
    assert 0 < result["still"]["point_px"] < result["still"]["shaken_px"]  # the filter calms
    assert "refine" in track_bench.table(result)


def test_the_command_prints_one_json_object_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encode, "measure", lambda: {"bench": "encode", "sizes": {}})
    assert cli.main(["bench", "encode", "--json", str(tmp_path / "f.json")]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1]) == {"bench": "encode", "sizes": {}}
    assert json.loads((tmp_path / "f.json").read_text()) == {"bench": "encode", "sizes": {}}
    assert "kbit/s" in printed.err


def test_one_bench_that_cannot_run_does_not_cost_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacks() -> dict[str, object]:
        raise UsageError("no Chromium found")

    module = SimpleNamespace(measure=lambda: {"bench": "fine"}, table=lambda result: "")
    broken = SimpleNamespace(measure=lacks, table=lambda result: "")
    monkeypatch.setattr(bench_command, "BENCHES", {"fine": "fine", "broken": "broken"})
    monkeypatch.setitem(sys.modules, "fine", module)
    monkeypatch.setitem(sys.modules, "broken", broken)
    assert cli.main(["bench"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == {"fine": {"bench": "fine"}, "broken": {"bench": "broken", "error": "no Chromium found"}}
