"""The avatar command from its arguments to its files, and one line for every mistake."""

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engine.cli import main
from render.avatars.avatar import Avatar
from render.avatars.file import load_avatar, save_avatar
from render.avatars.library import DEFAULT_AVATAR, builtin_names
from render.exporters import export_ply
from render.importers.gaussian_ply import read_vertices
from tests.render.avatars.small_avatars import random_avatar, random_gaussians
from tests.render.avatars.small_lam import write_lam_folder
from tests.render.rigs.mock_models import flame_arrays, smplx_arrays, write_npz
from tracking.errors import TrackingError


@pytest.fixture
def avatar_file(tmp_path: Path) -> Path:
    path = tmp_path / "sam.avatar"
    save_avatar(random_avatar(), path)
    return path


def test_info_of_a_file_and_of_a_built_in_avatar(
    avatar_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["avatar", "info", str(avatar_file)]) == 0
    text = capsys.readouterr().out
    for words in ("sam", "CC0-1.0", "nobody's face", "triangle 7, vertex 14, skinning 7", "jawOpen"):
        assert words in text
    assert DEFAULT_AVATAR in builtin_names()
    assert main(["avatar", "info", DEFAULT_AVATAR, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == DEFAULT_AVATAR
    assert facts["units"] == 52
    assert facts["gaussians"] >= 20_000


def test_the_list_has_every_built_in_avatar_and_who_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["avatar", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(builtin_names())
    assert [line.split()[0] for line in lines if line.endswith("(the default)")] == [DEFAULT_AVATAR]
    assert main(["avatar", "list", "--json"]) == 0
    people = json.loads(capsys.readouterr().out)
    assert [person["name"] for person in people] == list(builtin_names())
    for person in people:
        assert person["who"]
        assert person["licence"] == "CC0-1.0"
        assert person["megabytes"] <= 3.5


def test_every_built_in_avatar_opens_and_poses() -> None:
    assert len(builtin_names()) >= 3
    for name in builtin_names():
        from render.avatars.library import open_avatar

        avatar = open_avatar(name)
        assert avatar.info.licence
        assert avatar.info.consent
        with torch.no_grad():
            g = avatar.pose(avatar.rig.neutral_params())
        assert bool(g.means.isfinite().all())
        assert float(g.means.norm(dim=1).max()) < 1.0  # a metre around the head joint


def test_a_lam_folder_becomes_an_avatar_file(
    testdata_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lam.avatar"
    folder = str(testdata_dir / "avatars" / "lam_p2-1")
    words = ["--licence", "CC-BY-NC-4.0", "--consent", "a painting", "--name", "lam", "--no-calibrate"]
    assert main(["avatar", "import", folder, "-o", str(out), *words]) == 0
    captured = capsys.readouterr()
    assert "20018 Gaussians" in captured.out
    assert captured.err == ""
    info = load_avatar(out).info
    assert (info.name, info.licence, info.consent) == ("lam", "CC-BY-NC-4.0", "a painting")
    assert info.created


def test_an_import_keeps_the_calibration_or_says_why_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measuring itself takes a minute and is tested with the tracker."""

    def calibrate(avatar: Avatar, progress: Callable[[list[int], int], Iterable[int]]) -> Avatar:
        assert list(progress([1, 2, 3], 3)) == [1, 2, 3]
        return avatar.replace(extras={"response": torch.ones(2)})

    def fail(avatar: Avatar, progress: object) -> Avatar:
        raise TrackingError("the detector finds a face on 0 of 1600 pictures")

    folder, out = write_lam_folder(tmp_path / "lam"), tmp_path / "x.avatar"
    command = ["avatar", "import", str(folder), "-o", str(out), "--licence", "CC0-1.0", "--consent", "nobody"]
    monkeypatch.setattr("engine.calibrate.calibrate_avatar", calibrate)
    assert main(command) == 0
    assert torch.equal(load_avatar(out).extras["response"], torch.ones(2))
    assert capsys.readouterr().err.count("\n") == 1  # what takes a minute is said
    monkeypatch.setattr("engine.calibrate.calibrate_avatar", fail)
    assert main(command) == 0
    assert not load_avatar(out).extras
    assert "without calibration: the detector finds a face on 0" in capsys.readouterr().err


def test_ply_files_become_avatars_and_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_ply(random_gaussians(50, degree=1), tmp_path / "scene.ply")
    source, avatar = str(tmp_path / "scene.ply"), str(tmp_path / "scene.avatar")
    assert main(["avatar", "import", source, "-o", avatar, "--axes", "y-down", "--compact"]) == 0
    captured = capsys.readouterr()
    assert "gaussians.means" in captured.out  # the loss of compact storage
    assert "--consent" in captured.err
    back = tmp_path / "back.ply"
    assert main(["avatar", "export", avatar, "-o", str(back)]) == 0
    assert len(read_vertices(back)["x"]) == 50
    assert main(["avatar", "export", avatar, "-o", str(tmp_path / "back.spz"), "--yaw", "30"]) == 0
    assert (tmp_path / "back.spz").stat().st_size > 100


@pytest.mark.parametrize("name", ["compressed.ply", "nan2.ply"])
def test_the_files_that_users_met_are_imported(
    name: str, testdata_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = testdata_dir / "cases" / name, tmp_path / "x.avatar"
    assert main(["avatar", "import", str(source), "-o", str(out), "--licence", "CC0", "--consent", "no"]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    if name == "nan2.ply":
        assert said.endswith(
            "3DGS .ply, static; 2 of 1200 Gaussians left out (2 with a x that is not finite)"
        )
    else:
        assert said.endswith("compressed .ply, static; all transparent, so that nothing can be seen")
    assert load_avatar(out).gaussians.num_gaussians == {"compressed.ply": 256, "nan2.ply": 1198}[name]
    assert main(["avatar", "info", str(out)]) == 0
    assert main(["avatar", "preview", str(out), "-o", str(tmp_path / "x.png"), "--size", "32"]) == 0


def test_our_own_exports_come_back_and_lam_comes_in_a_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.avatar"
    for suffix in (".ply", ".spz"):
        exported = tmp_path / f"vera{suffix}"
        assert main(["avatar", "export", DEFAULT_AVATAR, "-o", str(exported)]) == 0
        assert main(["avatar", "import", str(exported), "-o", str(out), "--name", "again"]) == 0
        again = load_avatar(out)
        assert again.name == "again"
        assert again.gaussians.antialiased
    archive = tmp_path / "head.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in write_lam_folder(tmp_path / "lam").iterdir():
            file.write(path, f"head/{path.name}")
    assert main(["avatar", "import", str(archive), "-o", str(out), "--no-calibrate"]) == 0
    assert load_avatar(out).rig.num_expressions == 3
    assert "LAM folder" in capsys.readouterr().out


def test_far_floaters_cost_a_compact_file_nothing(tmp_path: Path) -> None:
    g = random_gaussians(300)
    alone, among = tmp_path / "alone.ply", tmp_path / "among.ply"
    export_ply(g, alone)
    g.means[::30] *= 1000
    export_ply(g, among)
    near = torch.ones(300, dtype=torch.bool)
    near[::30] = False
    for source in (alone, among):
        out = source.with_suffix(".avatar")
        assert main(["avatar", "import", str(source), "-o", str(out), "--compact", "--no-calibrate"]) == 0
    first, second = (load_avatar(p.with_suffix(".avatar")).gaussians.means for p in (alone, among))
    moved = (first[near] - first[near].mean(0)) - (second[:290] - second[:290].mean(0))
    assert float(moved.abs().max()) < 1e-3  # two steps of 16 bits in a box of 8


def test_export_takes_expressions_and_head_angles(avatar_file: Path, tmp_path: Path) -> None:
    plain, posed = tmp_path / "plain.ply", tmp_path / "posed.ply"
    assert main(["avatar", "export", str(avatar_file), "-o", str(plain)]) == 0
    options = ["--unit", "jawOpen=0.5", "--unit", "browInnerUp=1", "--yaw", "20", "--pitch", "-5"]
    assert main(["avatar", "export", str(avatar_file), "-o", str(posed), *options]) == 0
    avatar = load_avatar(avatar_file)
    weights = torch.tensor([0.5, 0.0, 0.0, 1.0])
    turn = torch.deg2rad(torch.tensor([-5.0, 20.0, 0.0]))
    with torch.no_grad():
        g = avatar.pose(avatar.rig.params_from_units(weights, turn, torch.zeros(3)))
    np.testing.assert_allclose(read_vertices(posed)["x"], g.means[:, 0].numpy(), atol=1e-6)
    assert not np.allclose(read_vertices(plain)["x"], read_vertices(posed)["x"], atol=1e-3)


def test_preview_shows_expressions_and_views(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert main(["avatar", "preview", DEFAULT_AVATAR, "-o", str(out), "--size", "96"]) == 0
    sheet = cv2.imread(str(out)).astype(float)
    bar = 22
    rows, columns = sheet.shape[0] // (96 + bar), sheet.shape[1] // 96
    assert (rows, columns) == (8, 5)
    cells = sheet.reshape(rows, 96 + bar, columns, 96, 3)[:, bar:].transpose(0, 2, 1, 3, 4)
    face = cells[:, :, 16:80, 24:72]
    assert face.std(axis=(2, 3, 4)).min() > 15  # somebody is in every cell
    front = cells[:, 2]
    for row in range(1, rows):  # every expression differs from neutral
        assert np.abs(front[row] - front[0]).max() > 20
    for column in (0, 1, 3, 4):  # and every view from the front
        assert np.abs(cells[0, column] - cells[0, 2]).mean() > 3


def test_preview_of_rigs_with_unnamed_or_no_expressions(tmp_path: Path) -> None:
    flame = write_npz(tmp_path / "flame.npz", flame_arrays())
    still = tmp_path / "still.ply"
    export_ply(random_gaussians(50), still)
    for source, options in ((still, []), (_rigged(tmp_path), ["--flame", str(flame), "--no-calibrate"])):
        avatar = tmp_path / "x.avatar"
        assert main(["avatar", "import", str(source), "-o", str(avatar), *options]) == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VISAVIS_MODELS", str(tmp_path))
            png = ["-o", str(tmp_path / "x.png"), "--size", "32"]
            assert main(["avatar", "preview", str(avatar), *png]) == 0


def test_a_model_of_an_unknown_layout_is_imported_as_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_npz(tmp_path / "model.npz", smplx_arrays(num_columns=77))
    source, out = _rigged(tmp_path), tmp_path / "x.avatar"
    command = ["avatar", "import", str(source), "-o", str(out), "--smplx", str(model), "--no-calibrate"]
    assert main(command) == 2
    assert "--shapes" in capsys.readouterr().err
    assert main([*command, "--shapes", "47"]) == 0
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path))
    assert load_avatar(out).rig.num_expressions == 30


def _rigged(folder: Path) -> Path:
    from tests.render.avatars.test_importers import rigged_ply

    return rigged_ply(folder / "rigged.ply", np.arange(20))


MISTAKES: list[tuple[list[str], str]] = [
    (["info", "nobody"], r"no avatar nobody: .*vera"),
    (["info", "{folder}"], "is a folder"),
    (["info", "{text}"], "no avatar file"),
    (["info", "{short}"], "cut short|damaged"),
    (["preview", "{good}", "-o", "{folder}/x.jpg"], "must end in .png"),
    (["preview", "{good}", "-o", "{folder}/none/x.png"], "no folder"),
    (["preview", "{good}", "-o", "{folder}/x.png", "--size", "5"], "32 to 1024"),
    (["export", "{good}", "-o", "{folder}/x.obj"], "must end in .ply or .spz"),
    (["export", "{good}", "-o", "{folder}/x.ply", "--unit", "jawOpn=1"], "no unit 'jawOpn'"),
    (["export", "{good}", "-o", "{folder}/x.ply", "--unit", "jawOpen=wide"], "give a weight"),
    (["export", "{good}", "-o", "{folder}/x.ply", "--unit", "jawOpen=nan"], "give a weight"),
    (["import", "{folder}/nothing", "-o", "{folder}/x.avatar"], "does not exist"),
    (["import", "{folder}", "-o", "{folder}/x.avatar"], "holds no skin.glb"),
    (["import", "{text}", "-o", "{folder}/x.avatar"], "no LAM folder, no .ply and no face model"),
    (["import", "{good}", "-o", "{folder}/x.ply"], "must end in .avatar"),
    (["import", "{badply}", "-o", "{folder}/x.avatar"], "no whole .ply"),
    (["import", "{badply}", "-o", "{folder}/x.avatar", "--flame", "{folder}/no.pkl"], "no whole .ply"),
    (["import", "{good}", "-o", "{folder}/x.avatar"], "needs no import"),
    (["import", "{lam}", "-o", "{folder}/x.avatar", "--flame", "{good}"], "--flame goes with a rigged .ply"),
    (["import", "/dev/zero", "-o", "{folder}/x.avatar"], "neither a file nor a folder"),
    (["import", "{good}"], "required"),
    (["info", "{good}", "--jsn"], "unknown option"),
    (["mend", "{good}"], "mend"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[" ".join(a[:2]) for a, _ in MISTAKES])
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    inputs = tmp_path / "in"
    inputs.mkdir()
    good, short, text, bad_ply = (inputs / n for n in ("good.avatar", "short.avatar", "a.txt", "bad.ply"))
    save_avatar(random_avatar(), good)
    short.write_bytes(good.read_bytes()[:-100])
    text.write_text("hello\n" * 100)
    bad_ply.write_text("ply\n")
    write_lam_folder(inputs / "lam")
    names = {
        "lam": inputs / "lam",
        "good": good,
        "short": short,
        "text": text,
        "badply": bad_ply,
        "folder": tmp_path,
    }
    before = sorted(tmp_path.rglob("*"))
    assert main(["avatar", *(a.format(**names) for a in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert re.search(words, captured.err), captured.err
    assert sorted(tmp_path.rglob("*")) == before
