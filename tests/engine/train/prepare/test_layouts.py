"""Captures with known cameras: files as other projects write them, made here, and what is wrong with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from engine.errors import UsageError
from engine.progress import Bars
from engine.train.data.dataset import read_dataset
from engine.train.prepare.flame_capture import on_flame
from engine.train.prepare.layouts import Capture, Rigged, read_capture, scaled
from engine.train.prepare.prepare import PrepareOptions, prepare
from render.camera import Camera
from render.errors import AvatarError
from render.rigs.flame import load_flame
from tests.render.rigs.mock_models import flame_arrays, write_npz

WIDTH, HEIGHT = 24, 32
OPENGL = np.diag([1.0, -1, -1, 1])


def camera(yaw_deg: float) -> Camera:
    return Camera.orbit(
        (0, 0.02, 0), distance_m=1.1, yaw_deg=yaw_deg, width=WIDTH, height=HEIGHT, vertical_fov_deg=22
    )


def flame_params(moment: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(moment)
    lengths = {"expr": 50, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
    arrays = {name: 0.1 * rng.normal(size=(1, n)).astype(np.float32) for name, n in lengths.items()}
    return arrays | {"shape": np.linspace(-1, 1, 100, dtype=np.float32)}


def gaussian_avatars(folder: Path, num_moments: int = 5, num_cameras: int = 2) -> Path:
    """A folder as GaussianAvatars' converter for NeRSemble leaves it."""
    for name in ("images", "fg_masks", "flame_param"):
        (folder / name).mkdir(parents=True)
    frames = []
    for moment in range(num_moments):
        np.savez(folder / f"flame_param/{moment:05d}.npz", **flame_params(moment))
        for index in range(num_cameras):
            stem = f"{moment:05d}_{index:02d}"
            picture = np.full((HEIGHT, WIDTH, 3), 40 * index + moment, np.uint8)
            cv2.imwrite(str(folder / f"images/{stem}.png"), picture)
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[: HEIGHT // 2] = 255
            cv2.imwrite(str(folder / f"fg_masks/{stem}.png"), mask)
            view = camera(30 * index)
            frames.append(
                {
                    "timestep_index": moment,
                    "camera_index": index,
                    "cx": view.cx,
                    "cy": view.cy,
                    "fl_x": view.fx,
                    "fl_y": view.fy,
                    "w": WIDTH,
                    "h": HEIGHT,
                    "file_path": f"images/{stem}.png",
                    "fg_mask_path": f"fg_masks/{stem}.png",
                    "flame_param_path": f"flame_param/{moment:05d}.npz",
                    "transform_matrix": (
                        np.linalg.inv(view.world_to_camera.double().numpy()) @ OPENGL
                    ).tolist(),
                }
            )
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    return folder


def both(folder: Path, test_fraction: float = 0.2) -> tuple[Capture, Rigged]:
    capture = read_capture(folder, test_fraction, None)
    return capture, on_flame(capture)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_npz(folder / "flame2023.npz", flame_arrays())
    return folder


@pytest.fixture
def capture(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VISAVIS_MODELS", str(models))
    return gaussian_avatars(tmp_path / "capture")


def test_cameras_parameters_and_pictures(capture: Path, models: Path) -> None:
    seen, rigged = both(capture)
    assert len(seen.views) == 10
    assert {v.moment for v in seen.views if v.split == "test"} == {4}
    assert [v.name for v in seen.views[:3]] == ["t00000_c000", "t00000_c001", "t00001_c000"]
    assert rigged.cameras == tuple(view.camera for view in seen.views)
    for view in seen.views:
        index = int(view.name[-3:])
        known = camera(30 * index)
        torch.testing.assert_close(view.camera.world_to_camera, known.world_to_camera, atol=1e-5, rtol=0)
        assert (view.camera.fx, view.camera.cy) == (known.fx, known.cy)
        rgb, mask = view.pixels(HEIGHT)
        assert rgb[0, 0, 0] == 40 * index + view.moment
        assert mask is not None
        assert mask[: HEIGHT // 2].min() == 255
        assert mask[HEIGHT // 2 :].max() == 0
    base = load_flame(models / "flame2023.npz")
    arrays = flame_params(3)
    params = rigged.params[6]
    assert np.allclose(params.expression[:50], arrays["expr"][0])
    assert params.expression.shape == (base.num_expressions,)
    for row, name in ((0, "rotation"), (1, "neck_pose"), (2, "jaw_pose")):
        assert np.allclose(params.pose[row], arrays[name][0])
    assert np.allclose(params.pose[3:].flatten(), arrays["eyes_pose"][0])
    baked = base.with_shape(torch.from_numpy(arrays["shape"]))
    torch.testing.assert_close(rigged.rig.template, baked.template)


def test_pictures_are_scaled_with_their_cameras(capture: Path) -> None:
    view = both(capture)[0].views[0]
    known, small = camera(0), scaled(view.camera, HEIGHT // 2)
    assert (small.width, small.height) == (WIDTH // 2, HEIGHT // 2)
    assert small.fx == pytest.approx(known.fx / 2)
    assert small.cx == pytest.approx(known.cx / 2)
    assert view.pixels(HEIGHT // 2)[0].shape == (HEIGHT // 2, WIDTH // 2, 3)


def test_a_static_offset_moves_the_template(capture: Path) -> None:
    plain = both(capture)[1].rig
    offset = np.full((1, plain.num_vertices + 120, 3), 0.01, np.float32)  # teeth behind FLAME's own vertices
    np.savez(capture / "flame_param/00000.npz", static_offset=offset, **flame_params(0))
    moved = both(capture)[1].rig
    torch.testing.assert_close(moved.template, plain.template + 0.01)


def test_split_files_of_their_own_are_kept(capture: Path) -> None:
    frames = json.loads((capture / "transforms.json").read_text())["frames"]
    for name, some in (("train", frames[:6]), ("val", frames[6:8]), ("test", frames[8:])):
        (capture / f"transforms_{name}.json").write_text(json.dumps({"frames": some}))
    splits = [view.split for view in read_capture(capture, 0.5, None).views]
    assert splits == ["train"] * 6 + ["test"] * 4


def test_nerf_files_share_a_lens_and_leave_the_ending_out(capture: Path) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    frames = content["frames"]
    for frame in frames:
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            del frame[key]
        frame["file_path"] = frame["file_path"].removesuffix(".png")
    angle = 2 * math.atan(WIDTH / (2 * camera(0).fx))
    (capture / "transforms.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    view = read_capture(capture, 0.2, None).views[0]
    assert view.camera.fx == pytest.approx(camera(0).fx)
    assert view.camera.cx == WIDTH / 2


def test_alpha_is_the_mask_where_no_other_is_named(capture: Path) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    del content["frames"][0]["fg_mask_path"]
    (capture / "transforms.json").write_text(json.dumps(content))
    picture = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    picture[..., 3] = 51
    cv2.imwrite(str(capture / "images/00000_00.png"), picture)
    mask = read_capture(capture, 0.2, None).views[0].pixels(HEIGHT)[1]
    assert mask is not None
    assert mask[0, 0] == 51


def test_prepare_writes_a_capture(capture: Path, tmp_path: Path) -> None:
    with Bars() as bars:
        prepared = prepare([capture], tmp_path / "data", PrepareOptions(size=HEIGHT), bars)
    assert "10 views, 8 to train on, 2 held out" in prepared.summary
    written, (_, direct) = read_dataset(tmp_path / "data"), both(capture)
    assert written.rig.fingerprint() == direct.rig.fingerprint()
    for view, its_camera, params in zip(written.views, direct.cameras, direct.params, strict=True):
        assert torch.equal(view.params.pose, params.pose)
        assert torch.equal(view.camera.world_to_camera, its_camera.world_to_camera)


def strip(capture: Path, *keys: str, only: int | None = None) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    for number, frame in enumerate(content["frames"]):
        for key in keys if only in (None, number) else ():
            del frame[key]
    (capture / "transforms.json").write_text(json.dumps(content))


def test_without_moments_and_flame_all_is_one_moment(capture: Path) -> None:
    """As NeRF's files have it; with FLAME's parameters every frame is a moment of its own."""
    strip(capture, "timestep_index", "camera_index")
    assert [view.moment for view in read_capture(capture, 0.2, None).views] == list(range(10))
    strip(capture, "flame_param_path")
    seen = read_capture(capture, 0.2, None)
    assert not seen.has_flame
    assert {view.moment for view in seen.views} == {0}
    assert {view.split for view in seen.views} == {"train"}
    assert seen.views[9].name == "t00000_c009"


def change(capture: Path, **changes: Any) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    content["frames"][2] |= changes
    (capture / "transforms.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: (c / "transforms.json").write_text("{"), "cannot be read as JSON"),
        (lambda c: (c / "transforms.json").write_text("{}"), "no list of frames"),
        (lambda c: (c / "transforms.json").write_text('{"frames": []}'), "name no picture"),
        (lambda c: (c / "images/00001_00.png").unlink(), r"00001_00\.png is missing"),
        (lambda c: change(c, fl_x=-2), "frame 2: fl_x is -2"),
        (lambda c: change(c, w="x"), "frame 2: w is 'x'"),
        (lambda c: change(c, transform_matrix=[[1, 2], [3, 4]]), r"shape \(2, 2\)"),
        (lambda c: change(c, transform_matrix=None), "holds no numbers|shape"),
        (lambda c: change(c, timestep_index=-1), "timestep_index is -1"),
        (lambda c: change(c, timestep_index=0), "twice for one moment and camera"),
        (lambda c: change(c, flame_param_path="none.npz"), r"none\.npz is missing"),
        (lambda c: strip(c, "flame_param_path", only=3), "frame 3 has no flame_param_path, 9 of 10 frames"),
        (
            lambda c: (strip(c, "flame_param_path"), strip(c, "timestep_index", only=3)),
            "frame 3 has no timestep_index",
        ),
        (lambda c: (c / "flame_param/00001.npz").write_bytes(b"x"), "no npz of plain arrays"),
        (lambda c: np.savez(c / "flame_param/00001.npz", expr=np.zeros(5)), "has no eyes_pose"),
        (
            lambda c: np.savez(c / "flame_param/00001.npz", **flame_params(1) | {"rotation": np.zeros(4)}),
            "4 values",
        ),
        (
            lambda c: np.savez(c / "flame_param/00001.npz", **flame_params(1) | {"expr": np.zeros(999)}),
            "999 expr",
        ),
    ],
)
def test_damage_is_named_in_one_line(capture: Path, spoil: Any, words: str) -> None:
    spoil(capture)
    with pytest.raises(UsageError, match=words) as caught:
        both(capture)
    assert "\n" not in str(caught.value)


def test_a_picture_of_another_size_is_named_when_read(capture: Path) -> None:
    cv2.imwrite(str(capture / "images/00000_00.png"), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(UsageError, match="is 5x5, its camera 24x32"):
        read_capture(capture, 0.2, None).views[0].pixels(HEIGHT)


def test_without_flame_the_user_learns_where_to_get_it(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path))
    with pytest.raises(AvatarError, match="needs FLAME"):
        both(capture)
