"""One row of the table and a module of its own is all that a new kind of rig needs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from render.avatars.file import load_avatar, save_avatar
from render.errors import AvatarError
from render.importers.gaussian_avatars import import_gaussian_avatars
from render.rigs.articulation import NECK_AND_HEAD, Articulation, Turn
from render.rigs.reference import KeptRig, fingerprint_of
from render.rigs.rig import Rig
from render.rigs.table import RIGS, RigKind
from tests.render.avatars.test_importers import rigged_ply

NOD = Turn("nod", "head", 0, 10.0)


def open_puppet(file: Path, num_shapes: int | None) -> KeptRig:
    """What a newcomer's module would hold: three joints, no expressions, numbers from the user's file."""
    with np.load(file) as stored:
        template = stored["template"]
    rig = Rig(
        kind="puppet",
        template=torch.from_numpy(template),
        faces=torch.tensor([[0, 1, 2], [1, 2, 3]]),
        expression_names=(),
        expression_basis=torch.zeros(0, template.size),
        joint_names=("root", "neck", "head"),
        parents=(-1, 0, 1),
        joints_template=torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.2, 0.0]]),
        skin_weights=torch.eye(3)[[0, 1, 2, 2]],
        articulation=Articulation(NECK_AND_HEAD, (NOD,), turns_are_units=True),
    )
    return KeptRig(rig, fingerprint_of({"template": template}, ["puppet"]), file.name)


@pytest.fixture
def puppet(tmp_path, monkeypatch):
    monkeypatch.setitem(RIGS, "puppet", RigKind("Puppet", embeddable=False, opened=open_puppet))
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path))
    file = tmp_path / "puppet.npz"
    np.savez(file, template=np.array([[0, 0, 0], [0.1, 0.1, 0], [0, 0.3, 0], [0, 0.3, 0.1]], np.float32))
    return file


def test_a_new_rig_is_imported_stored_moved_and_seen(puppet, tmp_path):
    avatar = import_gaussian_avatars(
        rigged_ply(tmp_path / "a.ply", np.array([0, 1, 1])), puppet, kind="puppet"
    )
    save_avatar(avatar, tmp_path / "a.avatar")
    again = load_avatar(tmp_path / "a.avatar")
    assert again.rig.unit_names == ("nod",)
    nodding = again.rig.params_from_units(torch.ones(1), torch.zeros(3), torch.zeros(3))
    assert float(torch.rad2deg(nodding.pose[2, 0])) == pytest.approx(10)
    moved = again.pose(nodding).means - again.pose(again.rig.neutral_params()).means
    assert float(moved.abs().max()) > 1e-3
    assert again.default_camera(64, 64).width == 64


def test_its_licence_and_its_numbers_are_kept_as_those_of_others(puppet, tmp_path):
    avatar = import_gaussian_avatars(rigged_ply(tmp_path / "a.ply", np.array([0])), puppet, kind="puppet")
    with pytest.raises(AvatarError, match="a Puppet rig is never written"):
        save_avatar(avatar.replace(rig_reference=None), tmp_path / "b.avatar")
    save_avatar(avatar, tmp_path / "a.avatar")
    np.savez(puppet, template=np.ones((4, 3), np.float32))
    with pytest.raises(AvatarError, match=r"puppet\.npz is another rig"):
        load_avatar(tmp_path / "a.avatar")
