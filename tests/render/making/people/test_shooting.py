"""Which pictures a person is trained on, and what is written of them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from render.making.items import Assets
from render.making.people.builtin import VERA
from render.making.people.head import rig_reference
from render.making.people.scene import shooting
from render.making.people.scene.body import Pose
from render.making.people.scene.model import PersonModel
from render.making.people.scene.renders import Renders
from render.making.people.shoot import read_shoot, turn_of
from render.rigs.head import load_head

pytestmark = [
    pytest.mark.skipif(find_spec("anny") is None, reason="anny is a development dependency"),
    pytest.mark.skipif(
        "VISAVIS_TESTDATA" not in os.environ, reason="MakeHuman's assets are in VISAVIS_TESTDATA"
    ),
]


@pytest.fixture(scope="module")
def model() -> PersonModel:
    return PersonModel(VERA, Assets.open(Path(os.environ["VISAVIS_TESTDATA"]) / "makehuman"))


def test_faces_show_every_unit_apart_from_the_others() -> None:
    from render.making.makehuman import face_unit_names

    names = face_unit_names()
    shown = np.array([[face.get(name, 0.0) for name in names] for face in shooting.faces()])
    assert (shown > 0).any(0).all()
    assert np.linalg.matrix_rank(shown) == len(shown)
    apart = np.abs(np.corrcoef(shown.T)) - np.eye(len(names))
    alike = {names[i] + names[j] for i, j in np.argwhere(apart > 0.95)}
    looks = {"InLeft", "OutRight", "OutLeft", "InRight", "UpLeft", "UpRight", "DownLeft", "DownRight"}
    assert all(any(look in pair for look in looks) for pair in alike), "both eyes look the same way"
    assert {tuple(face) for face in shooting.held_out_faces()}.isdisjoint(map(tuple, shooting.faces()))


def test_only_what_may_change_is_drawn(model: PersonModel) -> None:
    for planned in shooting.plan(model):
        border = shooting._border(model, planned)
        if not planned.weights and planned.head_deg is None:
            assert border is None
            continue
        assert border is not None
        left, top, width, height = border
        if planned.head_deg is not None:
            assert (left, width, top + height) == (0, shooting.SIZE, shooting.SIZE)
            assert 0.3 < top / shooting.SIZE < 0.6, "from the mouth down"
            continue
        body = model.body.posed(Pose(planned.weights))
        moved = np.linalg.norm(body.acting - model.body.rest, axis=1) > 2e-3
        camera = planned.camera
        u, v, _ = camera.project(torch.from_numpy(body.acting[moved])).numpy().T
        assert ((u >= left) & (u <= left + width) & (v >= top) & (v <= top + height)).all()
        assert width * height < 0.5 * shooting.SIZE**2


def test_the_scene_turns_the_head_as_the_rig_does(model: PersonModel) -> None:
    from render.making import make_head

    rig = rig_reference(VERA.shape).rebuild(load_head())
    turn = turn_of((40.0, -12.0))
    params = rig.params_from_units(
        torch.zeros(len(rig.units)), torch.from_numpy(turn.as_rotvec()).float(), torch.zeros(3)
    )
    of_rig = (rig(params).vertices - rig(rig.neutral_params()).vertices).numpy()
    still, turned = (model.body.posed(pose).skin for pose in (Pose({}), Pose({}, turn.as_matrix())))
    of_scene = (turned - still)[make_head.topology().source_vertices]
    apart = np.linalg.norm(of_rig - of_scene, axis=1)
    assert np.linalg.norm(of_rig, axis=1).max() > 0.08
    assert np.median(apart) < 5e-4
    assert np.quantile(apart, 0.95) < 2e-3
    # To the person's left, and down: the tip of the nose goes where x and -y do.
    nose = of_rig[rig.template[:, 2].argmax()]
    assert nose[0] > 0.04
    assert nose[1] < -0.005


def test_a_shoot_is_what_training_reads(
    model: PersonModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = shooting.plan(model)
    some = [plan[0], plan[49], plan[70], next(p for p in plan if p.head_deg and p.held_out)]
    monkeypatch.setattr(shooting, "plan", lambda _: some)

    class Drawn(Renders):
        def picture(self, *_: object) -> Path:
            path = self.folder / f"{len(list(self.folder.glob('*.png')))}.png"
            path.write_bytes(b"picture")
            return path

    with Drawn(tmp_path) as drawn:
        shooting.shoot(model, drawn)
    shoot = read_shoot(tmp_path)
    assert [shot.file for shot in shoot.shots] == ["0.png", "1.png", "2.png", "3.png"]
    assert [shot.held_out for shot in shoot.shots] == [planned.held_out for planned in some]
    assert shoot.shots[2].weights == some[2].weights
    assert [shot.head_deg for shot in shoot.shots] == [None, None, None, some[3].head_deg]
    assert shoot.shape.targets == dict(VERA.shape.targets)
    position = shoot.shots[0].camera_to_world[:3, 3]
    np.testing.assert_allclose(position, some[0].camera.position().numpy(), atol=1e-6)
    assert shoot.shots[0].camera_to_world[2, 2] > 0, "a camera looks along its -z"
    skin = shoot.start.surfaces["skin"]
    a, b, c = (skin.vertices[skin.faces[:, k]] for k in range(3))
    outwards = np.cross(b - a, c - a)
    crown = skin.faces[:, 0] == skin.faces[skin.vertices[skin.faces[:, 0], 1].argmax(), 0]
    assert outwards[crown][:, 1].mean() > 0
