"""Datasets on disk: what is written comes back, and every kind of damage is named in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.errors import UsageError
from engine.train.data.dataset import DatasetWriter, check_new_folder, read_dataset, write_dataset
from engine.train.data.pictures import KeptPicture
from engine.train.data.views import Dataset, Picture, View
from render.camera import Camera
from render.errors import AvatarError
from render.rigs.head import open_head
from render.rigs.params import RigParams
from render.rigs.rig import Rig
from transport.errors import OutputError

SIZE = 12


def dataset(num_views: int = 3, geometry: bool = False) -> Dataset:
    kept = open_head()
    base = kept.rig
    generator = torch.Generator().manual_seed(3)
    shape = torch.randn(base.num_shapes, generator=generator)
    rig = base.with_shape(shape)

    def view(index: int) -> View:
        rgb = torch.rand(SIZE, SIZE, 3, generator=generator)
        mask = torch.rand(SIZE, SIZE, generator=generator)
        depth = torch.rand(SIZE, SIZE, generator=generator) if geometry else None
        picture = Picture(rgb, mask, depth, rgb - 0.5 if geometry else None)
        camera = Camera.orbit(
            (0, 0, 0), distance_m=1, yaw_deg=20 * index, width=SIZE, height=SIZE, vertical_fov_deg=20
        )
        params = RigParams(
            torch.rand(rig.num_expressions, generator=generator),
            torch.randn(rig.num_joints, 3, generator=generator),
            torch.randn(3, generator=generator),
        )
        return View(f"v{index}", camera, params, index, "test" if index else "train", lambda: picture)

    views = tuple(view(i) for i in range(num_views))
    return Dataset(rig, views, kept.reference(shape=shape), "somebody")


def tiny_rig() -> Rig:
    return Rig(
        kind="skin",
        template=torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]),
        faces=torch.tensor([[0, 1, 2]]),
        expression_names=("jawOpen",),
        expression_basis=torch.ones(1, 9),
        joint_names=("root",),
        parents=(-1,),
        joints_template=torch.zeros(1, 3),
        skin_weights=torch.ones(3, 1),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(dataset(), tmp_path / "data", {"quality.json": b"{}"})
    return tmp_path / "data"


@pytest.mark.parametrize("geometry", [False, True])
def test_what_is_written_comes_back(tmp_path: Path, geometry: bool) -> None:
    written = dataset(geometry=geometry)
    write_dataset(written, tmp_path / "data")
    read = read_dataset(tmp_path / "data")
    assert read.name == "somebody"
    assert read.rig.fingerprint() == written.rig.fingerprint()
    assert read.rig_reference is not None
    assert written.rig_reference is not None
    assert torch.equal(read.rig_reference.shape, written.rig_reference.shape)
    assert [v.name for v in read.of("test")] == ["v1", "v2"]
    for ours, theirs in zip(read.views, written.views, strict=True):
        assert (ours.time_index, ours.split) == (theirs.time_index, theirs.split)
        assert torch.equal(ours.camera.world_to_camera, theirs.camera.world_to_camera)
        assert ours.camera.fx == theirs.camera.fx
        assert torch.equal(ours.params.expression, theirs.params.expression)
        assert torch.equal(ours.params.pose, theirs.params.pose)
        assert torch.equal(ours.params.translation, theirs.params.translation)
        picture, original = ours.read(), theirs.read()
        # Eight bits a channel: half a step.
        assert float((picture.rgb - original.rgb).abs().max()) <= 0.501 / 255
        assert float((picture.mask - original.mask).abs().max()) <= 0.501 / 255
        assert (picture.depth is not None) == geometry
        if geometry:
            assert torch.equal(picture.depth, original.depth)
            assert torch.allclose(picture.normal, original.normal, atol=1e-3)  # half precision


def test_views_can_be_given_other_poses(tmp_path: Path) -> None:
    views = dataset().views
    moved = [view.params.replace(translation=torch.full((3,), 0.1 * i)) for i, view in enumerate(views)]
    with DatasetWriter(tmp_path / "data", dataset().rig, dataset().rig_reference, "somebody") as writer:
        for view in views:
            kept = KeptPicture.of(view.read())
            writer.add(view.name, view.camera, view.params, view.time_index, view.split, kept)
        with pytest.raises(ValueError, match="1 poses for 3 views"):
            writer.repose(moved[:1])
        writer.repose(moved)
    for view, params in zip(read_dataset(tmp_path / "data").views, moved, strict=True):
        assert torch.equal(view.params.translation, params.translation)


def test_shrinking_keeps_the_persons_colours_at_the_edge() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[:, :3] = 200  # what lies beside the mask means nothing
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :3] = 255
    small = KeptPicture(rgb, mask).shrunk(4)
    assert small.mask[0].tolist() == [255, 128, 0, 0]
    assert small.rgb[0, :2, 0].tolist() == [200, 200]
    assert KeptPicture(rgb, mask).shrunk(8).rgb is rgb


def test_a_rig_of_its_own_travels_along(tmp_path: Path) -> None:
    rig = tiny_rig()
    view = dataset(1).views[0]
    own = View("a", view.camera, rig.neutral_params(), 0, "train", view.read)
    write_dataset(Dataset(rig, (own,)), tmp_path / "data")
    read = read_dataset(tmp_path / "data")
    assert read.rig_reference is None
    assert read.rig.fingerprint() == rig.fingerprint()


def test_a_licensed_rig_is_never_copied(tmp_path: Path) -> None:
    import dataclasses

    rig = dataclasses.replace(tiny_rig(), kind="flame")
    with pytest.raises(AvatarError, match="licence forbids copies"):
        write_dataset(Dataset(rig, ()), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_lists_no_parts_is_read(tmp_path: Path) -> None:
    written = dataset(1)
    write_dataset(written, tmp_path / "data")
    path = tmp_path / "data" / "rig.safetensors"
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        header = json.loads(file.metadata()["rig"])
    kept = {"kind", "fingerprint", "file_hint"}
    save_file(tensors, path, {"rig": json.dumps({k: v for k, v in header.items() if k in kept})})
    assert torch.equal(read_dataset(tmp_path / "data").rig.template, written.rig.template)


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    whole = dataset()

    def broken() -> Picture:
        raise KeyboardInterrupt

    views = (*whole.views, View("x", whole.views[0].camera, whole.views[0].params, 9, "train", broken))
    with pytest.raises(KeyboardInterrupt):
        write_dataset(Dataset(whole.rig, views, whole.rig_reference), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_dataset(dataset(), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(folder: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        write_dataset(dataset(), folder)
    with pytest.raises(OutputError, match="does not exist"):
        check_new_folder(folder / "no" / "such")


def change(folder: Path, **changes: Any) -> None:
    header = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(header | changes))


def change_view(folder: Path, **changes: Any) -> None:
    views = json.loads((folder / "dataset.json").read_text())["views"]
    views[1] |= changes
    change(folder, views=views)


def change_camera(folder: Path, **changes: Any) -> None:
    camera = json.loads((folder / "dataset.json").read_text())["views"][1]["camera"]
    change_view(folder, camera=camera | changes)


SCALED = [[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
MIRRORED = [[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "dataset.json").unlink(), "no dataset.json"),
        (lambda f: (f / "dataset.json").write_text("{"), "dataset.json is no JSON"),
        (lambda f: (f / "dataset.json").write_text("[]"), "no dataset of visavis"),
        (lambda f: change(f, version=7), "version 7"),
        (lambda f: change(f, format="other"), "no dataset of visavis"),
        (lambda f: change(f, views=[]), "0 views for 3 rows"),
        (lambda f: change(f, views=[1, 2, 3]), "view 0 is 1"),
        (lambda f: (f / "images" / "v1.png").unlink(), r"v1\.png is missing"),
        (lambda f: (f / "masks" / "v2.png").unlink(), r"v2\.png is missing"),
        (lambda f: (f / "params.safetensors").write_bytes(b"no"), "params.safetensors cannot be read"),
        (lambda f: (f / "rig.safetensors").unlink(), "rig.safetensors holds no usable rig"),
        (lambda f: change_view(f, split="both"), "split 'both'"),
        (lambda f: change_view(f, time_index=-1), "time_index -1"),
        (lambda f: change_view(f, name="v0"), "two views 'v0'"),
        (lambda f: change_view(f, image="../../secret.png"), "outside the dataset"),
        (lambda f: change_view(f, camera=None), "'v1' has camera None"),
        (lambda f: change_camera(f, fx=-3), "camera fx -3"),
        (lambda f: change_camera(f, cx="x"), "camera cx 'x'"),
        (lambda f: change_camera(f, fy=float("nan")), "camera fy nan"),
        (lambda f: change_camera(f, width=0), "camera width 0"),
        (lambda f: change_camera(f, world_to_camera=SCALED), "no rotation"),
        (lambda f: change_camera(f, world_to_camera=MIRRORED), "no rotation"),
        (lambda f: change_camera(f, world_to_camera=[[1]]), r"shape \(1, 1\)"),
    ],
)
def test_damage_is_named_in_one_line(folder: Path, spoil: Any, words: str) -> None:
    spoil(folder)
    with pytest.raises(UsageError, match=words) as caught:
        read_dataset(folder)
    assert "\n" not in str(caught.value)


def test_damaged_pixels_are_named_when_read(folder: Path) -> None:
    views = read_dataset(folder).views
    (folder / "images" / "v0.png").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"v0\.png is no picture"):
        views[0].read()
    (folder / "masks" / "v2.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"v2\.png is no picture"):
        views[2].read()
    change_camera(folder, width=SIZE + 1)
    with pytest.raises(UsageError, match=r"is 12x12, its camera 13x12"):
        read_dataset(folder).views[1].read()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train prepare"):
        read_dataset(tmp_path / "none")
