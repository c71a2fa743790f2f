"""The avatar file: exact round trips, compact storage and its loss, and files wrong in every way."""

import dataclasses
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import Tensor

from render.avatars.avatar import Avatar
from render.avatars.bindings import SkinningBinding
from render.avatars.file import load_avatar, save_avatar
from render.errors import AvatarError
from render.rigs.flame import open_flame
from render.rigs.head import open_head
from render.rigs.reference import RigReference
from render.rigs.storage import resolve
from tests.render.avatars.small_avatars import random_avatar, random_gaussians, random_params, random_rig
from tests.render.deformations.cases import CASES, Case, deformed_avatar, moving_params
from tests.render.rigs.mock_models import flame_arrays, write_npz


def tensors_of(avatar: Avatar) -> dict[str, Tensor]:
    parts: list[tuple[str, Any]] = [("gaussians", avatar.gaussians), ("rig", avatar.rig)]
    parts += [(f"binding{i}", b) for i, b in enumerate(avatar.bindings)]
    parts += [("deformation", avatar.deformation)] if avatar.deformation else []
    found = {f"extras.{k}": v for k, v in avatar.extras.items()}
    if avatar.deformation is not None:
        c = avatar.deformation.coefficients
        found |= {f"layer{i}": tensor for i, tensor in enumerate((*c.weights, *c.biases))}
    for name, part in parts:
        for f in fields(part):
            value = getattr(part, f.name)
            if f.init and isinstance(value, Tensor):
                found[f"{name}.{f.name}"] = value
    return found


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_round_trip_is_exact(tmp_path: Path, degree: int, axes: int) -> None:
    avatar = random_avatar(degree=degree, axes=axes)
    assert save_avatar(avatar, tmp_path / "a.avatar") == {}
    again = load_avatar(tmp_path / "a.avatar")
    before, after = tensors_of(avatar), tensors_of(again)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
        assert tensor.dtype == after[name].dtype, name
    assert again.info == avatar.info
    assert again.framing == avatar.framing
    assert dict(again.extras_meta) == dict(avatar.extras_meta)
    assert again.gaussians.antialiased == avatar.gaussians.antialiased
    assert [type(b) for b in again.bindings] == [type(b) for b in avatar.bindings]
    assert again.rig.fingerprint() == avatar.rig.fingerprint()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_deformation_comes_back(tmp_path: Path, case: Case) -> None:
    avatar = deformed_avatar(case, kind="skin")  # a face model's never travels in a file
    params = moving_params(avatar)
    save_avatar(avatar, tmp_path / "a.avatar")
    again = load_avatar(tmp_path / "a.avatar")
    before, after = tensors_of(avatar), tensors_of(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert avatar.deformation is not None
    assert again.deformation is not None
    assert again.condition == avatar.condition
    assert again.deformation.coefficients.clamped is avatar.deformation.coefficients.clamped
    assert torch.equal(again.pose(params).quats, avatar.pose(params).quats)
    plain = case.kind == "clamped" and case.part == "expression" and "d_quats" not in case.deltas
    assert read(tmp_path / "a.avatar")[2]["version"] == (1 if plain else 2)


def test_version_1_says_all_that_older_programs_know(tmp_path: Path) -> None:
    """Files from before the other kinds of deformations, and those that need none of them."""
    save_avatar(random_avatar(), tmp_path / "a.avatar")
    arrays, _, header = read(tmp_path / "a.avatar")
    assert header["version"] == 1
    deltas = ["d_means", "d_log_scales", "d_logit_opacities", "d_sh0"]
    assert header["deformation"] == {"kind": "linear", "deltas": deltas}
    stored = {name.removeprefix("deformation.") for name in arrays if name.startswith("deformation.")}
    assert stored == {"drivers", "offset", "indices", *deltas}


def test_compact_turns_are_those_of_the_quaternions_that_are_stored(tmp_path: Path) -> None:
    """Compact files hold unit quaternions, and deltas are added to what is stored."""
    avatar = deformed_avatar(Case("unclamped", "expression", ("d_quats",)), each=50)
    save_avatar(avatar, tmp_path / "c.avatar", compact=True)
    params = moving_params(avatar)
    exact, stored = avatar.pose(params).quats, load_avatar(tmp_path / "c.avatar").pose(params).quats
    cosine = torch.nn.functional.cosine_similarity(stored, exact)
    usual = exact.norm(dim=1) > 0.5  # those that nearly cancel have no direction to keep
    assert float(2 * torch.arccos(cosine.abs().clamp(max=1))[usual].max()) < 0.1


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_avatar(random_avatar(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    save_avatar(random_avatar(), tmp_path / "a.avatar")
    assert (tmp_path / "a.avatar").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_compact_storage_tells_its_loss_and_keeps_it_small(tmp_path: Path) -> None:
    avatar = random_avatar(degree=1, each=500)
    losses = save_avatar(avatar, tmp_path / "c.avatar", compact=True)
    save_avatar(avatar, tmp_path / "e.avatar")
    assert (tmp_path / "c.avatar").stat().st_size < 0.45 * (tmp_path / "e.avatar").stat().st_size
    again = load_avatar(tmp_path / "c.avatar")
    stored, exact = tensors_of(again), tensors_of(avatar)
    for name in ("means", "log_scales", "sh"):
        error = (stored[f"gaussians.{name}"] - exact[f"gaussians.{name}"]).abs()
        assert float(error.max()) == pytest.approx(losses[f"gaussians.{name}"].maximum, rel=1e-3)
    span = exact["gaussians.means"].amax(0) - exact["gaussians.means"].amin(0)
    assert losses["gaussians.means"].maximum <= float(span.max()) / 65535  # half a step, and its rounding
    # 8 bits of a component in -1..1 move an orientation by less than a hundredth of a radian.
    wanted = torch.nn.functional.normalize(exact["gaussians.quats"], dim=-1)
    cosine = torch.nn.functional.cosine_similarity(stored["gaussians.quats"], wanted)
    assert float(2 * torch.arccos(cosine.clamp(max=1)).max()) < 0.02
    weights = again.bindings[2]
    assert isinstance(weights, SkinningBinding)
    torch.testing.assert_close(weights.weights.sum(1), torch.ones(500))


def test_storing_a_compact_avatar_again_changes_nothing(tmp_path: Path) -> None:
    save_avatar(random_avatar(degree=2, each=300), tmp_path / "one.avatar", compact=True)
    save_avatar(load_avatar(tmp_path / "one.avatar"), tmp_path / "two.avatar", compact=True)
    one, two = (tensors_of(load_avatar(tmp_path / f"{name}.avatar")) for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-6)  # a step of 16-bit weights


def test_the_built_in_head_is_named_by_its_fingerprint(tmp_path: Path) -> None:
    kept = open_head()
    head = kept.rig
    shape = torch.linspace(-1, 1, head.num_shapes)
    delta = torch.full_like(head.template, 0.001)
    reference = kept.reference(shape=shape, template_delta=delta)
    n = 5
    whole = random_avatar()
    avatar = whole.replace(
        rig=reference.rebuild(head),
        rig_reference=reference,
        bindings=(SkinningBinding(torch.full((n, head.num_joints), 1 / head.num_joints)),),
        gaussians=random_gaussians(n),
        deformation=None,
    )
    save_avatar(avatar, tmp_path / "h.avatar")
    assert (
        tmp_path / "h.avatar"
    ).stat().st_size < head.num_vertices * 12 + 20_000  # the delta and little else
    again = load_avatar(tmp_path / "h.avatar")
    assert read(tmp_path / "h.avatar")[2]["version"] == 2  # older programs know no such fingerprint
    assert torch.equal(again.rig.template, avatar.rig.template)
    assert torch.equal(again.rig.joints_template, avatar.rig.joints_template)
    wrong = RigReference("0" * 64, shape=shape)
    save_avatar(avatar.replace(rig_reference=wrong), tmp_path / "w.avatar")
    with pytest.raises(AvatarError, match=r"w\.avatar.*the built-in head is another rig"):
        load_avatar(tmp_path / "w.avatar")


def test_a_licensed_model_is_asked_for_and_never_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    file = write_npz(models / "flame2023.npz", flame_arrays())
    kept = open_flame(file)
    base = kept.rig
    reference = kept.reference(shape=torch.full((10,), 0.5))
    n = 4
    avatar = random_avatar().replace(
        rig=reference.rebuild(base),
        rig_reference=reference,
        bindings=(SkinningBinding(torch.full((n, base.num_joints), 1 / base.num_joints)),),
        gaussians=random_gaussians(n),
        deformation=None,
    )
    path = tmp_path / "f.avatar"
    save_avatar(avatar, path)
    arrays = load_file(path)
    assert not any(name.startswith("rig.") and name != "rig.shape" for name in arrays)
    with pytest.raises(AvatarError, match="never written into an avatar file"):
        save_avatar(avatar.replace(rig_reference=None), tmp_path / "g.avatar")
    monkeypatch.delenv("VISAVIS_MODELS", raising=False)
    with pytest.raises(AvatarError, match=r"flame2023\.npz.*set VISAVIS_MODELS"):
        load_avatar(path)
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path))
    with pytest.raises(AvatarError, match=r"flame2023\.npz, which is not in"):
        load_avatar(path)
    monkeypatch.setenv("VISAVIS_MODELS", str(models))
    assert torch.equal(load_avatar(path).rig.template, avatar.rig.template)
    write_npz(file, {**flame_arrays(), "v_template": np.zeros((40, 3))})
    with pytest.raises(AvatarError, match="another rig than the avatar's"):
        load_avatar(path)


def test_a_fingerprint_of_version_1_is_checked_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_npz(tmp_path / "flame2023.npz", flame_arrays())
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path))
    rig = open_flame(file).rig
    resolve(RigReference(rig.fingerprint(), file.name), "flame")  # as this machine computed it
    assert not caplog.records
    # As another processor computed it: the last bits of its joints, and so all of the hash, are others.
    elsewhere = dataclasses.replace(
        rig, joints_template=torch.nextafter(rig.joints_template, rig.template[:5])
    )
    resolve(RigReference(elsewhere.fingerprint(), file.name), "flame")
    assert [r.getMessage() for r in caplog.records] == [
        "flame2023.npz is taken for the avatar's by its name alone: fingerprints of format version 1 can be "
        "checked only on a processor like the one they were made on; import the avatar again"
    ]


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    avatar = random_avatar()
    means = avatar.gaussians.means.clone()
    means[3, 1] = float("nan")
    g = avatar.gaussians
    broken = avatar.replace(gaussians=type(g)(means, g.quats, g.log_scales, g.logit_opacities, g.sh))
    with pytest.raises(AvatarError, match=r"gaussians\.means holds a value that is not finite"):
        save_avatar(broken, tmp_path / "n.avatar")
    with pytest.raises(AvatarError, match="JSON"):
        save_avatar(avatar.replace(extras_meta={"x": object()}), tmp_path / "n.avatar")
    with pytest.raises(AvatarError, match="cannot write"):
        save_avatar(avatar, tmp_path / "nowhere" / "n.avatar")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file_and_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.avatar"
    save_avatar(random_avatar(), path)
    old = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AvatarError, match="No space left on device"):
        save_avatar(random_avatar(degree=1), path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.avatar"]
    assert path.read_bytes() == old


# ---- files that are wrong --------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.avatar"
    save_avatar(random_avatar(degree=1), path)
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    return load_file(path), metadata, json.loads(metadata["avatar"])


def write(path: Path, arrays: dict[str, Any], metadata: dict[str, str], header: dict[str, Any]) -> Path:
    save_file(arrays, path, {**metadata, "avatar": json.dumps(header)})
    return path


Change = Callable[[dict[str, Any], dict[str, str], dict[str, Any]], None]


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


def test_rigs_of_no_expressions_and_no_triangles(tmp_path: Path) -> None:
    rig = random_rig()
    parts = {f.name: getattr(rig, f.name) for f in fields(rig) if f.init}
    bare = type(rig)(
        **{
            **parts,
            "expression_names": (),
            "expression_basis": torch.zeros(0, rig.num_vertices * 3),
            "faces": torch.zeros(0, 3, dtype=torch.int64),
        }
    )
    avatar = random_avatar().replace(
        rig=bare,
        bindings=(SkinningBinding(torch.full((3, 6), 1 / 6)),),
        gaussians=random_gaussians(3),
        deformation=None,
    )
    for compact_ in (False, True):
        save_avatar(avatar, tmp_path / "b.avatar", compact=compact_)
        again = load_avatar(tmp_path / "b.avatar")
        assert again.rig.num_expressions == 0
        with torch.no_grad():
            assert again.pose(again.rig.neutral_params()).num_gaussians == 3
