"""Avatar files wrong in every way: named in one line, and nothing allocated or run."""

import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from render.avatars.file import load_avatar, save_avatar
from render.errors import AvatarError
from tests.render.avatars.file_contents import read, tensors_of, write
from tests.render.avatars.small_avatars import random_avatar, random_params
from tests.render.deformations.cases import Case, deformed_avatar

Change = Callable[[dict[str, Any], dict[str, str], dict[str, Any]], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.avatar"
    save_avatar(random_avatar(degree=1), path)
    return path


def nan_means(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["gaussians.means"] = np.full_like(a["gaussians.means"], np.nan)


def short_quats(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["gaussians.quats"] = a["gaussians.quats"][:-1]


def flat_sh(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["gaussians.sh"] = a["gaussians.sh"].reshape(-1)


def far_face(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["binding.0.face_index"] = a["binding.0.face_index"] + np.uint8(200)


def negative_vertex(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["binding.1.vertex_index"] = -a["binding.1.vertex_index"].astype(np.int32) - 1


def far_corner(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["rig.faces"] = a["rig.faces"].astype(np.int64) + 10**12


def far_row(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["deformation.indices"] = a["deformation.indices"] + np.uint8(100)


def no_scales(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    del a["gaussians.log_scales"]


def integer_means(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["gaussians.means"] = a["gaussians.means"].astype(np.int32)


def text_indices(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["binding.0.face_index"] = a["binding.0.face_index"].astype(np.float32)


def bad_weights(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["rig.skin_weights"] = a["rig.skin_weights"] * 3


def next_version(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["version"] = 3


def other_format(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["format"] = "something else"


def high_degree(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["sh_degree"] = 40


def unknown_binding(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["bindings"][0]["kind"] = "glue"


def one_binding_less(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["bindings"].pop()


def no_rig(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    del h["rig"]


def rig_is_a_number(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["rig"] = 7


def cyclic_parents(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["rig"]["parents"] = [-1, 2, 1, 0, 0, 0]


def embedded_flame(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["rig"]["kind"] = "flame"


def path_as_hint(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["rig"] = {
        "kind": "flame",
        "source": "reference",
        "parts": [],
        "fingerprint": "x",
        "file_hint": "../../etc/passwd",
    }


def unknown_deformation(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["deformation"]["kind"] = "dream"


def unknown_delta(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["deformation"]["deltas"].append("d_fate")


def too_many_layers(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["deformation"]["layers"] = 4


def missing_layer(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    del a["deformation.weights.1"]


def wide_layer(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["deformation.weights.0"] = np.zeros((12, 65), np.float32)
    a["deformation.biases.0"] = np.zeros(65, np.float32)
    a["deformation.weights.1"] = np.zeros((65, 3), np.float32)


def unchained_layers(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["deformation.weights.1"] = np.zeros((7, 3), np.float32)


def nan_layer(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["deformation.biases.1"] = np.full(3, np.nan, np.float32)


def one_control_more(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["deformation"]["controls"].append("hat")


def control_twice(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["deformation"]["controls"] = ["mood", "mood"]


def clamped_network(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["deformation"]["clamped"] = True


def short_turns(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    a["deformation.d_quats"] = a["deformation.d_quats"][..., :3].copy()


def view_from_nowhere(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["framing"]["distance_m"] = float("inf")


def huge_encoding(a: dict[str, Any], m: dict[str, str], h: dict[str, Any]) -> None:
    h["encodings"] = {
        "gaussians.means": {"kind": "box", "bits": 16, "blocks": [10**12], "low": [], "high": []}
    }


CHANGES: list[tuple[Change, str]] = [
    (nan_means, r"gaussians\.means holds a value that is not finite"),
    (short_quats, r"gaussians\.quats has shape \(27, 4\), needed \(28, 4\)"),
    (flat_sh, r"gaussians\.sh has shape"),
    (far_face, r"binding\.0\.face_index holds 20\d, the largest index allowed is 8"),
    (negative_vertex, r"binding\.1\.vertex_index holds"),
    (far_corner, r"rig\.faces holds 10000000000\d\d, the largest"),
    (far_row, r"deformation\.indices holds"),
    (no_scales, r"gaussians\.log_scales is missing"),
    (integer_means, r"gaussians\.means is stored as int32"),
    (text_indices, r"binding\.0\.face_index is stored as float32"),
    (bad_weights, r"rig\.skin_weights holds rows that are no weights"),
    (next_version, r"format version 3, this program reads 1 and 2; update visavis"),
    (other_format, r"is no avatar file"),
    (high_degree, r"SH degree 40"),
    (unknown_binding, r"unknown binding 'glue'"),
    (one_binding_less, r"bindings hold 21 Gaussians, the avatar has 28"),
    (no_rig, r"the header has no 'rig'"),
    (rig_is_a_number, r"damaged"),
    (cyclic_parents, r"every parent must come before its child"),
    (embedded_flame, r"a whole flame rig"),
    (path_as_hint, r"names no FLAME model file but '\.\./\.\./etc/passwd'"),
    (view_from_nowhere, r"is no view"),
    (huge_encoding, r"damaged"),
]


DEFORMATION_CHANGES: list[tuple[Change, str]] = [
    (unknown_deformation, r"unknown deformation 'dream'"),
    (unknown_delta, r"the header has no 'd_fate'"),
    (too_many_layers, r"a deformation of 4 layers, needed 1 to 3"),
    (missing_layer, r"deformation\.weights\.1 is missing"),
    (wide_layer, r"a hidden layer has up to 64 units, got \[65\]"),
    (unchained_layers, r"do not fit each other"),
    (nan_layer, r"deformation\.biases\.1 holds a value that is not finite"),
    (one_control_more, r"takes 12 numbers, its condition has 13"),
    (control_twice, r"every control needs a name of its own"),
    (clamped_network, r"an MLP's coefficients are not clamped"),
    (short_turns, r"deformation\.d_quats has shape \(3, 14, 3\), needed \(3, 14, 4\)"),
]


def assert_refused(path: Path, match: str) -> None:
    with pytest.raises(AvatarError, match=match) as caught:
        load_avatar(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < 600


@pytest.mark.parametrize(("change", "match"), CHANGES, ids=[c.__name__ for c, _ in CHANGES])
def test_wrong_contents_are_named(good: Path, tmp_path: Path, change: Change, match: str) -> None:
    arrays, metadata, header = read(good)
    change(arrays, metadata, header)
    assert_refused(write(tmp_path / "bad.avatar", arrays, metadata, header), match)


@pytest.mark.parametrize(
    ("change", "match"), DEFORMATION_CHANGES, ids=[c.__name__ for c, _ in DEFORMATION_CHANGES]
)
def test_wrong_deformations_are_named(tmp_path: Path, change: Change, match: str) -> None:
    save_avatar(deformed_avatar(Case("one hidden layer"), kind="skin"), tmp_path / "good.avatar")
    arrays, metadata, header = read(tmp_path / "good.avatar")
    change(arrays, metadata, header)
    assert_refused(write(tmp_path / "bad.avatar", arrays, metadata, header), match)


def test_files_of_other_kinds(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.avatar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a" * 100)
    assert_refused(path, "zip")
    for protocol in (0, 2, 5):
        path.write_bytes(pickle.dumps({"means": [1.0] * 50}, protocol))
        assert_refused(path, "pickle" if protocol else "is no avatar file")
    path.write_text("An avatar, said the file, and it was a lie.\n" * 50)
    assert_refused(path, "is no avatar file")
    path.write_text("ply\nformat ascii 1.0\nend_header\n")
    assert_refused(path, r"\.ply")
    path.write_bytes(b"")
    assert_refused(path, "is no avatar file or was cut short")
    save_file({"a": np.zeros(3)}, path)
    assert_refused(path, "is no avatar file")
    assert_refused(tmp_path / "missing.avatar", "No such file")
    assert_refused(tmp_path, "cannot be read")


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(good: Path, tmp_path: Path, share: float) -> None:
    data = good.read_bytes()
    path = tmp_path / "short.avatar"
    path.write_bytes(data[: int(len(data) * share)])
    assert_refused(path, "cut short|damaged")


@pytest.mark.parametrize("length", [2**63, 2**40, 10**9, 0, 1])
def test_absurd_header_lengths_allocate_nothing(good: Path, tmp_path: Path, length: int) -> None:
    path = tmp_path / "absurd.avatar"
    path.write_bytes(struct.pack("<Q", length) + good.read_bytes()[8:])
    tracemalloc.start()
    assert_refused(path, "avatar")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the file has 20 kB; modules loaded on the way count too


def test_a_sparse_file_with_a_long_header_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "long.avatar"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 10**9))
        file.truncate(2 * 10**9)
    assert_refused(path, "header of 1000000000 bytes")


def _corrupted(data: bytes, edits: list[tuple[float, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[int(place * len(changed))] = value
    return bytes(changed)


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


@pytest.mark.parametrize("which", ["good", "compact", "network"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(edits=edits, in_header=st.booleans())
def test_corrupted_bytes_load_or_are_refused(
    which: str, edits: list[tuple[float, int]], in_header: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is changed: a valid avatar of finite values, or one AvatarError line."""
    path = tmp_path_factory.getbasetemp() / f"{which}_corrupted.avatar"
    source = _cached(which)
    length = struct.unpack("<Q", source[:8])[0]
    span = 8 + length if in_header else len(source)
    path.write_bytes(_corrupted(source[:span], edits) + source[span:])
    try:
        avatar = load_avatar(path)
    except AvatarError as error:
        refusal = str(error)
        avatar = None
    if avatar is None:
        assert "\n" not in refusal
        assert len(refusal) < 600
        return
    assert all(bool(t.isfinite().all()) for t in tensors_of(avatar).values() if t.is_floating_point())
    with torch.no_grad():
        avatar.pose(random_params(avatar.rig))


_CACHE: dict[str, bytes] = {}


def _cached(which: str) -> bytes:
    if which not in _CACHE:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.avatar"
            avatar = deformed_avatar(Case(), kind="skin") if which == "network" else random_avatar(degree=1)
            save_avatar(avatar, path, compact=which == "compact")
            _CACHE[which] = path.read_bytes()
    return _CACHE[which]
