"""A few broken Gaussians are left out and counted, many are refused; what remains breaks no picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from render.avatars.file import load_avatar, save_avatar
from render.cpu.renderer import CpuRenderer
from render.errors import AvatarError
from render.exporters import export_ply
from render.gaussians import Gaussians
from render.importers.gaussian_avatars import import_gaussian_avatars
from render.importers.lam import import_lam
from render.importers.ply import import_ply
from render.importers.sound import sound
from tests.render.avatars.small_avatars import random_gaussians
from tests.render.avatars.small_lam import write_lam_folder
from tests.render.avatars.test_importers import rigged_ply
from tests.render.rigs.mock_models import flame_arrays, write_npz

PATH = Path("a.ply")
N = 1000


def with_rows(rows: slice, **values: float) -> Gaussians:
    g = random_gaussians(N, degree=1)
    changed = {name: getattr(g, name).clone() for name in values}
    for name, value in values.items():
        changed[name][rows] = value
    return replace(g, **changed)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("name", "column"), [("means", "x"), ("quats", "rot_0"), ("sh", "f_dc_0")])
def test_a_few_that_are_not_finite_are_left_out(name: str, column: str, value: float) -> None:
    g = with_rows(slice(5, 8), **{name: value})
    got, kept, note = sound(g, PATH)
    assert note == f"3 of 1000 Gaussians left out (3 with a {column} that is not finite)"
    assert torch.equal((~kept).nonzero()[:, 0], torch.tensor([5, 6, 7]))
    assert torch.equal(got.logit_opacities, g.logit_opacities[kept])


@pytest.mark.parametrize("share", [0.011, 0.5, 1.0])
def test_many_are_refused(share: float) -> None:
    count = round(N * share)
    with pytest.raises(
        AvatarError, match=rf"a\.ply holds {count} Gaussians with a x that is not finite, of 1000"
    ):
        sound(with_rows(slice(0, count), means=float("nan")), PATH)


def test_a_small_set_may_lose_a_tenth() -> None:
    few = random_gaussians(20)
    few.means[:2] = torch.nan
    assert sound(few, PATH)[0].num_gaussians == 18
    few.means[2] = torch.inf
    with pytest.raises(AvatarError, match="3 Gaussians with a x"):
        sound(few, PATH)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"log_scales": 50.0}, "a size beyond reason"),
        ({"means": 1e30}, "a place beyond reason"),
        ({"sh": -1e30}, "a colour beyond reason"),
        ({"log_scales": float("inf")}, "a scale_0 that is not finite"),
        ({"logit_opacities": float("nan")}, "an opacity that is not finite"),
    ],
)
def test_absurd_ones_are_left_out(values: dict[str, float], fault: str) -> None:
    assert (
        sound(with_rows(slice(0, 2), **values), PATH)[2] == f"2 of 1000 Gaussians left out (2 with {fault})"
    )


def test_what_is_legal_at_infinity_is_kept() -> None:
    """Opaque, transparent and flat ones come from exporters that take a logarithm of 0, 1 and 0."""
    infinity = float("inf")
    for values in ({"logit_opacities": infinity}, {"logit_opacities": -infinity}, {"log_scales": -infinity}):
        g = with_rows(slice(0, 500), **values)
        got, kept, note = sound(g, PATH)
        assert bool(kept.all())
        assert note == ""
        assert bool(got.log_scales.isfinite().all() and got.logit_opacities.isfinite().all())
        torch.testing.assert_close(got.opacities(), g.opacities(), atol=1e-12, rtol=0)


def test_orientations_of_no_and_of_absurd_length() -> None:
    g = with_rows(slice(0, 3), quats=0.0)
    got, _, note = sound(g, PATH)
    assert note == "3 Gaussians without an orientation left unturned"
    assert got.quats[:3].tolist() == [[1, 0, 0, 0]] * 3
    got, _, note = sound(with_rows(slice(0, 3), quats=3e38), PATH)
    torch.testing.assert_close(got.quats[:3], torch.full((3, 4), 0.5))
    balls = replace(g, log_scales=g.log_scales[:, :1].expand(N, 3))
    assert sound(balls, PATH)[2] == ""  # a ball has none to lose


def test_a_veil_over_everything_is_left_out_and_the_picture_is_the_same(tmp_path: Path) -> None:
    clear = replace(random_gaussians(400), logit_opacities=torch.full((400,), 2.0))
    export_ply(clear, tmp_path / "clear.ply")
    veiled = replace(clear, log_scales=clear.log_scales.clone())
    veiled.log_scales[:40] = 9.0  # 8 km: one in ten, which no exporter's slip explains, but nobody breaks
    export_ply(veiled, tmp_path / "veiled.ply")
    avatar = import_ply(tmp_path / "veiled.ply")
    assert (
        "40 of 400 Gaussians left out (40 with a size beyond reason for the rest)" in avatar.info.provenance
    )
    assert avatar.gaussians.num_gaussians == 360
    renderer = CpuRenderer(64, 64)
    rest = avatar.pose(avatar.rig.neutral_params())
    rgb = renderer.render_rgb8(rest, avatar.default_camera(64, 64), (1.0, 1.0, 1.0)).copy()
    renderer.close()
    assert rgb[:6, :6].mean() > 240  # the corner is clear


def test_a_rigged_head_keeps_its_triangles_apart_when_gaussians_go(tmp_path: Path) -> None:
    flame = write_npz(tmp_path / "flame.npz", flame_arrays())
    triangles = np.arange(30) % 12
    triangles[3] = 500  # which that model does not have
    avatar = import_gaussian_avatars(rigged_ply(tmp_path / "a.ply", triangles), flame)
    data = (tmp_path / "a.ply").read_bytes()
    body = data.index(b"end_header\n") + len(b"end_header\n")
    row = (len(data) - body) // 30
    (tmp_path / "a.ply").write_bytes(data[: body + 5 * row] + b"\xff" * 4 + data[body + 5 * row + 4 :])
    got = import_gaussian_avatars(tmp_path / "a.ply", flame)
    assert "1 Gaussians on triangles" in got.info.provenance
    assert "1 of 29 Gaussians left out" in got.info.provenance
    (binding,) = got.bindings
    assert torch.equal(binding.face_index, torch.from_numpy(np.delete(triangles, [3, 5])))
    rows = torch.tensor([i for i in range(29) if i != 4])
    assert torch.equal(got.gaussians.sh, avatar.gaussians.sh[rows])


def test_points_without_extent_are_no_veil(tmp_path: Path) -> None:
    g = random_gaussians(30)
    export_ply(replace(g, means=torch.zeros(30, 3)), tmp_path / "a.ply")
    assert import_ply(tmp_path / "a.ply").gaussians.num_gaussians == 30


def test_a_lam_head_keeps_its_vertices_apart_when_gaussians_go(tmp_path: Path) -> None:
    folder = write_lam_folder(tmp_path / "lam")
    whole = import_lam(folder)
    columns = (folder / "offset.ply").read_bytes()
    body = columns.index(b"end_header\n") + len(b"end_header\n")
    row = (len(columns) - body) // 30
    spoilt = bytearray(columns)
    spoilt[body + 4 * row : body + 4 * row + 4] = b"\x00\x00\xc0\x7f"  # the first column of Gaussian 4
    (folder / "offset.ply").write_bytes(spoilt)
    avatar = import_lam(folder)
    assert "1 of 30 Gaussians left out" in avatar.info.provenance
    rows = torch.tensor([i for i in range(30) if i != 4])
    wanted, got = (a.pose(a.rig.neutral_params()).means for a in (whole, avatar))
    assert torch.equal(got, wanted[rows])
    save_avatar(avatar, tmp_path / "a.avatar")
    assert load_avatar(tmp_path / "a.avatar").gaussians.num_gaussians == 29
