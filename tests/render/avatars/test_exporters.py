"""Exports read back: by gsply, and by a reader of the .spz layout written here from its description."""

import gzip
import struct
from pathlib import Path

import gsply
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from render.errors import AvatarError
from render.exporters import export_ply, export_spz, in_world_axes
from render.gaussians import Gaussians
from render.importers.gaussian_ply import gaussians_from_columns, read_vertices
from render.rotations import axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix
from render.sh import evaluate_sh
from tests.render.avatars.small_avatars import random_avatar, random_gaussians, random_params


def posed(degree: int, n: int = 40) -> Gaussians:
    g = random_gaussians(n, degree=degree)
    angles = torch.randn(n, 3, generator=torch.Generator().manual_seed(8))
    turn = matrix_to_quaternion(axis_angle_to_matrix(angles)) if degree else None
    sh = g.sh * 0.5  # coefficients within the -1..1 that .spz can hold
    return Gaussians(g.means, g.quats, g.log_scales, g.logit_opacities, sh, turn)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colours_are_turned_into_world_axes(degree: int) -> None:
    g = posed(degree)
    world = in_world_axes(g)
    assert world.sh_quats is None
    directions = torch.nn.functional.normalize(torch.randn(g.num_gaussians, 3), dim=-1)
    local = directions
    if g.sh_quats is not None:
        local = (quaternion_to_matrix(g.sh_quats).mT @ directions[..., None])[..., 0]
    torch.testing.assert_close(
        evaluate_sh(world.sh, directions),
        evaluate_sh(g.sh, local),
        atol=1e-5,  # float32 sums of 16 terms of order 1
        rtol=0,
    )


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_is_what_gsply_and_our_own_reader_read(tmp_path: Path, degree: int) -> None:
    g = posed(degree)
    world = in_world_axes(g)
    export_ply(g, tmp_path / "a.ply")
    theirs = gsply.plyread(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(theirs.means, world.means.numpy())
    np.testing.assert_array_equal(theirs.scales, world.log_scales.numpy())
    np.testing.assert_array_equal(theirs.opacities.reshape(-1), world.logit_opacities.numpy())
    np.testing.assert_array_equal(theirs.sh0.reshape(-1, 3), world.sh[:, 0].numpy())
    np.testing.assert_array_equal(theirs.quats, world.quats.numpy())
    ours = gaussians_from_columns(read_vertices(tmp_path / "a.ply"), tmp_path / "a.ply")
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(ours, name), getattr(world, name)), name


def read_spz(path: Path) -> dict[str, NDArray[np.float64]]:
    """Version 3, by the description of the format; x, y, z, w are the axes 0 to 3 of a packed orientation."""
    data = gzip.decompress(path.read_bytes())
    magic, version, n, degree, bits, flags, _ = struct.unpack("<IIIBBBB", data[:16])
    assert (magic, version) == (0x5053474E, 3)
    offset = 16

    def take(width: int) -> NDArray[np.float64]:
        nonlocal offset
        rows = np.frombuffer(data, np.uint8, n * width, offset).reshape(n, width).astype(np.float64)
        offset += n * width
        return rows

    low = take(9).reshape(n, 3, 3)
    fixed = low[..., 0] + 256 * low[..., 1] + 65536 * low[..., 2]
    out = {"means": np.where(fixed >= 2**23, fixed - 2**24, fixed) / 2**bits}
    out["opacities"] = take(1)[:, 0] / 255
    out["sh0"] = (take(3) / 255 - 0.5) / 0.15
    out["log_scales"] = take(3) / 16 - 10
    words = np.frombuffer(data, "<u4", n, offset)
    offset += 4 * n
    quats = np.zeros((n, 4))
    for i, word in enumerate(words.tolist()):
        largest, squares = word >> 30, 0.0
        for axis in (3, 2, 1, 0):
            if axis != largest:
                value = (word & 511) / 511 * np.sqrt(0.5) * (-1 if word & 512 else 1)
                quats[i, axis] = value
                squares += value * value
                word >>= 10
        quats[i, largest] = np.sqrt(max(0.0, 1 - squares))
    out["quats"] = quats[:, [3, 0, 1, 2]]
    count = (degree + 1) ** 2 - 1
    out["higher"] = ((take(count * 3) - 128) / 128).reshape(n, count, 3)
    out["flags"] = np.array([flags])
    assert offset == len(data)
    return out


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spz_is_what_gsply_and_a_reader_by_the_book_read(tmp_path: Path, degree: int) -> None:
    g = posed(degree)
    world = in_world_axes(g)
    export_spz(g, tmp_path / "a.spz")
    book, theirs = read_spz(tmp_path / "a.spz"), gsply.read_spz(str(tmp_path / "a.spz"))
    # Each tolerance is half a step of the format's own quantisation.
    largest = float(world.means.abs().max())
    step = 2.0 ** -min(20, int(np.floor(23 - np.log2(largest))))
    np.testing.assert_allclose(book["means"], world.means.numpy(), atol=step / 2 * 1.01)
    np.testing.assert_allclose(book["opacities"], world.opacities().numpy(), atol=0.51 / 255)
    np.testing.assert_allclose(book["log_scales"], world.log_scales.numpy(), atol=0.51 / 16)
    np.testing.assert_allclose(book["sh0"], world.sh[:, 0].numpy(), atol=0.51 / (0.15 * 255))
    np.testing.assert_allclose(book["higher"], world.sh[:, 1:].numpy(), atol=0.51 / 128)
    cosine = np.abs((book["quats"] * world.quats.numpy()).sum(1))
    assert cosine.min() > 1 - 1e-5  # 9 bits of sqrt(1/2): a quarter of a degree
    np.testing.assert_allclose(theirs.means, book["means"], atol=1e-6)
    np.testing.assert_allclose(theirs.scales, book["log_scales"], atol=1e-5)
    np.testing.assert_allclose(theirs.sh0.reshape(-1, 3), book["sh0"], atol=0.02)  # it centres on 127.5
    assert np.abs((theirs.quats * book["quats"]).sum(1)).min() > 1 - 1e-5
    assert book["flags"][0] == 1  # antialiased, the default of Gaussians


def test_surfels_keep_two_scales_in_ply_and_become_flat_in_spz(tmp_path: Path) -> None:
    g = random_gaussians(6, axes=2)
    export_ply(g, tmp_path / "a.ply")
    assert "scale_2" not in read_vertices(tmp_path / "a.ply")
    export_spz(g, tmp_path / "a.spz")
    assert read_spz(tmp_path / "a.spz")["log_scales"][:, 2].max() == -10
    assert read_spz(tmp_path / "a.spz")["flags"][0] == 0


def test_values_beyond_the_format_are_clamped(tmp_path: Path) -> None:
    g = random_gaussians(3)
    far = Gaussians(g.means * 1e5, g.quats, g.log_scales - 50, g.logit_opacities * 100, g.sh * 100)
    export_spz(far, tmp_path / "a.spz")
    book = read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(book["means"], far.means.numpy(), rtol=1e-3, atol=0.1)
    assert book["log_scales"].min() == -10


def test_a_posed_avatar_is_exported_as_it_is_drawn(tmp_path: Path) -> None:
    avatar = random_avatar(degree=2)
    with torch.no_grad():
        g = avatar.pose(random_params(avatar.rig))
    export_ply(g, tmp_path / "a.ply")
    again = gaussians_from_columns(read_vertices(tmp_path / "a.ply"), tmp_path / "a.ply")
    from render.camera import Camera
    from render.reference.renderer import ReferenceRenderer

    camera = Camera.look_at((0, 0, 8), (0, 0, 0), width=32, height=32, vertical_fov_deg=40)
    first, second = (ReferenceRenderer().render(x, camera).rgb for x in (g, again))
    assert float(first.std()) > 0.01
    torch.testing.assert_close(
        first, second, atol=1e-4, rtol=0
    )  # SH rotated in float32 instead of directions


def test_an_unwritable_place(tmp_path: Path) -> None:
    for export in (export_ply, export_spz):
        with pytest.raises(AvatarError, match="cannot write"):
            export(random_gaussians(2), tmp_path / "no" / "a.x")
    assert list(tmp_path.iterdir()) == []
