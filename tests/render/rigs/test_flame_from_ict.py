"""The made FLAME and SMPL-X files behave as the official ones do where our code depends on it."""

import math

import numpy as np
import pytest
import torch

from capture.frame import Frame
from render.cpu.renderer import CpuRenderer
from render.importers.gaussian_avatars import import_gaussian_avatars
from render.rigs.flame import load_flame
from render.rigs.smplx import load_smplx
from tests.render.rigs.flame_from_ict import ProofFiles, read_head
from tracking.detect.face_detector import FaceDetector


@pytest.fixture(scope="module")
def head(testdata_dir):
    return read_head(testdata_dir / "heads" / "ict_facekit")


@pytest.fixture(scope="module")
def rigs(proof_files: ProofFiles):
    return {"flame": load_flame(proof_files.flame), "smplx": load_smplx(proof_files.smplx)}


@pytest.mark.parametrize("kind", ["flame", "smplx"])
def test_sizes_and_columns_are_the_official_ones(rigs, head, kind):
    rig = rigs[kind]
    assert 4500 < len(head.vertices) < 6000
    assert (rig.num_shapes, rig.num_expressions) == (300, 100)
    sizes = rig.expression_basis.norm(dim=1)
    assert bool((sizes[:-1] >= sizes[1:] - 1e-6).all())  # largest first
    assert int((sizes > 0).sum()) == 52
    assert int((rig.shape_basis.norm(dim=1) > 0).sum()) == 100


def posed(rig, **joints):
    params = rig.neutral_params()
    for name, turn in joints.items():
        params.pose[rig.joint_names.index(name)] = torch.tensor(turn)
    return rig(params).vertices


@pytest.mark.parametrize("kind", ["flame", "smplx"])
def test_the_jaw_opens_by_its_joint_and_by_no_component(rigs, head, kind):
    rig, num = rigs[kind], len(head.vertices)
    parts = {name: torch.from_numpy(head.part == name) for name in ("lower_teeth", "upper_teeth", "eye_left")}
    moved = (posed(rig, jaw=(math.radians(20), 0.0, 0.0)) - rig.template)[:num]
    assert float(moved[parts["lower_teeth"], 1].mean()) < -0.015
    assert float(moved[parts["upper_teeth"]].abs().max()) < 2e-3
    assert float(moved[parts["eye_left"]].abs().max()) < 1e-6
    # The lower teeth follow the jaw's forward slide and nothing else that a component does.
    teeth = rig.expression_basis.unflatten(1, (-1, 3))[:, :num][:, parts["lower_teeth"]]
    assert float(teeth[..., 1].abs().max()) < 2e-3


@pytest.mark.parametrize("kind", ["flame", "smplx"])
def test_eyes_turn_about_their_centres(rigs, head, kind):
    rig, num = rigs[kind], len(head.vertices)
    eye = torch.from_numpy(head.part == "eye_left")
    turned = posed(rig, left_eye=(0.0, math.radians(20), 0.0))[:num]
    centre = rig.joints_template[rig.joint_names.index("left_eye")]
    before, after = (p[eye] - centre for p in (rig.template[:num], turned))
    torch.testing.assert_close(before.norm(dim=1), after.norm(dim=1))
    assert float((after - before)[:, 0].max()) > 3e-3
    assert float((turned - rig.template[:num])[~eye].abs().max()) < 1e-6


def test_flame_s_neck_joint_lies_above_the_mouth(rigs, head):
    rig = rigs["flame"]
    neck = float(rig.joints_template[rig.joint_names.index("neck"), 1])
    assert neck > float(head.vertices[head.landmarks[48:68], 1].max())


def weights_of(rig, head, *names):
    """Components [52] that make ICT's expressions `names`, and how much of these they miss."""
    wanted = torch.from_numpy(sum(head.expression(name) for name in names)).float().flatten()
    basis = rig.expression_basis[:52, : len(wanted)]
    weights = torch.linalg.lstsq(basis.T, wanted[:, None]).solution[:, 0]
    return weights, float((weights @ basis - wanted).norm() / wanted.norm())


def test_components_reach_a_blink(rigs, head):
    weights, missed = weights_of(rigs["flame"], head, "eyeBlink_L", "eyeBlink_R")
    assert missed < 1e-3
    assert float(weights.abs().max()) < 4  # standard deviations


def test_the_detector_sees_the_painted_face_move(proof_files, head, models_dir):
    avatar = import_gaussian_avatars(proof_files.flame_ply, proof_files.flame)
    still, rig = avatar.rig.neutral_params(), avatar.rig
    jaw = still.pose.clone()
    jaw[rig.joint_names.index("jaw"), 0] = math.radians(20)
    blink, smile = (
        still.replace(expression=weights_of(rig, head, f"{name}_L", f"{name}_R")[0])
        for name in ("eyeBlink", "mouthSmile")
    )
    renderer, camera = CpuRenderer(512, 512), avatar.default_camera(512, 512)
    seen = {}
    with FaceDetector(mode="image") as detector:
        for name, params in {
            "still": still,
            "jaw": still.replace(pose=jaw),
            "blink": blink,
            "smile": smile,
        }.items():
            rgb = renderer.render_rgb8(avatar.pose(params), camera, (0.8, 0.8, 0.8))
            seen[name] = detector.detect(Frame(rgb, 0, 0))
    assert all(found.found for found in seen.values())
    for name, unit in (("jaw", "jawOpen"), ("blink", "eyeBlinkLeft"), ("smile", "mouthSmileLeft")):
        assert seen[name].score(unit) > 0.5
        assert seen["still"].score(unit) < 0.2


def test_landmarks_lie_on_their_vertices(proof_files, head):
    with np.load(proof_files.landmarks) as stored:
        faces, corners = head.faces[stored["lmk_face_idx"]], stored["lmk_b_coords"]
    points = (head.vertices[faces] * corners[..., None]).sum(1)
    np.testing.assert_array_equal(points, head.vertices[head.landmarks])
