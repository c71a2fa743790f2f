"""Kinds are told by content; what cannot be imported is named in one line, whatever its name or damage."""

import gzip
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from render.errors import AvatarError
from render.exporters import export_ply, export_spz
from render.gaussians import Gaussians
from render.importers.lam import import_lam
from render.importers.recognise import import_splats, kind_of
from tests.render.avatars.small_avatars import random_gaussians
from tests.render.avatars.small_lam import write_lam_folder
from tests.render.importers.splat_files import (
    spz_payload,
    write_compressed_ply,
    write_sog,
    write_splat,
    zipped,
)

WRITERS: dict[str, Callable[[Path], object]] = {
    "ply": lambda path: export_ply(random_gaussians(40), path),
    "compressed": lambda path: write_compressed_ply(random_gaussians(40), path),
    "spz": lambda path: export_spz(random_gaussians(40), path),
    "spz unpacked": lambda path: path.write_bytes(b"".join(spz_payload(random_gaussians(40), 3))),
    "splat": lambda path: write_splat(random_gaussians(40), path),
    "sog": lambda path: zipped(write_sog(random_gaussians(40), path.parent / "scene", 2), path),
}


@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat", ".sog", ".zip", ".pkl", ".jpg", ""])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_wrong_extension_changes_nothing(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"head{suffix}"
    WRITERS[kind](path)
    avatar = import_splats(path)
    assert avatar.gaussians.num_gaussians == 40
    assert avatar.name == "head"


def test_folders_and_the_file_that_describes_one(tmp_path: Path) -> None:
    scene = write_sog(random_gaussians(20), tmp_path / "scene.v1", 1)
    assert kind_of(scene) == "sog"
    for source in (scene, scene / "meta.json"):
        avatar = import_splats(source)
        assert (avatar.name, avatar.gaussians.num_gaussians) == ("scene.v1", 20)
    assert kind_of(write_lam_folder(tmp_path / "lam")) == "lam"


@pytest.mark.parametrize("inside", ["", "me/", "a/b/me/", "me\\"])
def test_a_lam_zip_is_its_folder(tmp_path: Path, inside: str) -> None:
    folder = write_lam_folder(tmp_path / "lam")
    archive = zipped(folder, tmp_path / "head.zip", inside)
    with zipfile.ZipFile(archive, "a") as file:  # as macOS leaves it
        file.writestr("__MACOSX/me/._skin.glb", b"\0\5\26\7")
        file.writestr("__MACOSX/me/skin.glb", b"\0\5\26\7")
    assert kind_of(archive) == "lam"
    avatar, wanted = import_lam(archive), import_lam(folder)
    assert avatar.name == "head"
    assert torch.equal(avatar.gaussians.means, wanted.gaussians.means)
    assert torch.equal(avatar.rig.expression_basis, wanted.rig.expression_basis)


def test_the_real_lam_head_in_a_zip(testdata_dir: Path, tmp_path: Path) -> None:
    archive = zipped(testdata_dir / "avatars" / "lam_p2-1", tmp_path / "p2-1.zip", "p2-1/")
    avatar = import_lam(archive)
    assert (avatar.gaussians.num_gaussians, avatar.rig.num_expressions) == (20_018, 51)


def test_a_folder_in_a_folder_is_found_and_two_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_lam_folder(tmp_path / "out" / "one")
    assert import_lam(tmp_path / "out").gaussians.num_gaussians == 30
    write_lam_folder(tmp_path / "out" / "two")
    with pytest.raises(AvatarError, match=r"holds skin\.glb in 2 folders"):
        import_lam(tmp_path / "out")


def encrypted(data: bytes) -> bytes:
    """The bit that says so, in every header of the archive."""
    marked = bytearray(data)
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := marked.find(magic, at + 1)) >= 0:
            marked[at + place] |= 1
    return bytes(marked)


def test_archives_that_are_traps_or_damaged(tmp_path: Path) -> None:
    folder, archive = write_lam_folder(tmp_path / "lam"), tmp_path / "a.zip"
    data = zipped(folder, archive).read_bytes()

    def refusal(content: bytes | None = None) -> str:
        if content is not None:
            archive.write_bytes(content)
        with pytest.raises(AvatarError) as caught:
            (import_lam if kind_of(archive) == "lam" else import_splats)(archive)
        assert "\n" not in str(caught.value)
        assert str(archive) in str(caught.value)
        return str(caught.value)

    assert "is no whole .zip" in refusal(data[: len(data) // 2])
    assert "is encrypted" in refusal(encrypted(data))
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 255
    assert "cannot be read" in refusal(bytes(flipped))
    zipped(folder, archive, "../")
    assert "leads out of it" in refusal()
    for name in ("/etc/skin.glb", "C:\\skin.glb", "x\\..\\..\\skin.glb"):
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(zipfile.ZipInfo(name), b"glTF")
        assert "leads out of it" in refusal()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("skin.glb", bytes(100 << 20))
        file.writestr("offset.ply", b"ply\n")
    assert "do not trust it" in refusal()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(folder / "skin.glb", "x/skin.glb")
    assert "holds no offset.ply" in refusal()


NAMED: list[tuple[str, bytes, str]] = [
    ("a.ply", b"", "is empty"),
    ("a.ply", b"<!DOCTYPE html><html>Not found", "a web page"),
    ("a.ply", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    ("a.ply.gz", gzip.compress(b"ply\nformat ascii 1.0\n"), r"a \.ply in gzip; unpack it first"),
    ("a.spz", gzip.compress(b"something else"), "a file in gzip"),
    ("a.spz", b"\x1f\x8b\x08 and no gzip", "a file in gzip"),
    ("a.glb", struct.pack("<4sII", b"glTF", 2, 12), "a binary glTF"),
    ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "a picture"),
    ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(40), "a film"),
    ("a.ksplat", bytes([0, 1]) + bytes(4094), r"a \.ksplat, which is not read"),
    ("a.avatar", struct.pack("<Q", 40) + b'{"__metadata__":{}}', r"an \.avatar or other safetensors"),
    ("a.splat", b"hello world, this is a text....\n" * 64, "no LAM folder, no .ply and no face model"),
    ("meta.json", b'{"lods": []}', "no LAM folder, no .ply and no face model"),
    ("a.ply", pickle.dumps({"v_template": 1}), r"rename it to \.pkl"),
    ("a.ply", bytes(10_000), "no LAM folder, no .ply and no face model"),
]


@pytest.mark.parametrize(("name", "data", "words"), NAMED)
def test_what_it_is_instead_is_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(AvatarError, match=words) as caught:
        import_splats(path)
    assert "\n" not in str(caught.value)


def test_archives_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    cases = [
        (["x/data.pkl"], "PyTorch checkpoint"),
        (["b.txt", "a.ply"], "a.ply, b.txt: no LAM head"),
        ([], "a .zip of nothing"),
        (["f.npy", "v_template.npy"], r"rename it to \.npz"),
    ]
    for names, words in cases:
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, b"x")
        with pytest.raises(AvatarError, match=words):
            kind_of(path)


def test_what_never_ends_is_not_begun(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ply")
    for path in (tmp_path / "pipe.ply", Path("/dev/zero")):
        with pytest.raises(AvatarError, match="neither a file nor a folder"):
            kind_of(path)
    sparse = tmp_path / "a.ply"
    export_ply(random_gaussians(3), sparse)
    sparse.write_bytes(sparse.read_bytes().replace(b"vertex 3", b"vertex 90000000000"))
    os.truncate(sparse, 1 << 43)  # 8 TiB that take no space
    with pytest.raises(AvatarError, match="claims 90000000000 Gaussians"):
        import_splats(sparse)
    rows = tmp_path / "a.splat"
    write_splat(random_gaussians(2000), rows)
    os.truncate(rows, 1 << 43)
    with pytest.raises(AvatarError, match="claims 274877906944 Gaussians"):
        import_splats(rows)


corruptions = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6
)


@pytest.mark.parametrize("kind", ["ply", "compressed", "spz", "spz unpacked", "splat", "sog"])
@settings(max_examples=80, deadline=None, derandomize=True)
@given(edits=corruptions, length=st.floats(0.3, 1.3))
def test_corrupted_files_load_or_are_refused(
    kind: str, edits: list[tuple[float, int]], length: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"corrupted {kind}"
    path = folder / "a"
    if not folder.exists():
        folder.mkdir()
        WRITERS[kind](path)
        path.rename(folder / "whole")
    data = bytearray((folder / "whole").read_bytes())
    for place, value in edits:
        data[int(place * len(data))] = value
    path.write_bytes(data[: int(length * len(data))])
    g = gaussians_or_none(path)
    if g is not None:
        for values in (g.means, g.quats, g.log_scales, g.logit_opacities, g.sh):
            assert bool(values.isfinite().all())
        assert float(g.quats.norm(dim=1).min()) > 0


def gaussians_or_none(path: Path) -> Gaussians | None:
    """What is imported, None when that is refused in one line."""
    refusal = ""
    try:
        return import_splats(path).gaussians
    except AvatarError as error:
        refusal = str(error)
    assert refusal
    assert "\n" not in refusal
    assert len(refusal) < 500
    return None


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    key=st.integers(0, 40), value=st.sampled_from([None, -1, 1e300, "x", [], {}, [[1]], True, "a/b", "\0"])
)
def test_sog_descriptions_that_lie(key: int, value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "lying sog"
    if not folder.exists():
        write_sog(random_gaussians(20, degree=1), folder, 2)
        (folder / "whole").write_bytes((folder / "meta.json").read_bytes())
    meta = json.loads((folder / "whole").read_text())
    places = [(meta, k) for k in meta] + [(v, k) for v in meta.values() if isinstance(v, dict) for k in v]
    for part in [v for v in meta.values() if isinstance(v, dict)]:
        places += [(part["files"], i) for i in range(len(part["files"]))]
    holder, name = places[key % len(places)]
    holder[name] = value
    (folder / "meta.json").write_text(json.dumps(meta))
    g = gaussians_or_none(folder)
    assert g is None or bool(g.means.isfinite().all())
