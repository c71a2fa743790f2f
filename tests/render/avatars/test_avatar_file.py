"""The avatar file: exact round trips, compact storage and its loss, and what cannot be saved."""

import dataclasses
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from render.avatars.bindings import SkinningBinding
from render.avatars.file import load_avatar, save_avatar
from render.errors import AvatarError
from render.rigs.flame import open_flame
from render.rigs.head import open_head
from render.rigs.reference import RigReference
from render.rigs.storage import resolve
from tests.render.avatars.file_contents import read, tensors_of
from tests.render.avatars.small_avatars import random_avatar, random_gaussians, random_rig
from tests.render.deformations.cases import CASES, Case, deformed_avatar, moving_params
from tests.render.rigs.mock_models import flame_arrays, write_npz


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
