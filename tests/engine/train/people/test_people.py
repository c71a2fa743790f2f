"""Built-in people from a shoot to an avatar: cameras, motion, where Gaussians start, and both commands."""

from __future__ import annotations

import json
import math
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import UsageError
from engine.train.data.views import View
from engine.train.methods.quick.method import Quick
from engine.train.people import __main__ as people
from engine.train.people import training
from engine.train.people.binding import Binder, mobility, strays_rebound
from engine.train.people.bust import LEVEL_M, Bust, above
from engine.train.people.dataset import dataset_of
from engine.train.people.seeding import evenly_apart, face_weight, sow
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding, localise
from render.avatars.file import load_avatar
from render.camera import Camera
from render.gaussians import Gaussians
from render.making.people.person import Person
from render.making.people.shoot import Shoot, Start, Surface, read_shoot, write_shots
from render.renderer import RenderOutput
from render.rigs.head import load_head, load_head_surface
from render.rigs.rig import Rig
from tests.engine.train.people.small_shoot import SIZE, average_person, shots, start_of, write_shoot


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shoot")
    write_shoot(path)
    return path


@pytest.fixture(scope="module")
def rig() -> Rig:
    return average_person().rig


# -- the dataset ---------------------------------------------------------------------------------------------


def test_cameras_and_motion_are_those_of_the_shots(folder: Path) -> None:
    dataset = dataset_of(read_shoot(folder))
    assert [view.time_index for view in dataset.views] == [0] * 7 + [1] * 7
    assert [view.name for view in dataset.of("test")] == ["02", "05", "09", "12"]
    left = dataset.views[6]  # 60 degrees to the person's left
    assert left.camera.position()[0] > 0.8
    # The left eye is the person's own left: from the front it lies right in the picture.
    eye = dataset.rig.joints_template[dataset.rig.joint_names.index("left_eye")]
    x, y, depth = dataset.views[3].camera.project(eye[None])[0].tolist()
    assert x > SIZE / 2
    assert y < SIZE / 2
    assert depth == pytest.approx(1.05 - float(eye[2]), abs=1e-5)
    moved = dataset.views[7].params
    assert float(moved.expression[dataset.rig.expression_names.index("jawOpen")]) == pytest.approx(0.8)
    for name in ("left_eye", "right_eye"):
        turn = moved.pose[dataset.rig.joint_names.index(name)]
        torch.testing.assert_close(turn, torch.tensor([0.0, math.radians(12.0), 0.0]))


def test_without_a_gaze_the_eyes_turn_as_the_rigs_units_say(folder: Path) -> None:
    shoot = read_shoot(folder)
    shot = replace(shoot.shots[7], gaze_deg=None)
    params = dataset_of(replace(shoot, shots=(shot,))).views[0].params
    names = load_head().joint_names
    torch.testing.assert_close(
        params.pose[names.index("left_eye")], torch.tensor([0.0, math.radians(0.4 * 30), 0.0])
    )


def test_a_border_is_a_smaller_picture_of_the_same_camera(folder: Path) -> None:
    shoot = read_shoot(folder)
    part = replace(shoot.shots[3], border=(10, 20, 30, 24))
    views = dataset_of(replace(shoot, shots=(shoot.shots[3], part))).views
    point = torch.tensor([[0.02, 0.03, 0.08]])
    whole, cut = (view.camera.project(point)[0] for view in views)
    assert (views[1].camera.width, views[1].camera.height) == (30, 24)
    torch.testing.assert_close(cut[:2], whole[:2] - torch.tensor([10.0, 20.0]), atol=1e-4, rtol=0)
    with pytest.raises(UsageError, match=r"03\.png is 64x64, shoot\.json says 30x24"):
        views[1].read()


def test_colours_come_back_as_they_were_drawn(folder: Path) -> None:
    view = dataset_of(read_shoot(folder)).views[3]
    picture = view.read()
    assert picture.rgb.shape == (SIZE, SIZE, 3)
    assert 0.2 < float(picture.mask.mean()) < 0.9
    skin = picture.rgb[SIZE // 2, SIZE // 2]
    assert skin[0] > skin[2], "skin is redder than blue: the channels are in order"


def test_what_lies_below_the_chest_is_not_known_and_gets_no_gaussians(rig: Rig) -> None:
    # A tower: a plate 10 cm wide from far below the level to above it, before a camera that looks along z.
    low, high, half = LEVEL_M - 0.3, LEVEL_M + 0.2, 0.05
    rows = np.linspace(low, high, 51)
    vertices = np.array([(x, y, 0.0) for y in rows for x in (-half, half)], np.float32)
    faces = np.array(
        [f for k in range(0, 100, 2) for f in ((k, k + 1, k + 2), (k + 2, k + 1, k + 3))], np.int32
    )
    bust = Bust(rig, Start({"skin": Surface(vertices, faces)}))
    camera = Camera.orbit((0.0, LEVEL_M, 0.0), distance_m=1.0, yaw_deg=0, pitch_deg=0, width=100, height=100,
                          vertical_fov_deg=2 * math.degrees(math.atan(0.1)))  # fmt: skip
    known = bust.above_level(camera)
    assert known is not None
    # 2 mm a pixel: the plate is 50 wide; it begins to be known at the level, row 50, but for the edge.
    assert known[:48].all()
    assert not known[53:, 25:75].any()
    assert known[:, :22].all(), "the background beside it is known to be empty"
    assert known[:, 78:].all()
    above_it = Camera.orbit((0.0, LEVEL_M + 0.15, 0.0), distance_m=1.0, yaw_deg=0, pitch_deg=0, width=100,
                            height=100, vertical_fov_deg=5)  # fmt: skip
    assert bust.above_level(above_it) is None
    assert Bust(rig, Start({})).above_level(camera) is None
    points = torch.tensor([[0.0, LEVEL_M - 0.01, 0], [0, LEVEL_M + 0.01, 0]])
    assert above(points).tolist() == [False, True]


def test_of_a_turned_head_neck_and_clothes_are_known(folder: Path) -> None:
    shoot = read_shoot(folder)
    turned = replace(shoot.shots[3], file="00.png", head_deg=(40.0, 0.0))
    dataset = dataset_of(replace(shoot, shots=(shoot.shots[3], turned)))
    rig, (rest, view) = dataset.rig, dataset.views
    assert (rest.time_index, view.time_index) == (0, 1)
    nose = rig.template[:, 2].argmax()
    before, after = (rig(v.params).vertices[nose] for v in (rest, view))
    assert after[0] - before[0] > 0.04, "to the person's left"
    known = view.read().known
    assert known is not None
    x, y, _ = view.camera.project(after[None])[0].int().tolist()
    assert not known[: y + 3, x - 5 : x + 5].any(), "no face is"
    assert not known[:, :2].all(), "nor what is beside"
    # The throat's front is.
    share = rig.skin_weights[:, [rig.joint_names.index(name) for name in ("root", "neck")]].sum(1)
    middle = (share > 0.8) & (rig.template[:, 0].abs() < 0.02)
    front = middle & (rig.template[:, 2] > rig.template[middle, 2].mean())
    places = view.camera.project(rig(view.params).vertices[front])[:, :2].long()
    inside = places[((places >= 0) & (places < SIZE)).all(1)]
    assert len(inside) >= 3
    assert known[inside[:, 1], inside[:, 0]].all()
    assert rest.read().known is None


def test_a_unit_that_the_head_lacks_is_named_with_the_nearest(folder: Path) -> None:
    shoot = read_shoot(folder)
    wrong = replace(shoot.shots[0], weights={"jawOpn": 0.5})
    with pytest.raises(UsageError, match=r"'00\.png' moves 'jawOpn'.*did you mean jawOpen"):
        dataset_of(replace(shoot, shots=(wrong,)))


# -- binding and sowing --------------------------------------------------------------------------------------


def test_parts_hang_on_their_own_triangles(rig: Rig) -> None:
    surface = load_head_surface()
    binder = Binder(rig, surface)
    for part, groups in {"teeth": ("upper_teeth", "lower_teeth"), "eyes": ("left_eye", "right_eye")}.items():
        allowed = surface.faces_of(rig.faces, *groups)
        points = rig.template[rig.faces[allowed]].mean(1)
        assert torch.equal(binder(part, points), torch.nonzero(allowed)[:, 0])
    above = torch.tensor([[0.0, 0.15, 0.10], [0.03, 0.05, 0.14]])  # over the forehead, before an eye
    for part in ("hair", "glints", "clothes"):
        assert mobility(rig)[binder(part, above)].amax() < 5e-4, part
    collar = torch.tensor([[0.0, -0.09, 0.08], [0.06, -0.10, 0.0]])
    carries = rig.faces[binder("clothes", collar)]
    turned = rig(rig.params_from_units(torch.zeros(52), torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3)))
    at_rest = rig(rig.neutral_params())
    away = (turned.vertices - at_rest.vertices).norm(dim=-1)
    assert float(away[carries].max()) < 3e-3
    # Long hair turns less with the head the lower it hangs; a bob turns with it.
    for z in (0.06, -0.12):
        lock = torch.tensor([[0.07, y, z] for y in (-0.01, -0.06, -0.11, -0.16, -0.21, -0.29)])
        assert binder.hangs(lock, lock[-1:].expand(6, 3)).all()
        assert not binder.hangs(lock, lock[2:3].expand(6, 3)).any()
        follows = rig.skin_weights[rig.faces[binder("hanging", lock)]].mean(1)[:, 1:3].sum(1)
        assert follows[0] > 0.9
        assert (follows.diff() < 0.02).all(), follows
        assert follows[-1] < 0.1


def test_hair_turns_with_the_head_as_one_piece(rig: Rig) -> None:
    """A bun is ten centimetres from the nape that its strands grow on, whose triangles bend with the neck."""
    nape = torch.tensor([[x, y, -0.05] for x in (-0.03, 0.0, 0.03) for y in (-0.01, 0.01, 0.03)])
    faces = Binder(rig, load_head_surface())("hair", nape)
    bun = Gaussians(
        means=nape + torch.tensor([0.0, 0.05, -0.08]),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(len(nape), 1),
        log_scales=torch.full((len(nape), 3), -6.0),
        logit_opacities=torch.zeros(len(nape)),
        sh=torch.zeros(len(nape), 1, 3),
    )
    binding = TriangleBinding(faces)
    turned = rig(rig.params_from_units(torch.zeros(52), torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3)))
    means = binding.bound_to(rig)(localise(bun, binding, rig), turned, torch.zeros(52)).means
    head = turned.joint_transforms[rig.joint_names.index("head")]
    torch.testing.assert_close(means, bun.means @ head[:3, :3].T + head[:3, 3], atol=5e-4, rtol=0)


def test_what_strayed_from_its_triangle_hangs_on_what_lies_around(folder: Path, rig: Rig) -> None:
    shoot = read_shoot(folder)
    seeds = sow(dataset_of(shoot), shoot.start, 2000, 0)
    shares = rig.skin_weights[rig.faces].mean(1)
    head, root = (shares[:, rig.joint_names.index(name)] for name in ("head", "root"))
    strays = torch.nonzero(head[seeds.face_index] > 0.98)[::40, 0]
    assert len(strays) > 10
    faces = seeds.face_index.clone()
    faces[strays] = int(root.argmax())  # of the shoulders
    binding = TriangleBinding(faces)
    avatar = Avatar(AvatarInfo("small"), rig, (binding,), localise(seeds.gaussians, binding, rig))
    mended = strays_rebound(avatar, seeds)
    (bound,) = mended.bindings
    assert isinstance(bound, TriangleBinding)
    assert head[bound.face_index[strays]].min() > 0.9
    others = torch.ones(len(faces), dtype=torch.bool)
    others[strays] = False
    assert torch.equal(bound.face_index[others], faces[others])
    assert torch.equal(mended.gaussians.means[others], avatar.gaussians.means[others])
    for before, after in zip(
        *(
            (posed.means, posed.scales())
            for posed in (a.pose(rig.neutral_params()) for a in (avatar, mended))
        ),
        strict=True,
    ):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_lips_that_touch_hang_each_on_their_own_side(rig: Rig) -> None:
    surface = load_head_surface()
    binder = Binder(rig, surface)
    skin = torch.nonzero(surface.faces_of(rig.faces, "body"))[:, 0]
    corners = rig.template[rig.faces[skin]]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.nn.functional.normalize(cross, dim=1)
    middles = corners.mean(1)
    # A point just across the seam from where it belongs: nearest is the other lip, its normal is not.
    distances = torch.cdist(middles, middles)
    facing = normals @ normals.T < -0.8
    pairs = torch.nonzero(facing & (distances < 1.5e-3) & (distances > 0))
    assert len(pairs), "the mesh's lips touch"
    own, other = pairs[0]
    point = (0.35 * middles[own] + 0.65 * middles[other])[None]
    assert binder("skin", point)[0] != binder("skin", point, normals[own][None])[0]
    bound = binder("skin", point, normals[own][None])[0]
    assert float(normals[(skin == bound).nonzero()[0, 0]] @ normals[own]) > 0


def test_the_face_is_the_front_of_the_head(rig: Rig) -> None:
    eyes = rig.joints_template[[rig.joint_names.index(f"{side}_eye") for side in ("left", "right")]]
    assert face_weight(rig, eyes + torch.tensor([0.0, 0.0, 0.015])).amin() > 0.8
    crown, nape = rig.template[rig.template[:, 1].argmax()], torch.tensor([0.0, 0.0, -0.1])
    assert face_weight(rig, torch.stack([crown, nape])).amax() < 0.2


def test_points_are_thinned_to_an_even_spread() -> None:
    points = torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))
    points[:, 2] = 0
    rows = evenly_apart(points, torch.full((3000,), 0.01), 1000)
    assert len(rows) == 1000

    def nearest(chosen: torch.Tensor) -> torch.Tensor:
        distance = torch.cdist(points[chosen], points[chosen])
        return distance.fill_diagonal_(9.0).amin(1)

    random = torch.arange(0, 3000, 3)
    assert nearest(rows).quantile(0.05) > 3 * nearest(random).quantile(0.05)
    assert torch.equal(evenly_apart(points[:5], torch.ones(5), 9), torch.arange(5))


def test_seeds_lie_on_the_person_and_show(folder: Path, rig: Rig) -> None:
    shoot = read_shoot(folder)
    dataset = dataset_of(shoot)
    seeds = sow(dataset, shoot.start, 3000, seed=0)
    assert 1500 < seeds.num_seeds <= 3100
    assert 0.1 < float(seeds.follows.float().mean()) < 0.9
    groups = load_head_surface()
    # Closed lips hide the teeth; one of the looks has the mouth open, so some are sown.
    teeth = groups.faces_of(rig.faces, "upper_teeth", "lower_teeth")[seeds.face_index]
    assert int(teeth.sum()) > 0
    assert bool(seeds.follows[teeth].all())
    inside = (seeds.gaussians.means - rig.template.mean(0)).norm(dim=1)
    assert float(inside.max()) < 0.6
    again = sow(dataset, shoot.start, 3000, seed=0)
    assert torch.equal(again.gaussians.means, seeds.gaussians.means)
    hair = seeds.gaussians.means[:, 1] > rig.template[:, 1].max() + 0.01
    assert int(hair.sum()) > 100
    scales = seeds.gaussians.scales()[hair].sort(dim=1)[0]
    assert float((scales[:, 2] / scales[:, 1]).median()) > 3, "hair starts long and thin"


def test_a_person_without_hair_gets_all_of_its_gaussians_elsewhere(folder: Path) -> None:
    shoot = read_shoot(folder)
    bald = replace(shoot.start, strands={})
    seeds = sow(dataset_of(shoot), bald, 3000, seed=0)
    assert seeds.num_seeds > 1800


# -- the commands --------------------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> int:
    monkeypatch.setattr(sys, "argv", ["people", *map(str, arguments)])
    threads = torch.get_num_threads()
    try:
        return people.main()
    finally:
        torch.set_num_threads(threads)


TINY = ("quick.coarse_steps=60", "quick.fine_steps=90", "quick.looks.window_px=48", "quick.density.looks=2")


def test_train_and_look(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, sheet = tmp_path / "a.avatar", tmp_path / "a.png"
    settings = [part for setting in TINY for part in ("--set", setting)]
    options = ["--count", 3000, "--no-calibrate", "--device", "cpu", *settings]
    assert run(monkeypatch, "train", folder, "-o", output, *options) == 0
    capsys.readouterr()
    avatar = load_avatar(output)
    assert avatar.info.name == "average"
    assert "nobody's likeness" in avatar.info.consent
    assert avatar.framing is not None
    assert output.stat().st_size < 60 * avatar.gaussians.num_gaussians + 700_000
    report = json.loads((tmp_path / "a.report.json").read_text())
    assert report["played"]["masked_psnr"] > 14  # of 150 steps, from grey
    assert run(monkeypatch, "look", folder, output, "-o", sheet, "--all") == 0
    printed = capsys.readouterr().out
    assert "rest, 2 pictures: PSNR person dB" in printed
    assert "trained expressions, 5 pictures" in printed
    assert "sharpness" in printed
    assert sheet.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "{folder}", "-o", "a.ply"], "must end in .avatar"),
        (["train", "{folder}", "-o", "{out}/a.avatar", "--count", "10"], "--count 10"),
        (["train", "{out}", "-o", "{out}/a.avatar"], "shoot.json cannot be read"),
        (["train", "{folder}", "-o", "{out}/a.avatar", "--set", "quick.rowz=3"], "did you mean quick.rows"),
        (["make", "vera", "-o", "a.ply"], "must end in .avatar"),
        (["make", "vera", "-o", "{out}/a.avatar", "--makehuman", "{out}"], "docs/people.md"),
        (["look", "{folder}", "{out}/none.avatar"], "none.avatar"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    words: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(folder=folder, out=tmp_path) for argument in arguments]
    assert run(monkeypatch, *filled) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") <= 2
    assert not list(tmp_path.iterdir())


def test_make_takes_the_pictures_and_trains_on_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def take(person: Person, where: Path, makehuman: Path | None, blender: Path | None) -> None:
        asked.append((person.name, makehuman, blender))
        where.mkdir()
        for file in folder.iterdir():
            (where / file.name).write_bytes(file.read_bytes())

    monkeypatch.setattr(people, "take_pictures", take)
    monkeypatch.chdir(tmp_path)
    settings = [part for setting in TINY for part in ("--set", setting)]
    options = ["--count", 3000, "--no-calibrate", "--device", "cpu", *settings]
    assert run(monkeypatch, "make", "mei", "-o", "mei.avatar", "--blender", "python", *options) == 0
    assert asked == [("mei", None, Path("python"))]
    assert load_avatar(tmp_path / "mei.avatar").gaussians.num_gaussians > 1000
    assert (tmp_path / "mei_shoot" / "shoot.json").exists()


def test_nothing_to_learn_from_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = tmp_path / "held"
    held.mkdir()
    for shot in shots():
        (held / shot.file).write_bytes((folder / shot.file).read_bytes())
    (held / "start.npz").write_bytes((folder / "start.npz").read_bytes())
    shoot: Shoot = read_shoot(folder)
    write_shots(held, "average", shoot.shape, [replace(shot, held_out=True) for shot in shoot.shots])
    assert run(monkeypatch, "train", held, "-o", tmp_path / "a.avatar") == 2
    assert "nothing to learn from" in capsys.readouterr().err


def test_the_small_start_is_of_the_rig(rig: Rig) -> None:
    start = start_of(rig)
    assert set(start.surfaces) == {"skin", "eyes", "teeth"}
    np.testing.assert_array_equal(start.surfaces["skin"].vertices, rig.template.numpy())


def test_a_stopped_training_goes_on_with_its_own_settings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.avatar"
    settings = [part for setting in (*TINY, "quick.rows=2") for part in ("--set", setting)]
    real = Quick.render

    def stop(self: Quick, view: View, background: torch.Tensor) -> RenderOutput:
        signal.raise_signal(signal.SIGINT)  # with the first preview, as Ctrl-C would
        return real(self, view, background)

    monkeypatch.setattr(Quick, "render", stop)
    arguments = ("train", folder, "-o", output, "--no-calibrate", "--device", "cpu")
    assert run(monkeypatch, *arguments, "--count", 3000, *settings) == 130
    assert "with --resume goes on" in capsys.readouterr().err
    assert not output.exists()
    monkeypatch.setattr(Quick, "render", real)
    assert run(monkeypatch, *arguments) == 2
    assert "unfinished training" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr(training, "sow", lambda *_: pytest.fail("sown before the refusal"))
        assert run(monkeypatch, *arguments, "--resume", "--set", "quick.rows=3") == 2
        assert "quick.rows = 2, now it is 3" in capsys.readouterr().err
    assert run(monkeypatch, *arguments, "--resume") == 0
    deformation = load_avatar(output).deformation
    assert deformation is not None
    assert deformation.coefficients.num_outputs == 2
