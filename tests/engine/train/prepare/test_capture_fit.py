"""Captures with known cameras and no FLAME: the built-in head is found in synthetic people."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import UsageError
from engine.progress import Bars
from engine.train.data.dataset import read_dataset
from engine.train.data.views import Dataset, View
from engine.train.prepare.capture_fit import _metres
from engine.train.prepare.capture_sights import Sight, look, place_all
from engine.train.prepare.layouts import Capture, read_capture
from engine.train.prepare.placement import projected
from engine.train.prepare.prepare import Prepared, PrepareOptions, prepare
from engine.train.synthetic.capture import make_capture
from render.rigs.head import load_head
from tests.engine.train.baked_people import SHORT_HAIR
from tracking.fit.embedding import HEAD_LANDMARKS, LandmarkEmbedding, landmark_model
from tracking.fit.face_fit import Intrinsics

Array = NDArray[np.float64]

SIZE = 256
OPENGL = np.diag([1.0, -1, -1, 1])
BACKGROUND = torch.tensor([0.55, 0.60, 0.66])


def write_capture(views: Sequence[View], folder: Path, unit_m: float, masks: bool) -> Path:
    """Pictures and transforms.json with lengths in `unit_m` metres."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for number, view in enumerate(views):
        picture = view.read()
        rgb = np.rint(255 * picture.over(BACKGROUND).numpy()).astype(np.uint8)
        cv2.imwrite(str(folder / f"images/{number:03d}.png"), rgb[..., ::-1])
        cam = view.camera
        to_world = np.linalg.inv(cam.world_to_camera.double().numpy()) @ OPENGL
        to_world[:3, 3] /= unit_m
        frame = {
            "file_path": f"images/{number:03d}",
            "timestep_index": view.time_index,
            "camera_index": number,
            "transform_matrix": to_world.tolist(),
        }
        frame |= {"fl_x": cam.fx, "fl_y": cam.fy, "cx": cam.cx, "cy": cam.cy, "w": cam.width, "h": cam.height}
        if masks:
            mask = np.rint(255 * picture.mask.numpy()).astype(np.uint8)
            cv2.imwrite(str(folder / f"images/{number:03d}_mask.png"), mask)
            frame["fg_mask_path"] = f"images/{number:03d}_mask.png"
        frames.append(frame)
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    return folder


def make(folder: Path, out: Path) -> Prepared:
    with Bars() as bars:
        return prepare([folder], out, PrepareOptions(size=SIZE), bars)


@pytest.fixture(scope="module")
def truth(models_dir: Path, baked_people: Path) -> Dataset:
    """One moment at rest from six sides, two with expressions from four."""
    return make_capture(
        SHORT_HAIR,
        num_views=6,
        expressions=2,
        views_per_expression=4,
        num_novel_views=0,
        size=SIZE,
        supersampling=2,
        folder=baked_people,
    )


@pytest.fixture(scope="module")
def prepared(truth: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Dataset]:
    """In centimetres, with masks."""
    folder = tmp_path_factory.mktemp("centimetres")
    capture = write_capture(truth.views, folder / "capture", 0.01, masks=True)
    return make(capture, folder / "data"), read_dataset(folder / "data")


def seen_by(view: View, vertices: Array) -> Array:
    matrix = view.camera.world_to_camera.double().numpy()
    return np.asarray(vertices @ matrix[:3, :3].T + matrix[:3, 3])


def vertices_of(dataset: Dataset, view: View) -> Array:
    return np.asarray(dataset.rig(view.params).vertices.double().numpy())


def landmarks_px(dataset: Dataset, view: View) -> Array:
    embedding = LandmarkEmbedding.load(HEAD_LANDMARKS)
    corners = dataset.rig.faces.numpy()[embedding.triangles]
    vertices = projected(dataset.rig, view.params, view.camera)
    return np.einsum("lkd,lk->ld", vertices[corners], embedding.barycentric)[:, :2]


def face_vertices(dataset: Dataset) -> NDArray[np.int64]:
    return np.unique(dataset.rig.faces.numpy()[LandmarkEmbedding.load(HEAD_LANDMARKS).triangles])


def test_the_rig_lies_on_the_person(truth: Dataset, prepared: tuple[Prepared, Dataset]) -> None:
    result, dataset = prepared
    assert "14 views, 10 to train on, 4 held out" in result.summary
    assert "the cameras were in centimetres and are now in metres" in result.summary
    face = face_vertices(truth)
    for true, ours in zip(truth.views, dataset.views, strict=True):
        assert ours.time_index == true.time_index
        off_px = np.linalg.norm(landmarks_px(truth, true) - landmarks_px(dataset, ours), axis=1)
        assert np.median(off_px) < 2
        points = [seen_by(true, vertices_of(truth, true)), seen_by(ours, vertices_of(dataset, ours))]
        off_m = np.linalg.norm(points[0][face] - points[1][face], axis=1)
        assert np.median(off_m) < 4e-3


def test_expressions_are_found(truth: Dataset, prepared: tuple[Prepared, Dataset]) -> None:
    """What the true units of a stretched mouth do to the face from rest, the found ones do.

    The other moment's expression is a gaze, which moves little of the face.
    """
    _, dataset = prepared
    face = face_vertices(truth)
    basis = truth.rig.expression_basis.unflatten(1, (-1, 3))[:, face].flatten(1).double().numpy()
    moves = []
    for which in (truth, dataset):
        change = which.views[6].params.expression - which.views[0].params.expression
        moves.append(change.double().numpy() @ basis)
    assert np.corrcoef(moves)[0, 1] > 0.8


def test_the_first_moment_is_the_rest_pose(truth: Dataset, prepared: tuple[Prepared, Dataset]) -> None:
    _, dataset = prepared
    first, later = dataset.views[0].params, dataset.views[6].params
    names = dataset.rig.joint_names
    body = [names.index(name) for name in ("root", "neck", "head")]
    assert torch.allclose(first.pose[body], torch.zeros(3, 3), atol=1e-5)
    assert torch.allclose(first.translation, torch.zeros(3), atol=1e-5)
    turn = later.pose[body].sum(0) - truth.views[6].params.pose[body].sum(0)
    assert float(turn.norm()) < np.radians(4)


def test_one_moment_without_masks_in_units_of_nobody(truth: Dataset, tmp_path: Path) -> None:
    views = truth.views[:6]
    capture = write_capture(views, tmp_path / "capture", 0.3, masks=False)
    cv2.imwrite(str(capture / "images/000.png"), np.full((SIZE, SIZE, 3), 90, np.uint8))
    result = make(capture, tmp_path / "data")
    assert re.search(r"the cameras were scaled by 0\.(2[6-9]|3[0-4])\d* to metres", result.summary)
    # The grey one, and what the detector misses at 80 degrees.
    assert any(re.match("[123] of 6 pictures show no face", words) for words in result.warnings)
    dataset = read_dataset(tmp_path / "data")
    for true, ours in list(zip(views, dataset.views, strict=True))[1:]:
        off_px = np.linalg.norm(landmarks_px(truth, true) - landmarks_px(dataset, ours), axis=1)
        assert np.median(off_px) < 2
        assert np.abs(ours.read().mask.numpy() - true.read().mask.numpy()).mean() < 0.05


@pytest.mark.parametrize(
    ("units_per_metre", "metres", "words"),
    [
        (1.1, 1.0, ""),
        (0.9, 1.0, ""),
        (93.0, 0.01, "centimetres"),
        (1050.0, 0.001, "millimetres"),
        (4.0, 0.25, "scaled by 0.25"),
    ],
)
def test_units(units_per_metre: float, metres: float, words: str) -> None:
    found, said = _metres(units_per_metre)
    assert found == pytest.approx(metres)
    assert words in said
    assert bool(words) == bool(said)


# Errors.


@pytest.fixture(scope="module")
def sights(
    truth: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Capture, dict[int, list[Sight]], Intrinsics]:
    folder = tmp_path_factory.mktemp("sights")
    capture = read_capture(write_capture(truth.views[:6], folder / "c", 1.0, masks=False), 0.2, None)
    with Bars() as bars:
        return capture, *look(capture, bars)


def flipped(sight: Sight) -> Sight:
    """As if the file had OpenCV's axes where OpenGL's belong."""
    flip = np.diag([1.0, -1, -1])
    return replace(sight, turn=flip @ sight.turn, shift=flip @ sight.shift)


def inverted(sight: Sight) -> Sight:
    """As if the file had world to camera where camera to world belongs."""
    return replace(sight, turn=sight.turn.T, shift=-sight.turn.T @ sight.shift)


def turned(sight: Sight) -> Sight:
    """As if every camera were 10 degrees to the side of where it is."""
    angle = np.radians(10) * (1 if sight.row % 2 else -1)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return replace(sight, turn=turn @ sight.turn)


@pytest.mark.parametrize("wrong", [flipped, inverted, turned])
def test_cameras_of_another_convention(
    wrong: Callable[[Sight], Sight], sights: tuple[Capture, dict[int, list[Sight]], Intrinsics]
) -> None:
    capture, moments, lens = sights
    model = landmark_model(load_head(), LandmarkEmbedding.load(HEAD_LANDMARKS))
    place_all(capture, moments, lens, model)
    with pytest.raises(UsageError, match="cameras disagree with the pictures") as caught:
        place_all(capture, {0: [wrong(sight) for sight in moments[0]]}, lens, model)
    assert "\n" not in str(caught.value)


def test_one_view_of_a_moment_is_too_few(
    sights: tuple[Capture, dict[int, list[Sight]], Intrinsics],
) -> None:
    capture, moments, lens = sights
    model = landmark_model(load_head(), LandmarkEmbedding.load(HEAD_LANDMARKS))
    for some in (moments[0][2:3], []):
        words = f"{len(some)} of 6 pictures of moment 0 show the face"
        with pytest.raises(UsageError, match=words) as caught:
            place_all(capture, {0: some}, lens, model)
        assert "\n" not in str(caught.value)


def test_no_face_at_all(truth: Dataset, models_dir: Path, tmp_path: Path) -> None:
    folder = write_capture(truth.views[:2], tmp_path / "capture", 1.0, masks=False)
    for picture in (folder / "images").iterdir():
        cv2.imwrite(str(picture), np.full((SIZE, SIZE, 3), 90, np.uint8))
    with pytest.raises(UsageError, match="no face was found in any of the 2 pictures") as caught:
        make(folder, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()
