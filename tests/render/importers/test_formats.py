"""Every format that the field exports, by its description and by gsply, and what our own export wrote."""

import gzip
import math
import struct
import sys
from pathlib import Path

import gsply
import numpy as np
import pytest
import torch

from render.errors import AvatarError
from render.exporters import export_ply, export_spz
from render.gaussians import Gaussians
from render.importers.ply import read_splat_ply
from render.importers.recognise import import_splats
from render.importers.sog import read_sog
from render.importers.splat import read_splat
from render.importers.spz import read_spz
from tests.render.avatars.small_avatars import random_gaussians
from tests.render.importers.splat_files import (
    spz_payload,
    write_compressed_ply,
    write_sog,
    write_splat,
    write_spz,
    zipped,
)


def small(n: int, degree: int = 0) -> Gaussians:
    """Random Gaussians in the ranges that 8 bits hold."""
    g = random_gaussians(n, degree=degree)
    return Gaussians(g.means, g.quats, g.log_scales, g.logit_opacities, g.sh * 0.5, antialiased=False)


def agree(
    got: Gaussians,
    wanted: Gaussians,
    *,
    mean: float,
    scale: float,
    opacity: float,
    dc: float,
    turn_deg: float,
) -> None:
    """Every value within half a step of its format."""
    torch.testing.assert_close(got.means, wanted.means, atol=mean, rtol=0)
    torch.testing.assert_close(got.log_scales, wanted.log_scales, atol=scale, rtol=0)
    torch.testing.assert_close(got.opacities(), wanted.opacities(), atol=opacity, rtol=0)
    torch.testing.assert_close(got.sh[:, 0], wanted.sh[:, 0], atol=dc, rtol=0)
    quats = [torch.nn.functional.normalize(g.quats.double(), dim=1) for g in (got, wanted)]
    cosine = (quats[0] * quats[1]).sum(1).abs().min()
    assert math.degrees(2 * math.acos(min(1.0, float(cosine)))) < turn_deg


@pytest.mark.parametrize(("n", "degree", "chunk_colours"), [(300, 0, True), (256, 1, True), (513, 3, False)])
def test_supersplats_compressed_ply(tmp_path: Path, n: int, degree: int, chunk_colours: bool) -> None:
    g = small(n, degree)
    path = write_compressed_ply(g, tmp_path / "a.ply", chunk_colours=chunk_colours)
    got = read_splat_ply(path)
    assert got.what == "compressed .ply"
    spans = [float((v.max(0).values - v.min(0).values).max()) for v in (g.means, g.log_scales)]
    # Half a step of 10 bits in a chunk's box; 10 bits of orientation; colours are cut to 0..1 without a box.
    agree(
        got.gaussians,
        g,
        mean=spans[0] / 2000,
        scale=spans[1] / 2000,
        opacity=0.51 / 255,
        dc=0.02,
        turn_deg=0.4,
    )
    torch.testing.assert_close(got.gaussians.sh[:, 1:], g.sh[:, 1:], atol=0.51 / 32, rtol=0)


@pytest.mark.parametrize("degree", [0, 2])
def test_the_compressed_ply_that_gsply_writes(tmp_path: Path, degree: int) -> None:
    g = small(300, degree)
    export_ply(g, tmp_path / "plain.ply")
    gsply.plywrite(str(tmp_path / "a.ply"), gsply.plyread(str(tmp_path / "plain.ply")), compressed=True)
    (path,) = tmp_path.glob("a*.ply")
    theirs, got = gsply.plyread(str(path)), read_splat_ply(path).gaussians
    np.testing.assert_allclose(got.means.numpy(), theirs.means, atol=1e-6)
    np.testing.assert_allclose(got.log_scales.numpy(), theirs.scales, atol=1e-6)
    np.testing.assert_allclose(got.sh[:, 0].numpy(), theirs.sh0.reshape(-1, 3), atol=1e-6)
    np.testing.assert_allclose(got.quats.numpy(), theirs.quats, atol=1e-6)
    if degree:
        np.testing.assert_allclose(got.sh[:, 1:].numpy(), theirs.shN, atol=1e-6)


def test_chunks_that_are_missing(tmp_path: Path) -> None:
    path = write_compressed_ply(small(257), tmp_path / "a.ply")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"element chunk 2", b"element chunk 1"))
    with pytest.raises(AvatarError, match="1 chunks for 257 Gaussians"):
        read_splat_ply(path)
    path.write_bytes(data.replace(b"packed_scale", b"packed_scape"))
    with pytest.raises(AvatarError, match="no column packed_scale"):
        read_splat_ply(path)
    path.write_bytes(data.replace(b"max_scale_y", b"max_scape_y"))
    with pytest.raises(AvatarError, match="no chunk column max_scale_y"):
        read_splat_ply(path)


@pytest.mark.parametrize(("version", "degree"), [(1, 0), (2, 0), (2, 3), (3, 1)])
def test_spz_by_the_book(tmp_path: Path, version: int, degree: int) -> None:
    g = small(200, degree)
    got = read_spz(write_spz(g, tmp_path / "a.spz", version))
    assert got.what == f".spz version {version}"
    # Version 1 has half floats; versions 1 and 2 have 8 bits of x, y and z, which is little where w is small.
    agree(
        got.gaussians,
        g,
        mean=0.002 if version == 1 else 0.51 / 4096,
        scale=0.51 / 16,
        opacity=0.51 / 255,
        dc=0.51 / (0.15 * 255),
        turn_deg=0.4 if version == 3 else 12,
    )
    torch.testing.assert_close(got.gaussians.sh[:, 1:], g.sh[:, 1:], atol=0.51 / 128, rtol=0)
    assert not got.gaussians.antialiased


def frames_of(g: Gaussians, zstd) -> bytes:
    """Version 4: a header of 32 bytes, a table of lengths, a frame for every attribute that is not empty."""
    header, *attributes = spz_payload(g, 3)
    attributes = [a for a in attributes if a]
    frames = [zstd.compress(a) for a in attributes]
    head = header[:4] + struct.pack("<I", 4) + header[8:15] + bytes([len(frames)]) + struct.pack("<I12x", 32)
    table = b"".join(struct.pack("<QQ", len(f), len(a)) for f, a in zip(frames, attributes, strict=True))
    return head + table + b"".join(frames)


@pytest.mark.parametrize("degree", [0, 1])
def test_spz_version_4(tmp_path: Path, degree: int) -> None:
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    g = small(60, degree)
    path = tmp_path / "a.spz"
    path.write_bytes(frames_of(g, zstd))
    third = read_spz(write_spz(g, tmp_path / "b.spz", 3)).gaussians
    got = read_spz(path).gaussians
    assert torch.equal(got.means, third.means)
    assert torch.equal(got.quats, third.quats)
    assert torch.equal(got.sh, third.sh)
    path.write_bytes(frames_of(g, zstd)[:-9])
    with pytest.raises(AvatarError, match="it ends after"):
        read_spz(path)


def test_spz_version_4_without_zstd_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backports", "backports.zstd", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.spz").write_bytes(struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 9, 0, 12, 0, 5, 32))
    with pytest.raises(AvatarError, match=r"version 4, which takes zstd; pip install backports\.zstd"):
        read_spz(tmp_path / "a.spz")


def test_degrees_that_nobody_draws_are_cut_and_said(tmp_path: Path) -> None:
    g = small(20, 3)
    higher = np.concatenate([g.sh[:, 1:].numpy(), np.full((20, 9, 3), 0.9)], 1)
    got = read_spz(write_spz(g, tmp_path / "a.spz", 3, higher=higher))
    assert got.notes == ("spherical harmonics of degree 4 cut to the 3 that are drawn",)
    torch.testing.assert_close(got.gaussians.sh[:, 1:], g.sh[:, 1:], atol=0.51 / 128, rtol=0)


def test_spz_files_that_lie(tmp_path: Path) -> None:
    whole = bytearray(b"".join(spz_payload(small(50), 3)))
    path = tmp_path / "a.spz"

    def refusal(payload: bytes) -> str:
        path.write_bytes(gzip.compress(payload))
        with pytest.raises(AvatarError) as caught:
            read_spz(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def patched(place: int, data: bytes) -> bytes:
        return bytes(whole[:place] + data + whole[place + len(data) :])

    assert "version 9, 1 to 4 can be read" in refusal(patched(4, b"\x09"))
    assert "claims 4294967295 Gaussians" in refusal(patched(8, b"\xff" * 4))
    assert "holds no Gaussians" in refusal(patched(8, bytes(4)))
    assert "do not trust it" in refusal(patched(8, struct.pack("<I", 9_000_000)))
    assert "of its 1016 bytes are there" in refusal(bytes(whole[:-5]))
    assert "degree 9" in refusal(patched(12, b"\x09"))
    assert "header is cut short" in refusal(bytes(whole[:9]))
    packed = bytearray(gzip.compress(bytes(whole)))
    packed[-5] ^= 1  # of the checksum
    path.write_bytes(packed)
    with pytest.raises(AvatarError, match="incorrect data check"):
        read_spz(path)


def test_splat_by_the_book(tmp_path: Path) -> None:
    g = small(100)
    got = read_splat(write_splat(g, tmp_path / "a.splat"))
    agree(got.gaussians, g, mean=0, scale=1e-6, opacity=1.01 / 255, dc=1.01 / 255 / 0.28, turn_deg=2)
    path = tmp_path / "a.splat"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(AvatarError, match="3197 bytes are no multiple of 32"):
        read_splat(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("version", "degree"), [(1, 0), (1, 2), (2, 0), (2, 1), (2, 3)])
def test_sog_by_the_book(tmp_path: Path, version: int, degree: int, packed: bool) -> None:
    g = small(90, degree)
    path = write_sog(g, tmp_path / "scene", version)
    if packed:
        path = zipped(path, tmp_path / "scene.sog")
    got = read_sog(path)
    assert got.what == f"SOG version {version}"
    assert got.gaussians.antialiased == (version == 2)
    spans = [float(v.max() - v.min()) for v in (g.log_scales, g.sh[:, 0], g.logit_opacities)]
    agree(
        got.gaussians,
        g,
        mean=4e-4,  # half a step of 16 bits in the logarithm, where the largest coordinate is near 4
        scale=spans[0] / 500,
        opacity=max(0.51 / 255, spans[2] / 500 / 4),  # a sigmoid is no steeper than a quarter
        dc=spans[1] / 500,
        turn_deg=1,
    )
    if degree:
        wanted = g.sh[:2, 1:].repeat(45, 1, 1)
        span = float(g.sh[:2, 1:].max() - g.sh[:2, 1:].min())
        torch.testing.assert_close(got.gaussians.sh[:, 1:], wanted, atol=span / 500, rtol=0)


def test_sog_folders_that_are_wrong(tmp_path: Path) -> None:
    folder = write_sog(small(30, 1), tmp_path / "scene", 2)
    meta = (folder / "meta.json").read_text()

    def refusal(before: str, after: str) -> str:
        assert before in meta
        (folder / "meta.json").write_text(meta.replace(before, after))
        with pytest.raises(AvatarError) as caught:
            read_sog(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "SOG version 3" in refusal('"version": 2', '"version": 3')
    assert "has 32 pixels for 5000 Gaussians" in refusal('"count": 30', '"count": 5000')
    assert "claims 50000000 Gaussians" in refusal('"count": 30', '"count": 50000000')
    assert "no file beside it" in refusal('"quats.webp"', '"../scene/quats.webp"')
    assert "holds no other.webp" in refusal('"quats.webp"', '"other.webp"')
    assert "is damaged" in refusal('"mins": [', '"mins": ["x", ')
    assert "describes no SOG" in refusal('"means"', '"moans"')
    (folder / "meta.json").write_text(meta)
    data = (folder / "quats.webp").read_bytes()
    (folder / "quats.webp").write_bytes(data[: len(data) // 2])
    with pytest.raises(AvatarError, match=r"quats\.webp is no whole WebP picture"):
        read_sog(folder)
    # A picture of 16,384 pixels a side, which is claimed in 30 bytes.
    (folder / "quats.webp").write_bytes(data[:21] + b"\xff\xff\xff\x0f" + data[25:])
    with pytest.raises(AvatarError, match="16384x16384 pixels"):
        read_sog(folder)


@pytest.mark.parametrize("suffix", [".ply", ".spz"])
@pytest.mark.parametrize(("degree", "antialiased"), [(0, True), (3, False)])
def test_what_is_exported_here_comes_back(
    tmp_path: Path, suffix: str, degree: int, antialiased: bool
) -> None:
    g = small(120, degree)
    g = Gaussians(g.means, g.quats, g.log_scales, g.logit_opacities, g.sh, antialiased=antialiased)
    path = tmp_path / f"a{suffix}"
    (export_ply if suffix == ".ply" else export_spz)(g, path)
    got = import_splats(path).gaussians
    assert got.antialiased == antialiased
    middle = g.means.median(0).values  # which importing makes the origin
    centred = Gaussians(g.means - middle, g.quats, g.log_scales, g.logit_opacities, g.sh)
    exact = suffix == ".ply"
    agree(
        got,
        centred,
        mean=1e-6 if exact else 1e-5,
        scale=0 if exact else 0.51 / 16,
        opacity=0 if exact else 0.51 / 255,
        dc=0 if exact else 0.51 / (0.15 * 255),
        turn_deg=0.01 if exact else 0.4,
    )
    # Turning the harmonics by no angle costs a rounding of float32.
    torch.testing.assert_close(got.sh[:, 1:], g.sh[:, 1:], atol=1e-5 if exact else 0.51 / 127, rtol=0)
