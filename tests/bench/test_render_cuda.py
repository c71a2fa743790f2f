"""The CUDA benchmark without a device: its cases, bytes, verdicts and table; with one, that it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from bench import render_cuda
from bench.cuda import host_waits as host_waits_module
from bench.cuda import timing as cuda_timing
from bench.cuda.agreement import EQUAL_DB, compare, motion, psnr_db
from bench.cuda.host_waits import FRAME, host_waits
from bench.cuda.rigged_scenes import (
    NUM_FACES,
    NUM_VERTICES,
    flame_size_rig,
    random_poses,
    rigged_head,
    still_head,
)
from bench.cuda.roofline import Workload, counted_bytes, floor_ms
from bench.scenes import ellipsoid_head
from engine import cli
from engine.errors import UsageError
from render.avatars.library import open_avatar
from render.cuda.avatar_renderer import AvatarRenderer
from render.importers.lam import import_lam
from tests.render.cuda.cuda_renderers import emulated_device

TIMES = {"min_ms": 0.04, "p50_ms": 0.05, "p99_ms": 0.07}


def row(**changes: Any) -> dict[str, Any]:
    case = {"num_gaussians": 100_000, "size": "512x512", "kind": "3d", "rig": True, "batch": 1}
    times = {"ours": TIMES, "ours_period": TIMES, "ours_draw": TIMES}
    return {**case, **times, "pairs": 9, "floor_ms": 0.006, "pictures_per_s": 20_000, **changes}


def result(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "device": {"name": "NVIDIA H200", "torch": "2.11.0", "cuda": "13.0"},
        "copy_gb_per_s": 4300.0,
        "frames": 200,
        "gsplat": "measured",
        "rows": rows,
        "agreement": {"vera": {"least_psnr_db": 61.0, "median_psnr_db": 63.0, "largest_step": 2}},
        "profiles": {"512x512": {"waits_per_frame": 1.0, "kernel_us": {"pose_rig": 4.5, "draw": 30.0}}},
        "device_mb": {"before": 500.0, "after": 501.0},
        **changes,
    }


def test_without_a_device_it_says_so_and_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render_cuda, "cuda_refusal", lambda: "no NVIDIA driver")
    with pytest.raises(UsageError, match=r"no NVIDIA driver.*docs/gpu\.md"):
        render_cuda.measure()
    monkeypatch.setattr("sys.argv", ["render_cuda", "--frames", "3"])
    with pytest.raises(SystemExit) as leaving:
        render_cuda.main()
    assert leaving.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("visavis: nothing to measure with CUDA: no NVIDIA driver")


def test_the_cases_of_the_issue_are_all_there() -> None:
    cases = render_cuda.cases(render_cuda.GAUSSIANS, render_cuda.SIZES, render_cuda.BATCHES)
    assert len(cases) == len(set(cases)) == 2 * 4 * 2 * 2 + 2 * 6
    for num, size, batch in render_cuda.TARGETS:
        assert render_cuda.Case(num, size, "3d", True, batch) in cases
    assert {case.num_gaussians for case in cases} == {20_000, 60_000, 100_000, 200_000}
    assert {case.batch for case in cases if case.kind == "surfels"} == {1, 2, 4, 8, 16, 32, 64}
    assert not [case for case in cases if not case.rig and case.batch > 1]
    assert render_cuda.cases([7], ["64x64"], [64]) == [
        render_cuda.Case(60_000, "512x512", kind, True, 64) for kind in ("3d", "surfels")
    ]


def test_the_rig_has_flames_size() -> None:
    rig = flame_size_rig()
    assert (rig.num_vertices, len(rig.faces)) == (NUM_VERTICES, NUM_FACES) == (5023, 9976)
    assert rig.num_expressions == 100
    assert rig.pose_basis is not None
    assert rig.pose_basis.shape == (36, 5023 * 3)
    corners = rig.template[rig.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normals * corners.mean(1)).sum(1) > 0).all()  # every triangle faces outwards, none is collapsed


@pytest.mark.parametrize("surfel", [False, True])
def test_a_rigged_head_at_rest_is_the_head(surfel: bool) -> None:
    head = ellipsoid_head(500, surfel=surfel)
    for avatar in (rigged_head(500, surfel=surfel), still_head(500, surfel=surfel)):
        posed = avatar.pose(avatar.rig.neutral_params())
        assert torch.allclose(posed.means, head.means, atol=1e-6)
        assert torch.allclose(posed.scales(), head.scales(), rtol=1e-4)
        assert posed.is_surfel == surfel
        assert avatar.default_camera(64, 64).fx == pytest.approx(32 / 0.19438, rel=1e-3)  # 22 degrees
    poses = random_poses(rigged_head(50).rig, 2)
    assert not torch.equal(poses[0].expression, poses[1].expression)


def test_bytes_are_counted_by_hand() -> None:
    work = Workload(10, 32, 16, 3, num_pairs=40, num_vertices=5, num_faces=3, num_joints=2, num_bases=7)
    counted = counted_bytes(work)
    assert counted == {
        "rig": 5 * (12 * 8 + 8) + 3 * 12 + 2 * 5 * 12,
        "gaussians": 10 * (4 * (3 + 4 + 3 + 1 + 3) + 4),
        "records": 2 * 10 * 44,
        "pairs": 2 * 40 * 8,
        "picture": 32 * 16 * 3,
        "total": sum(value for name, value in counted.items() if name != "total"),
    }
    assert floor_ms(4.3e9, 4.3e12) == pytest.approx(1.0)


def test_a_batch_shares_the_avatar_and_nothing_else() -> None:
    one, many = (
        counted_bytes(Workload(10, 32, 16, 1.5, 40, surfel=True, sh_degree=1, batch=batch))
        for batch in (1, 8)
    )
    assert many["gaussians"] == one["gaussians"] == 10 * (4 * (3 + 4 + 2 + 1 + 12) + 4)
    assert [many[name] / one[name] for name in ("records", "pairs", "picture")] == [8, 8, 8]


def test_verdicts_name_what_was_asked_and_what_was_found() -> None:
    fast = row(speed_up=6.5)
    slow = row(size="1920x1080", ours={**TIMES, "p50_ms": 0.31}, speed_up=3.0)
    batch = row(num_gaussians=60_000, batch=64, ours={**TIMES, "p50_ms": 3.1})
    lines = render_cuda.verdicts(result(fast, slow, batch, row(kind="surfels"), row(rig=False)))
    assert [line[:4].strip() for line in lines] == ["ok", "ok", "FAIL", "FAIL", "ok", "ok", "ok"]
    assert lines[2] == "FAIL 100,000 3d, 1920x1080, rig: 0.31 ms, asked for 0.2 ms"
    blind = render_cuda.verdicts(result(profiles={"64x64": {"waits_per_frame": None}}))
    assert blind[-1] == "FAIL waits of the host in a frame, 64x64: not seen, asked for 1"
    assert "FAIL vera against the CPU: 49 dB, asked for 50 dB" in render_cuda.verdicts(
        result(agreement={"vera": {"least_psnr_db": 49.0}})
    )


def test_the_table_has_a_line_for_every_row_and_a_dash_for_what_failed() -> None:
    rows = [row(gsplat_eager=TIMES, speed_up=9.0), row(gsplat_eager={"error": "out of memory"})]
    text = render_cuda.table(result(*rows)).splitlines()
    assert len(text) == 2 + 2 + 1 + 1 + 6
    assert text[5] == "kernels of 100,000 at 512x512, microseconds: pose_rig 4.5, draw 30"
    assert text[2].startswith("100,000 3d, 512x512, rig ")
    assert text[2].split()[-9:-1] == ["0.006", "0.050", "0.070", "0.050", "0.050", "-", "0.050", "9.000"]
    assert text[3].split()[-4:] == ["-", "-", "-", "20,000"]
    assert len({len(line) for line in text[1:4]}) == 1


def test_waits_within_frames_are_counted_and_others_are_not() -> None:
    def event(category: str, name: str, ts: float, dur: float = 1.0) -> dict[str, Any]:
        return {"ph": "X", "cat": category, "name": name, "ts": ts, "dur": dur}

    frames = [event("user_annotation", FRAME, start, 10.0) for start in (100, 200)]
    device = [event("kernel", "draw", 105.0), event("gpu_memcpy", "copy", 106.0)] * 8
    quiet = [event("cuda_runtime", "cudaMemcpyAsync", 101.0), event("cuda_runtime", "cudaGraphLaunch", 102.0)]
    ends = [event("cuda_sync", "Event Sync", 108.0), event("cuda_sync", "Event Sync", 208.0)]
    after = [event("cuda_runtime", "cudaDeviceSynchronize", 300.0), event("cuda_sync", "Context Sync", 300.0)]
    found = host_waits([*frames, *device, *quiet, *ends, *after])
    assert found["waits_per_frame"] == 1.0
    assert (found["frames"], found["kernels_per_frame"], found["copies_per_frame"]) == (2, 4.0, 4.0)
    assert found["kernel_us"] == {"draw": 1.0}
    more = [event("cuda_runtime", "cudaStreamSynchronize", at) for at in (101.0, 103.0, 201.0)]
    assert host_waits([*frames, *ends, *more])["waits_per_frame"] == 1.5
    assert host_waits([*frames, *quiet])["waits_per_frame"] is None


def test_likeness_is_measured_in_decibel() -> None:
    black = torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()
    assert psnr_db(black, black) == EQUAL_DB
    assert psnr_db(black, black + 1) == pytest.approx(48.13, abs=0.01)
    moments = list(motion(open_avatar("vera")))
    assert len(moments) == 12
    assert not torch.equal(moments[0].pose, moments[4].pose)


def test_the_command_measures_the_back_end_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fake:
        name = "cuda"

    monkeypatch.setattr("engine.commands.bench.open_backend", lambda name: Fake())
    monkeypatch.setattr(render_cuda, "measure", lambda: result(row()))
    assert cli.main(["bench", "render", "--backend", "cuda"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["device"]["name"] == "NVIDIA H200"
    assert "NVIDIA H200" in printed.err


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels run on the CPU, every frame takes a millisecond, and there is no gsplat."""

    def timed(frame: Callable[[int], object], count: int, **options: Any) -> np.ndarray:
        for i in range(count):
            frame(i)
        return np.ones(count)

    stage = partial(AvatarRenderer, device=emulated_device())
    monkeypatch.setattr("render.cuda.avatar_renderer.AvatarRenderer", stage)
    monkeypatch.setattr("render.cuda.backend.AvatarRenderer", stage)
    for name in ("device_ms", "period_ms", "wall_ms"):
        monkeypatch.setattr(cuda_timing, name, timed)
    monkeypatch.setattr(cuda_timing, "copy_bandwidth", lambda: 4.3e12)
    monkeypatch.setattr(cuda_timing, "used_device_mb", lambda: 500.0)
    monkeypatch.setattr(host_waits_module, "profiled", lambda frame, frames: [])
    monkeypatch.setattr(render_cuda, "cuda_refusal", lambda: None)
    monkeypatch.setattr(render_cuda, "PROFILED", 100)
    monkeypatch.setattr(render_cuda, "POSES", 2)
    monkeypatch.setattr(render_cuda, "describe_device", lambda: {"name": "none", "torch": "-", "cuda": "-"})
    monkeypatch.setattr("bench.cuda.agreement.SIZE", 64)
    monkeypatch.setattr("bench.cuda.agreement.MOMENTS", 2)
    monkeypatch.setattr("bench.cuda.agreement._avatars", lambda: [rigged_head(300)])


def test_every_step_runs_with_the_kernels_on_the_cpu(emulated: None) -> None:
    measured = render_cuda.measure([300], ["64x64"], [1], frames=1)
    assert [(one["kind"], one["rig"]) for one in measured["rows"]] == [
        ("3d", True), ("3d", False), ("surfels", True), ("surfels", False),
    ]  # fmt: skip
    for one in measured["rows"]:
        assert one["ours"] == one["ours_draw"] == {"min_ms": 1.0, "p50_ms": 1.0, "p99_ms": 1.0}
        assert one["pairs"] > 100
        assert one["pictures_per_s"] == 1000
        assert one["overflows"] == 0
        assert 0 < one["floor_ms"] < 1
        assert one["megabytes"]["rig"] == (pytest.approx(8.6, abs=0.1) if one["rig"] else 0)
    assert measured["gsplat"] != "measured" or torch.cuda.is_available()
    (likeness,) = measured["agreement"].values()
    assert likeness["least_psnr_db"] > 50
    assert measured["profiles"]["64x64"]["waits_per_frame"] is None
    assert "300 3d, 64x64, one joint" in render_cuda.table(measured)
    json.dumps(measured)


@pytest.mark.parametrize("name", ["vera", "lam_p2-1"])
def test_moving_avatars_look_as_on_the_cpu(
    name: str, emulated: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The kernels run on the CPU; 8 bits of float32 in another order: issue 4 asks for 50 dB."""
    monkeypatch.setattr("bench.cuda.agreement.SIZE", 128)
    if name == "vera":
        avatar = open_avatar(name)
    else:
        avatar = import_lam(request.getfixturevalue("testdata_dir") / "avatars" / name)
    found = compare(avatar)
    assert found["least_psnr_db"] > 60
    assert found["largest_step"] <= 2


def test_a_batch_is_drawn_in_one_launch(emulated: None) -> None:
    one = render_cuda.measure_case(render_cuda.Case(200, "64x64", "surfels", True, batch=3), 1, 1e12, False)
    assert one["batch"] == 3
    assert one["megabytes"]["picture"] == round(3 * 64 * 64 * 3 / 1e6, 2)


@pytest.mark.gpu
def test_it_measures_on_this_device() -> None:
    measured = render_cuda.measure([2000], ["256x256"], [1], frames=5, with_gsplat=False)
    assert len(measured["rows"]) == 4
    assert all(one["ours"]["p50_ms"] > 0 for one in measured["rows"])
    assert min(picture["least_psnr_db"] for picture in measured["agreement"].values()) >= 50
    assert measured["profiles"]["256x256"]["waits_per_frame"] == 1
    assert measured["profiles"]["256x256"]["kernel_us"].keys() >= {"pose_rig", "draw_gaussians"}
