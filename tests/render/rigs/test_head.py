import json
import math

import pytest
import torch
from safetensors.torch import save_file

from render.errors import AvatarError
from render.rigs.head import load_head, load_head_surface
from render.rigs.units import eye_pose_from_units
from render.rotations import axis_angle_to_matrix

LOOK_NAMES = tuple(
    f"eyeLook{direction}{side}" for direction in ("Down", "In", "Out", "Up") for side in ("Left", "Right")
)


@pytest.fixture
def tiny_head(tmp_path):
    """A file in the built-in head's format with values simple enough to check by hand."""
    path = tmp_path / "head.safetensors"
    tensors = {
        "template": torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0, 0]]),
        "faces": torch.tensor([[0, 1, 2]], dtype=torch.int32),
        "uv": torch.zeros(1, 3, 2),
        "vertex_group": torch.tensor([0, 0, 1], dtype=torch.uint8),
        "expression_basis": torch.tensor([[[0, 0, 0], [0, 0, 1000], [0, 0, 0]]], dtype=torch.int16),
        "expression_scale": torch.tensor([1e-3]),
        "shape_basis": torch.tensor([[[100, 0, 0]] * 3], dtype=torch.int8),
        "shape_scale": torch.tensor([0.01]),
        "joints_template": torch.tensor([[0.0, 0, 0], [0, 0.5, 0]]),
        "joints_shape": torch.tensor([[[1.0, 0, 0], [1, 0, 0]]]),
        "skin_weights": torch.tensor([[200, 0], [0, 100], [50, 50]], dtype=torch.uint8),
    }
    metadata = {
        "expression_names": ["jawOpen"],
        "joint_names": ["root", "head"],
        "parents": [-1, 0],
        "group_names": ["body", "teeth"],
    }
    save_file(
        tensors, path, {k: json.dumps(v) for k, v in metadata.items()} | {"licence": "CC0-1.0", "source": "x"}
    )
    return path


def test_the_asset_format_is_read_as_written(tiny_head):
    rig = load_head(tiny_head)
    params = rig.neutral_params().replace(
        expression=torch.tensor([0.5]),
        shape=torch.tensor([2.0]),
        pose=torch.tensor([[0.0, 0, 0], [0, 0, math.pi / 2]]),
    )
    # Identity moves all by 2 in x; the unit lifts vertex 1 by 0.5; the head joint at (2, 0.5) turns
    # it a quarter, and vertex 2 (3, 0) by half: the mean of (3, 0) and (2.5, 1.5).
    expected = torch.tensor([[2.0, 0, 0], [1.5, 0.5, 0.5], [2.75, 0.75, 0]])
    torch.testing.assert_close(rig(params).vertices, expected)
    surface = load_head_surface(tiny_head)
    assert surface.group_names == ("body", "teeth")
    assert surface.faces_of(rig.faces, "body").tolist() == [False]
    assert surface.faces_of(rig.faces, "body", "teeth").tolist() == [True]


def test_a_damaged_asset_is_one_line(tiny_head):
    tiny_head.write_bytes(tiny_head.read_bytes()[:100])
    for path in (tiny_head, tiny_head.with_name("none.safetensors")):
        with pytest.raises(AvatarError, match="install visavis again") as caught:
            load_head(path)
        assert "\n" not in str(caught.value)


def test_the_built_in_head_is_a_life_size_face_that_looks_along_z():
    rig = load_head()
    surface = load_head_surface()
    assert rig.joint_names == ("root", "neck", "head", "jaw", "left_eye", "right_eye")
    assert len(set(rig.expression_names)) == 52
    assert set(LOOK_NAMES) | {"jawOpen", "tongueOut", "eyeBlinkLeft"} <= set(rig.expression_names)
    left, right = rig.joints_template[4], rig.joints_template[5]
    assert left[0] > 0 > right[0]
    # Adults' pupils are 54-74 mm apart.
    assert 0.054 < float(left[0] - right[0]) < 0.074
    assert abs(float(left[0] + right[0])) < 1e-4
    eyes = surface.vertex_group == surface.group_names.index("left_eye")
    cornea = rig.template[eyes][rig.template[eyes][:, 2].argmax()]
    assert float((cornea - left)[2]) > 0.008


def test_eye_rows_leave_the_eyeballs_to_their_joints():
    rig = load_head()
    surface = load_head_surface()
    rows = [i for i, name in enumerate(rig.expression_names) if name.startswith("eyeLook")]
    moves = rig.expression_basis.unflatten(1, (-1, 3))[rows]
    for group in ("left_eye", "right_eye"):
        ball = surface.vertex_group == surface.group_names.index(group)
        assert float(moves[:, ball].abs().max()) == 0.0
        alone = torch.zeros(6)
        alone[rig.joint_names.index(group)] = 1.0
        torch.testing.assert_close(rig.skin_weights[ball], alone.expand(int(ball.sum()), 6))


@pytest.mark.parametrize(
    ("name", "eye", "axis", "sign"),
    [
        ("eyeLookOutLeft", 0, 0, 1),  # the subject's left is +x
        ("eyeLookInLeft", 0, 0, -1),
        ("eyeLookInRight", 1, 0, 1),
        ("eyeLookOutRight", 1, 0, -1),
        ("eyeLookUpLeft", 0, 1, 1),
        ("eyeLookDownLeft", 0, 1, -1),
        ("eyeLookUpRight", 1, 1, 1),
        ("eyeLookDownRight", 1, 1, -1),
    ],
)
def test_gaze_turns_the_right_eye_the_right_way(name, eye, axis, sign):
    weights = torch.zeros(8)
    weights[LOOK_NAMES.index(name)] = 1.0
    both = eye_pose_from_units(LOOK_NAMES, weights)
    directions = [axis_angle_to_matrix(pose)[:, 2] for pose in both]
    assert float(directions[eye][axis]) * sign > 0.4  # sin of 25 degrees or more
    assert directions[1 - eye].tolist() == [0, 0, 1]


def test_gaze_without_look_units_is_straight():
    left, right = eye_pose_from_units(("jawOpen",), torch.ones(3, 1))
    assert left.shape == right.shape == (3, 3)
    assert not left.any()
    assert not right.any()
