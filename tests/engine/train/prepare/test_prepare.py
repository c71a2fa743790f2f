"""From footage to datasets: real clips line up, and what cannot be used is refused in words."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from capture.errors import SourceError
from capture.source import frames, open_input
from engine.errors import UsageError
from engine.progress import Bars
from engine.train.data.dataset import read_dataset
from engine.train.prepare import placement
from engine.train.prepare.clip_fit import _without_noise, varied
from engine.train.prepare.masks import person_colours, refined
from engine.train.prepare.prepare import Prepared, PrepareOptions, prepare
from render import axis_angle
from render.rigs.head import load_head
from tests.child_process import started
from tracking.fit.face_fit import FaceFit, Intrinsics
from transport.errors import OutputError

Rgb = NDArray[np.uint8]


def make(inputs: list[Path], out: Path, **options: object) -> Prepared:
    with Bars() as bars:
        return prepare(inputs, out, PrepareOptions(**{"size": 128, **options}), bars)


def write_film(path: Path, pictures: list[Rgb], fps: int = 25) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(fps))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.bit_rate = 8_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def face_frames(testdata_dir: Path, models_dir: Path) -> list[Rgb]:
    """Every third frame of four seconds of a real clip."""
    with open_input(testdata_dir / "videos/lp_d10.mp4") as source:
        return [f.rgb for f, _ in zip(frames(source), range(120), strict=False) if f.index % 3 == 0]


@pytest.fixture(scope="module")
def clip(face_frames: list[Rgb], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "me.mp4", face_frames, fps=10)


@pytest.fixture(scope="module")
def prepared(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "data"
    make([clip], out)
    return out


def test_a_real_clip_becomes_a_dataset(prepared: Path, face_frames: list[Rgb]) -> None:
    dataset = read_dataset(prepared)
    count = len(face_frames)
    assert len(dataset.views) == count
    assert [v.split for v in dataset.views] == ["train"] * round(0.8 * count) + ["test"] * round(0.2 * count)
    assert dataset.rig_reference is not None
    for view in dataset.views:
        assert torch.equal(view.camera.world_to_camera, dataset.views[0].camera.world_to_camera)
        assert view.camera.width == view.camera.height == 128
    quality = json.loads((prepared / "quality.json").read_text())
    # A face is 60 pixels wide here: within a pixel of what the detector itself repeats to about half of.
    assert quality["alignment_px"]["face"] < 0.7
    assert quality["alignment_px"]["eyes"] < 1.3  # the detector's lids lie off the lids' edges
    assert quality["alignment_px"]["mouth"] < 1.0
    assert quality["mask_share"] > 0.98
    assert any("turned your head" in words for words in quality["warnings"])
    page = (prepared / "quality.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 8
    assert "http" not in page.replace("http-equiv", "")


def test_the_rig_covers_the_face_and_not_the_wall(prepared: Path) -> None:
    for view in read_dataset(prepared).views[::8]:
        rig = read_dataset(prepared).rig
        points = placement.projected(rig, view.params, view.camera)
        face = (rig.skin_weights[:, rig.joint_names.index("head")] > 0.9).numpy()
        x, y = np.clip(points[face, :2].astype(int), 0, 127).T
        mask = view.read().mask.numpy()
        assert (mask[y, x] > 0.5).mean() > 0.97
        assert 0.2 < mask.mean() < 0.85
        assert mask[0].max() < 0.5  # nothing of the person at the top


def test_the_shoulders_are_where_the_pictures_show_them(prepared: Path) -> None:
    """They move on their own; on average they are at rest, as live play has them."""
    dataset = read_dataset(prepared)
    names = dataset.rig.joint_names
    turns = torch.stack([v.params.pose[names.index("root")] for v in dataset.views])
    assert float(torch.rad2deg(turns.mean(0)).abs().max()) < 4
    assert turns.any(1).all()
    agreement = json.loads((prepared / "quality.json").read_text())["agreement_db"]
    assert agreement > 27  # landmarks alone: 24


def test_one_picture_is_a_dataset(face_frames: list[Rgb], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "me.png"), face_frames[0][..., ::-1])
    result = make([tmp_path / "me.png"], tmp_path / "data")
    assert [v.split for v in read_dataset(tmp_path / "data").views] == ["train"]
    assert any("one picture" in words for words in result.warnings)


def test_pictures_without_a_face_are_left_out(face_frames: list[Rgb], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in enumerate((face_frames[0], np.full_like(face_frames[0], 90), face_frames[20])):
        cv2.imwrite(str(folder / f"p{i}.png"), picture[..., ::-1])
    result = make([folder], tmp_path / "data")
    assert len(read_dataset(tmp_path / "data").views) == 2
    assert "p1.png shows no face and was left out" in result.warnings


def test_the_longest_shot_is_taken(face_frames: list[Rgb], tmp_path: Path) -> None:
    """Cut to the mirrored, enlarged picture and back: another framing, as a cut film has."""
    other = [np.ascontiguousarray(f[60:400, 60:400][:, ::-1]) for f in face_frames[:8]]
    other = [cv2.resize(f, (512, 512)) for f in other]
    film = write_film(tmp_path / "cut.mp4", [*other, *face_frames[:34]], fps=10)
    result = make([film], tmp_path / "data", size=64)
    # The detector may need a frame or two to find the face again after the cut.
    assert 32 <= len(read_dataset(tmp_path / "data").views) <= 34
    assert any("of its 2 shots only the longest" in words for words in result.warnings)


def refused(inputs: list[Path], tmp_path: Path, words: str, kind: type[Exception] = UsageError) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(kind, match=words) as caught:
        make(inputs, out / "data")
    assert "\n" not in str(caught.value)
    assert list(out.iterdir()) == []


def test_no_face(models_dir: Path, tmp_path: Path) -> None:
    grey = [np.full((96, 96, 3), 90 + i, np.uint8) for i in range(12)]
    refused([write_film(tmp_path / "wall.mp4", grey)], tmp_path, "no face was found")


def test_two_seconds_only(face_frames: list[Rgb], tmp_path: Path) -> None:
    film = write_film(tmp_path / "short.mp4", face_frames[:20], fps=10)
    refused([film], tmp_path, r"too short, it shows a face for 2\.0 s")


def test_several_people(face_frames: list[Rgb], tmp_path: Path) -> None:
    pairs = [np.concatenate([f, f[:, ::-1]], 1) for f in face_frames[:32]]
    film = write_film(tmp_path / "pair.mp4", pairs, fps=10)
    refused([film], tmp_path, "several people")


def test_blur_throughout(face_frames: list[Rgb], tmp_path: Path) -> None:
    blurred = [cv2.GaussianBlur(f, (0, 0), 9) for f in face_frames[:32]]
    film = write_film(tmp_path / "blur.mp4", blurred, fps=10)
    refused([film], tmp_path, "blurred throughout")


def test_no_film_at_all(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("this is no film")
    refused([tmp_path / "film.mp4"], tmp_path, "no video FFmpeg can read", SourceError)


def test_inputs_that_make_no_sense(tmp_path: Path) -> None:
    refused([tmp_path / "none.mp4"], tmp_path, "does not exist")
    with pytest.raises(UsageError, match="nothing to prepare"):
        make([], tmp_path / "data")
    with pytest.raises(OutputError, match="exists already"):
        make([tmp_path], tmp_path)
    for wrong in ({"size": 8}, {"every": 0}, {"fps": -1.0}, {"test_fraction": 1.0}, {"max_frames": 0}):
        with pytest.raises(UsageError, match="--"):
            PrepareOptions(**wrong)


def test_ctrl_c_leaves_nothing(testdata_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    film, out = testdata_dir / "videos/lp_d9.mp4", tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "engine.cli", "train", "prepare", str(film), "-o", str(out / "data")]
    with started(command, stderr=subprocess.PIPE, text=True) as running:
        time.sleep(4)  # it tracks by then, or still loads: either way nothing may stay
        running.send_signal(signal.SIGINT)
        _, words = running.communicate(timeout=60)
    assert running.returncode in (130, -signal.SIGINT), words  # the same to a shell
    assert "Traceback" not in words
    assert list(out.iterdir()) == []


# What needs no footage.


def fit_at(rotation: NDArray[np.float64], place: NDArray[np.float64]) -> FaceFit:
    return FaceFit(np.zeros(52), rotation, place, np.zeros((478, 2)), 100.0)


def test_parameters_put_the_head_where_the_fit_has_it() -> None:
    """Camera, root, neck and head together are the fit's own transform of the head, exactly."""
    base = load_head()
    rig = base.with_shape(torch.zeros(base.num_shapes))
    rng = np.random.default_rng(1)
    fits = [
        fit_at(axis_angle.to_matrix(0.5 * rng.normal(size=3)), rng.normal(size=3) * 0.05 - [0, 0, 0.6])
        for _ in range(5)
    ]
    rest = placement.rest_pose(fits)
    camera = placement.whole_camera(
        Intrinsics(600, 256, 256), placement.world_to_camera(rig, rest), (512, 512)
    )
    rigid = (rig.skin_weights[:, rig.joint_names.index("head")] > 0.99999).numpy()
    head = rig.joints_template[rig.joint_names.index("head")].double().numpy()
    for fit in fits:
        points = placement.projected(rig, placement.rig_params(rig, fit, rest), camera)[rigid]
        seen = (rig.template.double().numpy()[rigid] - head) @ fit.rotation.T + fit.translation
        wanted = np.stack(
            [600 * seen[:, 0] / -seen[:, 2] + 256, 600 * seen[:, 1] / seen[:, 2] + 256, -seen[:, 2]], 1
        )
        np.testing.assert_allclose(points, wanted, atol=0.02)  # float32 in pixels


def test_noise_goes_and_a_blink_stays() -> None:
    rng = np.random.default_rng(0)
    clean = np.zeros((200, 1))
    clean[100:104] = 1.0
    noisy = clean + 0.02 * rng.normal(size=clean.shape)
    steady = _without_noise(noisy)
    assert steady[80:96].std() < 0.7 * noisy[80:96].std()
    assert abs(steady[101:103] - 1).max() < 0.08  # its depth, but for the noise
    ramp = np.linspace(0, 1, 50)[:, None]
    np.testing.assert_allclose(_without_noise(ramp)[6:-6], ramp[6:-6], atol=1e-6)


def test_varied_frames_are_the_extremes() -> None:
    landmarks = np.zeros((20, 478, 3))
    shape = np.random.default_rng(0).normal(size=(478, 3))
    landmarks += shape * (1 + np.linspace(0, 1, 20))[:, None, None]
    assert {0, 19} <= set(varied(landmarks, 3).tolist())


def test_masks_follow_the_pictures_edges_and_lose_their_holes() -> None:
    picture = np.full((128, 128, 3), 230, np.uint8)
    truth = np.zeros((128, 128), np.float32)
    cv2.circle(truth, (64, 64), 40, 1.0, -1)
    picture[truth > 0.5] = (60, 40, 30)
    coarse = np.zeros_like(truth)
    cv2.circle(coarse, (65, 64), 41, 1.0, -1)  # off by up to two pixels, with a hole and a stray piece
    coarse[60:64, 60:64] = 0
    coarse[2:6, 2:6] = 1
    mask = refined(picture, coarse)
    assert np.abs(mask - truth).mean() < 0.75 * np.abs(coarse - truth).mean()
    assert mask[62, 62] == 1
    assert mask[4, 4] == 0


def test_the_backgrounds_colour_is_taken_out_of_the_edge() -> None:
    mask = np.clip((np.arange(128, dtype=np.float32)[None] - 60) / 5, 0, 1).repeat(128, 0)
    front, back = np.array([40.0, 60, 80]), np.array([250.0, 120, 20])
    mixed = mask[..., None] * front + (1 - mask[..., None]) * back
    colours = person_colours(np.rint(mixed).astype(np.uint8), mask)
    edge = (mask > 0.25) & (mask < 0.95)
    assert np.abs(colours[edge] - front).mean() < 0.2 * np.abs(mixed[edge] - front).mean()
