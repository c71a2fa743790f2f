"""Imports: the real LAM folder, GaussianAvatars files on a FLAME of the official layout, plain .ply files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.avatars.avatar import Avatar
from render.avatars.file import load_avatar, save_avatar
from render.cpu.renderer import CpuRenderer
from render.errors import AvatarError
from render.exporters import export_ply
from render.importers.gaussian_avatars import import_gaussian_avatars
from render.importers.gaussian_ply import read_vertices
from render.importers.gltf import GlbFile
from render.importers.lam import import_lam
from render.importers.ply import import_ply
from render.rigs.flame import load_flame
from render.rotations import axis_angle_to_matrix, quaternion_to_matrix
from tests.render.avatars.small_avatars import random_gaussians
from tests.render.avatars.small_lam import joined, lam_arrays, split, write_lam_folder
from tests.render.rigs.mock_models import flame_arrays, write_npz


@pytest.fixture(scope="module")
def lam_folder(testdata_dir: Path) -> Path:
    return testdata_dir / "avatars" / "lam_p2-1"


@pytest.fixture(scope="module")
def lam(lam_folder: Path) -> Avatar:
    return import_lam(lam_folder)


def picture(avatar: Avatar, turn_deg: tuple[float, float, float] = (0, 0, 0), **units: float) -> NDArray[Any]:
    renderer = CpuRenderer(256, 256)
    weights = torch.zeros(avatar.rig.num_expressions)
    for name, weight in units.items():
        weights[avatar.rig.expression_names.index(name)] = weight
    turn = torch.tensor([math.radians(a) for a in turn_deg])
    with torch.no_grad():
        gaussians = avatar.pose(avatar.rig.params_from_units(weights, turn, torch.zeros(3)))
    try:
        return renderer.render_rgb8(gaussians, avatar.default_camera(256, 256), (1.0, 1.0, 1.0)).astype(float)
    finally:
        renderer.close()


def test_a_lam_head_arrives_whole(lam: Avatar, lam_folder: Path) -> None:
    assert lam.gaussians.num_gaussians == lam.rig.num_vertices == 20_018
    assert lam.rig.num_expressions == 51
    assert {"jawOpen", "eyeBlinkLeft", "browInnerUp"} <= set(lam.rig.expression_names)
    assert lam.rig.joint_names == ("root", "neck", "head")
    assert not lam.gaussians.antialiased
    # The rest pose is the mesh with its offsets, about the head joint.
    columns = read_vertices(lam_folder / "offset.ply")
    mesh = GlbFile(lam_folder / "skin.glb").accessor(0)
    offsets = np.stack([columns[c] for c in "xyz"], 1)
    with torch.no_grad():
        g = lam.pose(lam.rig.neutral_params())
    origin = mesh[0] - lam.rig.template[0].numpy()
    # 1e-6 m: float32 positions around 1.7 m, once added and once subtracted.
    np.testing.assert_allclose(g.means.numpy() + origin, mesh + offsets, atol=1e-6)
    rgb = 0.5 + 0.28209479177387814 * g.sh[:, 0].numpy()
    np.testing.assert_allclose(rgb[:, 0], columns["f_dc_0"], atol=1e-6)


def test_sparse_morph_targets_are_read_as_the_file_says(lam: Avatar, lam_folder: Path) -> None:
    """Read again here by hand: the accessor's own minimum and maximum are a check the reader does not use."""
    glb = GlbFile(lam_folder / "skin.glb")
    targets = glb.json["meshes"][0]["primitives"][0]["targets"]
    for e, target in enumerate(targets):
        accessor = glb.json["accessors"][target["POSITION"]]
        rows = lam.rig.expression_basis[e].reshape(-1, 3).numpy()
        np.testing.assert_allclose(rows.min(0), accessor["min"], atol=1e-7)
        np.testing.assert_allclose(rows.max(0), accessor["max"], atol=1e-7)
        assert (np.abs(rows).max(1) > 0).sum() <= accessor["sparse"]["count"]


def test_the_head_turns_and_the_shoulders_stay(lam: Avatar) -> None:
    turn = torch.tensor([0.0, math.radians(40), 0.0])
    neutral = lam.rig.params_from_units(torch.zeros(51), torch.zeros(3), torch.zeros(3))
    turned = lam.rig.params_from_units(torch.zeros(51), turn, torch.zeros(3))
    before, after = lam.rig(neutral).vertices, lam.rig(turned).vertices
    head = lam.rig.skin_weights[:, 2] > 0.999
    still = lam.rig.skin_weights[:, 0] > 0.999
    assert int(head.sum()) > 15_000
    assert int(still.sum()) > 20
    torch.testing.assert_close(after[still], before[still])
    # The head is rigid and has turned by the whole angle.
    a, b = before[head] - before[head].mean(0), after[head] - after[head].mean(0)
    torch.testing.assert_close(b, a @ axis_angle_to_matrix(turn).T, atol=1e-4, rtol=0)  # 0.1 mm: blended rims
    # It turns about the neck inside it: its hinge, the origin, hardly moves.
    transform = lam.rig(turned).joint_transforms[2]
    assert float(transform[:, 3].norm()) < 0.01


def test_a_lam_head_looks_like_one(lam: Avatar) -> None:
    """Face and hair cover the middle, the corners are empty, and each half changes with its own eyelid."""
    neutral = picture(lam)
    assert neutral[100:160, 100:156].mean() < 235
    assert neutral[:20, :20].min() > 250
    left, right = picture(lam, eyeBlinkLeft=1.0), picture(lam, eyeBlinkRight=1.0)
    for shut, half in ((left, slice(128, 256)), (right, slice(0, 128))):  # the subject's left is on our right
        change = np.abs(shut - neutral).sum((1, 2)), np.abs(shut - neutral).sum((0, 2))
        assert change[1][half].sum() > 20 * (change[1].sum() - change[1][half].sum())


def test_a_lam_head_survives_the_avatar_file(lam: Avatar, tmp_path: Path) -> None:
    save_avatar(lam, tmp_path / "exact.avatar")
    exact = load_avatar(tmp_path / "exact.avatar")
    assert np.array_equal(picture(exact, jawOpen=0.5), picture(lam, jawOpen=0.5))
    save_avatar(lam, tmp_path / "compact.avatar", compact=True)
    compact = load_avatar(tmp_path / "compact.avatar")
    error = picture(compact, (0, 30, 0), jawOpen=0.5) - picture(lam, (0, 30, 0), jawOpen=0.5)
    # 8 bits for colours, scales and orientations keep the picture within a level or so of 255.
    assert 20 * math.log10(255 / math.sqrt((error**2).mean())) > 42


def test_a_small_lam_folder_needs_no_test_data(tmp_path: Path) -> None:
    avatar = import_lam(write_lam_folder(tmp_path / "lam"))
    arrays, rig = lam_arrays(), avatar.rig
    head = np.array([0, 1.6, 0], np.float32)
    assert rig.joint_names == ("root", "neck", "head")
    np.testing.assert_allclose(
        rig.joints_template.numpy() + head, [[0, 1.4, 0], [0, 1.5, 0], [0, 1.6, 0]], atol=1e-6
    )
    np.testing.assert_allclose(rig.template.numpy() + head, arrays["positions"], atol=1e-6)
    groups = np.array([0, 0, 1, 1, 2, 2])[arrays["joints"]]  # the jaw goes with the head
    for j in range(3):
        wanted = (arrays["weights"] * (groups == j)).sum(1)
        np.testing.assert_allclose(rig.skin_weights[:, j].numpy(), wanted, atol=1e-6)
    basis = rig.expression_basis.reshape(3, -1, 3).numpy()
    np.testing.assert_array_equal(basis[:, arrays["rows"]], arrays["moves"])
    assert np.count_nonzero(basis) == arrays["moves"].size


def test_a_skin_saved_in_another_pose_is_brought_to_it(tmp_path: Path) -> None:
    """With the neck raised by 3 cm in the file, the mesh follows by its weights."""
    folder = write_lam_folder(tmp_path / "lam")
    tree, binary = split((folder / "skin.glb").read_bytes())
    tree["nodes"][2]["translation"][1] += 0.03
    (folder / "skin.glb").write_bytes(joined(tree, binary))
    rig, arrays = import_lam(folder).rig, lam_arrays()
    share = (arrays["weights"] * (arrays["joints"] >= 2)).sum(1)
    wanted = arrays["positions"][:, 1] + 0.03 * share - 1.63
    np.testing.assert_allclose(rig.template[:, 1].numpy(), wanted, atol=1e-6)


def test_broken_lam_folders(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"holds no skin\.glb"):
        import_lam(tmp_path)
    folder = write_lam_folder(tmp_path / "lam")
    ply, glb = (folder / "offset.ply").read_bytes(), (folder / "skin.glb").read_bytes()
    (folder / "offset.ply").unlink()
    with pytest.raises(AvatarError, match=r"holds no offset\.ply"):
        import_lam(folder)
    (folder / "offset.ply").write_bytes(ply[: len(ply) // 2])
    with pytest.raises(AvatarError, match=r"offset\.ply is no whole \.ply file"):
        import_lam(folder)
    export_ply(random_gaussians(5), folder / "offset.ply")
    with pytest.raises(AvatarError, match=r"has 5 Gaussians, .*skin\.glb has 30 vertices"):
        import_lam(folder)
    (folder / "offset.ply").write_bytes(ply)
    for bad in (glb[:1000], glb[: len(glb) // 2], b"glTF" + bytes(100), b"not a glTF file at all"):
        (folder / "skin.glb").write_bytes(bad)
        with pytest.raises(AvatarError, match=r"skin\.glb is no whole binary glTF"):
            import_lam(folder)


def far_view(tree: Any) -> None:
    tree["bufferViews"][0]["byteOffset"] = 10**12


def huge_accessor(tree: Any) -> None:
    tree["accessors"][4]["count"] = 10**13


def far_row(tree: Any) -> None:
    tree["accessors"][4]["sparse"]["indices"]["bufferView"] = 0


def no_names(tree: Any) -> None:
    del tree["meshes"][0]["extras"]


def no_skin(tree: Any) -> None:
    del tree["skins"]


def circle(tree: Any) -> None:
    tree["nodes"][0]["children"] = []
    tree["nodes"][4]["children"] = [1, 5]


def far_joint(tree: Any) -> None:
    tree["skins"][0]["joints"] = [0, 1]


LIES = [
    (far_view, "buffer view"),
    (huge_accessor, "claims 10000000000000 elements, needed 30"),
    (far_row, "index"),
]
LIES += [
    (no_names, "3 morph targets with 0 names"),
    (no_skin, "skins"),
    (circle, "ancestor"),
    (far_joint, "joint 5"),
]


@pytest.mark.parametrize(("change", "match"), LIES, ids=[c.__name__ for c, _ in LIES])
def test_glb_files_that_lie(tmp_path: Path, change: Any, match: str) -> None:
    folder = write_lam_folder(tmp_path / "lam")
    tree, binary = split((folder / "skin.glb").read_bytes())
    change(tree)
    (folder / "skin.glb").write_bytes(joined(tree, binary))
    with pytest.raises(AvatarError, match=match) as caught:
        import_lam(folder)
    assert "\n" not in str(caught.value)


corruptions = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6
)


@pytest.mark.parametrize("name", ["skin.glb", "offset.ply"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(edits=corruptions)
def test_corrupted_lam_files_load_or_are_refused(
    name: str, edits: list[tuple[float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = write_lam_folder(tmp_path_factory.getbasetemp() / f"corrupted_{name}")
    data = bytearray((folder / name).read_bytes())
    for place, value in edits:
        data[int(place * len(data))] = value
    (folder / name).write_bytes(data)
    refusal = None
    try:
        avatar = import_lam(folder)
    except AvatarError as error:
        refusal = str(error)
    if refusal is None:
        assert bool(avatar.gaussians.means.isfinite().all())
        assert bool(avatar.rig.template.isfinite().all())
    else:
        assert "\n" not in refusal


# ---- GaussianAvatars -------------------------------------------


def rigged_ply(path: Path, face_index: NDArray[np.int64]) -> Path:
    from plyfile import PlyData, PlyElement

    export_ply(random_gaussians(len(face_index), degree=1), path)
    columns = dict(read_vertices(path))
    columns["binding_0"] = face_index.astype(np.float32)  # as the method writes it
    rows = np.empty(len(face_index), [(n, "<f4") for n in columns])
    for name, values in columns.items():
        rows[name] = values
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(path))
    return path


def test_gaussian_avatars_on_flame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flame_file = write_npz(tmp_path / "flame.npz", flame_arrays())
    flame = load_flame(flame_file)
    faces = np.array([0, 59, 7, 7, 3, 100])  # the last is one of the teeth the method adds
    ply = rigged_ply(tmp_path / "point_cloud.ply", faces)
    shape = np.linspace(-1, 1, 300).astype(np.float32)
    offset = np.random.default_rng(0).normal(0, 0.01, (1, 45, 3)).astype(np.float32)
    np.savez(tmp_path / "flame_param.npz", shape=shape, static_offset=offset, expr=np.zeros((3, 100)))
    avatar = import_gaussian_avatars(ply, flame_file)
    assert avatar.gaussians.num_gaussians == 5
    assert "1 Gaussians on triangles" in avatar.info.provenance
    wanted = flame.with_shape(torch.from_numpy(shape)).template + torch.from_numpy(offset[0, :40])
    torch.testing.assert_close(avatar.rig.template, wanted)
    # The method regresses the joints from the vertices that the offset has moved.
    joints = torch.from_numpy(flame_arrays()["J_regressor"].toarray()).float() @ wanted
    torch.testing.assert_close(avatar.rig.joints_template, joints)
    # In the rest pose a Gaussian sits where the definition puts it: see test_bindings for the frame itself.
    local = random_gaussians(6, degree=1)
    with torch.no_grad():
        g = avatar.pose(avatar.rig.neutral_params())
    corners = wanted[avatar.rig.faces[59]]
    edge = corners[1] - corners[0]
    assert float((g.means[1] - corners.mean(0)).norm()) == pytest.approx(
        float(local.means[1].norm() * (g.log_scales[1] - local.log_scales[1]).exp()[0]), rel=1e-4
    )
    assert float(edge.norm()) > 0
    save_avatar(avatar, tmp_path / "a.avatar")
    monkeypatch.setenv("VISAVIS_MODELS", str(tmp_path))
    assert torch.equal(load_avatar(tmp_path / "a.avatar").rig.template, avatar.rig.template)


def test_gaussian_avatars_files_that_do_not_fit(tmp_path: Path) -> None:
    flame_file = write_npz(tmp_path / "flame.npz", flame_arrays())
    ply = rigged_ply(tmp_path / "a.ply", np.array([500, 501]))
    with pytest.raises(AvatarError, match="no Gaussian on the 60 triangles"):
        import_gaussian_avatars(ply, flame_file)
    with pytest.raises(AvatarError, match="import it with --flame"):
        import_ply(ply)
    export_ply(random_gaussians(3), ply)
    with pytest.raises(AvatarError, match="no binding_0"):
        import_gaussian_avatars(ply, flame_file)
    ply = rigged_ply(tmp_path / "a.ply", np.array([1, 2]))
    np.savez(tmp_path / "flame_param.npz", static_offset=np.zeros((1, 7, 3), np.float32))
    with pytest.raises(AvatarError, match="offsets 7 vertices"):
        import_gaussian_avatars(ply, flame_file)
    np.savez(tmp_path / "flame_param.npz", shape=np.array([object()]))
    with pytest.raises(AvatarError, match=r"flame_param\.npz cannot be read"):
        import_gaussian_avatars(ply, flame_file)


# ---- plain .ply ------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "world_up"), [("y-up", (0.0, 1.0, 0.0)), ("y-down", (0.0, -1.0, 0.0)), ("z-up", (0.0, 0.0, 1.0))]
)
def test_a_plain_ply_stands_upright(tmp_path: Path, axes: Any, world_up: tuple[float, float, float]) -> None:
    source = random_gaussians(30, degree=1)
    export_ply(source, tmp_path / "scene.ply")
    avatar = import_ply(tmp_path / "scene.ply", axes=axes)
    assert avatar.rig.num_expressions == 0
    axis = torch.tensor(world_up)
    before = (source.means - source.means[0]) @ axis
    after = avatar.gaussians.means[:, 1] - avatar.gaussians.means[0, 1]
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)  # float32 positions of order 1
    # Nothing is mirrored: the turn from the source to the avatar is the same for every Gaussian.
    turns = quaternion_to_matrix(avatar.gaussians.quats) @ quaternion_to_matrix(source.quats).mT
    torch.testing.assert_close(turns, turns[:1].expand_as(turns), atol=1e-5, rtol=0)
    torch.testing.assert_close(turns[0].T @ torch.tensor([0.0, 1.0, 0.0]), axis, atol=1e-5, rtol=0)


def test_a_plain_ply_follows_the_head(tmp_path: Path) -> None:
    export_ply(random_gaussians(30), tmp_path / "scene.ply")
    avatar = import_ply(tmp_path / "scene.ply")
    turn, move = torch.tensor([0.0, 0.6, 0.0]), torch.tensor([0.1, 0.2, 0.3])
    with torch.no_grad():
        g = avatar.pose(avatar.rig.params_from_units(torch.zeros(0), turn, move))
    wanted = avatar.gaussians.means @ axis_angle_to_matrix(turn).T + move
    torch.testing.assert_close(g.means, wanted, atol=1e-5, rtol=0)


def test_ply_files_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x.ply"
    g = random_gaussians(4)
    broken = type(g)(g.means / 0, g.quats, g.log_scales, g.logit_opacities, g.sh)
    export_ply(broken, path)
    with pytest.raises(AvatarError, match="4 Gaussians with a x that is not finite"):
        import_ply(path)
    export_ply(g, path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"property float f_dc_1\n", b"property float zzzz_1\n"))
    with pytest.raises(AvatarError, match="has no column f_dc_1"):
        import_ply(path)
    path.write_bytes(data.replace(b"element vertex 4", b"element vertex 4000000000000"))
    with pytest.raises(AvatarError, match="claims 4000000000000 elements"):
        import_ply(path)
    path.write_bytes(data[:-10])
    with pytest.raises(AvatarError, match="no whole"):
        import_ply(path)
    path.write_text("no ply\n")
    with pytest.raises(AvatarError, match="no whole"):
        import_ply(path)
    with pytest.raises(AvatarError, match="cannot be read"):
        import_ply(tmp_path / "missing.ply")
    path.write_text("ply\nformat ascii 1.0\nelement face 1\nproperty float x\nend_header\n1\n")
    with pytest.raises(AvatarError, match="no whole"):
        import_ply(path)
