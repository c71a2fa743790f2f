"""FLAME and SMPL-X: right vertices from every official kind of file, and no file can run code."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from render.errors import AvatarError
from render.rigs.flame import FlameParams, load_flame, open_flame
from render.rigs.safe_load import read_model_file
from render.rigs.smplx import SmplxParams, load_smplx, load_smplx_hands
from tests.render.rigs.mock_models import (
    flame_arrays,
    pickle_with_chumpy,
    smplx_arrays,
    write_npz,
    write_pkl,
)

LOADERS = {"flame": load_flame, "smplx": load_smplx, "smplx_hands": load_smplx_hands}
# body-models computes in float32, as we do; values are around 1 with some hundred summands.
TOLERANCE = {"atol": 5e-5, "rtol": 1e-4}


def draw(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def flame_params(num_shapes: int = 300, num_expressions: int = 100) -> FlameParams:
    joints = [draw(i, 2, 3, scale=0.5) for i in range(6)]
    return FlameParams(draw(7, 2, num_shapes), draw(8, 2, num_expressions), *joints)


@pytest.fixture(scope="module")
def flame_file(tmp_path_factory):
    return write_pkl(tmp_path_factory.mktemp("flame") / "flame.pkl", flame_arrays())


@pytest.fixture(scope="module")
def smplx_file(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("smplx") / "SMPLX_NEUTRAL.npz", smplx_arrays())


def test_flame_agrees_with_body_models(flame_file):
    oracle = pytest.importorskip("body_models.flame.torch").FLAME(model_path=flame_file)
    params = flame_params()
    expected = oracle.forward_vertices(
        torch.stack([params.neck_pose, params.jaw_pose, params.leye_pose, params.reye_pose], -2),
        head_rotation=params.global_orient,
        shape=params.shape,
        expression=params.expression,
        global_translation=params.transl,
    )
    rig = load_flame(flame_file)
    torch.testing.assert_close(rig(params.to_rig_params()).vertices, expected, **TOLERANCE)
    one = FlameParams(**{name: value[0] for name, value in vars(params).items()})
    baked = rig.with_shape(one.shape)
    posed = baked(one.to_rig_params(shape_is_baked=True)).vertices
    torch.testing.assert_close(posed, expected[0], **TOLERANCE)


@pytest.mark.parametrize("flat", [True, False])
def test_smplx_agrees_with_body_models(smplx_file, flat):
    oracle = pytest.importorskip("body_models.smplx.torch").SMPLX(model_path=smplx_file, flat_hand_mean=flat)
    body, hands = draw(1, 2, 63, scale=0.3), [draw(i, 2, 45, scale=0.3) for i in (2, 3)]
    face = [draw(i, 2, 3, scale=0.3) for i in (4, 5, 6)]
    orient, transl = draw(7, 2, 3), draw(8, 2, 3)
    betas, expression = draw(9, 2, 300), draw(10, 2, 100)
    expected = oracle.forward_vertices(
        body.view(2, 21, 3),
        torch.stack(face, -2),
        torch.cat(hands, -1).view(2, 30, 3),
        pelvis_rotation=orient,
        shape=betas,
        expression=expression,
        global_translation=transl,
    )
    params = SmplxParams(betas, expression, orient, body, *hands, *face, transl)
    means = None if flat else load_smplx_hands(smplx_file)
    posed = load_smplx(smplx_file)(params.to_rig_params(means)).vertices
    torch.testing.assert_close(posed, expected, **TOLERANCE)


def test_hands_in_components_equal_hands_in_angles(smplx_file):
    hands = load_smplx_hands(smplx_file)
    weights = draw(1, 6)
    in_components = SmplxParams.neutral().to_rig_params(hands)
    neutral = SmplxParams.neutral()
    fields = {**vars(neutral), "left_hand_pose": weights}
    in_components = SmplxParams(**fields).to_rig_params(hands)
    angles = weights @ torch.from_numpy(smplx_arrays()["hands_componentsl"][:6]).float()
    in_angles = SmplxParams(**{**fields, "left_hand_pose": angles}).to_rig_params(hands)
    torch.testing.assert_close(in_components.pose, in_angles.pose)
    with pytest.raises(ValueError, match="load_smplx_hands"):
        SmplxParams(**fields).to_rig_params()


def tensors_of(rig):
    return {name: value for name, value in vars(rig).items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("sparse", ["csc_matrix", "csr_matrix", "csc_array"])
def test_every_pickle_protocol_and_sparse_kind_reads_the_same(tmp_path, flame_file, protocol, sparse):
    import scipy.sparse

    arrays = flame_arrays()
    arrays["J_regressor"] = getattr(scipy.sparse, sparse)(arrays["J_regressor"])
    arrays["v_template"] = np.asfortranarray(arrays["v_template"]).astype(">f8")
    arrays["count"] = np.float64(3)
    kept, expected = open_flame(write_pkl(tmp_path / "model.pkl", arrays, protocol)), open_flame(flame_file)
    assert kept.fingerprint == expected.fingerprint
    for name, tensor in tensors_of(expected.rig).items():
        torch.testing.assert_close(getattr(kept.rig, name), tensor)  # sums of joints may differ in last bits
    assert float(read_model_file(tmp_path / "model.pkl").array("count")) == 3


def test_npz_reads_as_pkl(tmp_path, flame_file):
    kept = open_flame(write_npz(tmp_path / "model.npz", flame_arrays()))
    assert kept.fingerprint == open_flame(flame_file).fingerprint


@pytest.mark.parametrize("name", ["v_template", "shapedirs", "J_regressor", "f"])
def test_the_fingerprint_is_of_the_file_s_numbers(tmp_path, flame_file, name):
    arrays = flame_arrays()
    changed = arrays[name].toarray() if name == "J_regressor" else arrays[name].copy()
    changed.flat[5] = changed.flat[6]
    kept = open_flame(write_npz(tmp_path / "model.npz", {**arrays, name: changed}))
    assert kept.fingerprint != open_flame(flame_file).fingerprint


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_and_expressions_read_without_chumpy(tmp_path, flame_file, protocol):
    path = tmp_path / "old.pkl"
    path.write_bytes(pickle_with_chumpy(flame_arrays(), protocol))
    rig, expected = load_flame(path), load_flame(flame_file)
    for name, tensor in tensors_of(expected).items():
        torch.testing.assert_close(getattr(rig, name), tensor)


@pytest.mark.parametrize(
    ("columns", "split"), [(20, (10, 10)), (150, (100, 50)), (350, (300, 50)), (400, (300, 100))]
)
def test_column_counts_come_from_the_file(tmp_path, columns, split):
    rig = load_flame(write_pkl(tmp_path / "model.pkl", flame_arrays(num_columns=columns)))
    assert (rig.num_shapes, rig.num_expressions) == split
    expected = torch.from_numpy(flame_arrays(num_columns=columns)["shapedirs"][:, :, split[0]]).float()
    torch.testing.assert_close(rig.expression_basis[0], expected.flatten())


def test_an_unknown_layout_is_read_as_the_user_says(tmp_path):
    path = write_pkl(tmp_path / "model.pkl", flame_arrays(num_columns=77))
    with pytest.raises(AvatarError, match=r"77 columns.*--shapes"):
        open_flame(path)
    with pytest.raises(AvatarError, match="77 columns, not 78"):
        open_flame(path, num_shapes=78)
    kept = open_flame(path, num_shapes=47)
    assert (kept.rig.num_shapes, kept.rig.num_expressions) == (47, 30)
    assert kept.reference().num_shapes == 47
    assert kept.fingerprint == open_flame(path, num_shapes=10).fingerprint  # the file's own numbers


GLOBALS = [
    ("posix", "system"),
    ("builtins", "eval"),
    ("__builtin__", "getattr"),
    ("os", "system"),
    ("subprocess", "Popen"),
    ("numpy", "load"),
    ("numpy.core.multiarray", "fromstring"),
    ("scipy.sparse", "load_npz"),
    ("chumpy.ch", "os.system"),
    ("chumpy.utils", "dfs_do_func_on_graph"),
    ("copyreg", "__newobj__"),
    ("functools", "partial"),
]


def malicious(module: str, name: str, marker) -> bytes:
    """A pickle of model arrays whose last entry calls module.name with a command that leaves a file."""
    good = pickle.dumps({**flame_arrays(num_vertices=4), **smplx_arrays(num_vertices=4)}, 2)
    call = f"c{module}\n{name}\n(Vtouch {marker}\ntR".encode()
    return good[:-1] + b"(Vextra\n" + call + b"u."


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(("module", "name"), GLOBALS)
def test_a_pickle_that_names_code_is_refused_and_the_name_told(tmp_path, loader, module, name):
    path, marker = tmp_path / "evil.pkl", tmp_path / "ran"
    path.write_bytes(malicious(module, name, marker))
    with pytest.raises(AvatarError) as caught:
        LOADERS[loader](path)
    message = str(caught.value)
    assert f"{module}.{name}" in message
    assert str(path) in message
    assert "\n" not in message
    assert not marker.exists()


def test_the_malicious_pickle_is_a_working_one(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(malicious("os", "system", marker))
    assert marker.exists()


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", ["v_template", "hands_meanl", "extra"])
def test_a_pickle_hidden_in_an_npz_is_never_read(tmp_path, loader, name):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    arrays = {**flame_arrays(), **smplx_arrays(), name: np.array([Evil()], dtype=object)}
    path = write_npz(tmp_path / "evil.npz", arrays)
    needed = {"v_template": ("flame", "smplx"), "hands_meanl": ("smplx_hands",), "extra": ()}[name]
    if loader in needed:
        with pytest.raises(AvatarError, match=name):
            LOADERS[loader](path)
    elif loader != "flame":  # the merged file has SMPL-X joints
        LOADERS[loader](path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_cannot_change_the_reader(tmp_path, flame_file):
    # BUILD with a slot state sets attributes on the class itself.
    content = b"cnumpy.core.multiarray\n_reconstruct\n(N(dVvalue\nNsVstate\nNstb."
    path = tmp_path / "evil.pkl"
    path.write_bytes(content)
    with pytest.raises(AvatarError):
        load_flame(path)
    assert load_flame(flame_file).num_vertices == 40


def damaged(arrays, **changes):
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


BAD = {
    "posedirs": np.full((40, 3, 36), np.nan),
    "v_template": np.full((40, 3), np.inf),
    "weights": np.zeros((40, 5)),
    "f": np.full((60, 3), 40),
    "kintree_table": np.array([[0, 4, 1, 1, 1], range(5)]),
    "J_regressor": np.zeros((6, 40)),
    "shapedirs": np.zeros((40, 3, 77)),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("how", ["missing", "wrong", "words", "flat"])
def test_arrays_that_are_wrong_are_named_in_one_line(tmp_path, name, how):
    values = {"missing": None, "wrong": BAD[name], "words": np.array(["a", "b"]), "flat": np.zeros(5)}
    path = write_pkl(tmp_path / "bad.pkl", damaged(flame_arrays(), **{name: values[how]}))
    with pytest.raises(AvatarError) as caught:
        load_flame(path)
    assert name in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.pkl", "model.npz", "model.txt", "none.pkl"])
def test_files_that_are_no_models_are_one_line(tmp_path, name):
    path = tmp_path / name
    if not name.startswith("none"):
        path.write_text("no model\n\n at all")
    for loader in LOADERS.values():
        with pytest.raises(AvatarError) as caught:
            loader(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
@pytest.mark.parametrize("keep", [0, 1, 0.3, 0.99])
def test_truncated_files_are_one_line(tmp_path, suffix, keep):
    path = (write_pkl if suffix == ".pkl" else write_npz)(tmp_path / f"cut{suffix}", flame_arrays())
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep == 1 else int(len(content) * keep)])
    with pytest.raises(AvatarError) as caught:
        load_flame(path)
    assert "\n" not in str(caught.value)


def test_an_expression_that_contains_itself_is_refused(tmp_path):
    path = tmp_path / "loop.pkl"
    # {'v_template': x} with x = add(a=x, b=x)
    path.write_bytes(b"(dVv_template\n(cchumpy.ch_ops\nadd\nop0\n(dVa\ng0\nsVb\ng0\nsbs.")
    with pytest.raises(AvatarError, match="v_template") as caught:
        load_flame(path)
    assert "\n" not in str(caught.value)


SMALL_PKL = pickle.dumps(flame_arrays(num_vertices=3, num_columns=20), 2)
_buffer = io.BytesIO()
np.savez(
    _buffer, **{k: v for k, v in flame_arrays(num_vertices=3, num_columns=20).items() if k != "J_regressor"}
)
SMALL_NPZ = _buffer.getvalue()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from([".pkl", ".npz"]))
def test_damaged_bytes_load_or_are_one_line(tmp_path, data, suffix):
    content = bytearray(SMALL_PKL if suffix == ".pkl" else SMALL_NPZ)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    try:
        load_flame(path)
    except AvatarError as error:
        assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)


def test_an_archive_of_other_things_is_one_line(tmp_path):
    path = tmp_path / "other.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("v_template.npy", "not an array")
    with pytest.raises(AvatarError, match="get the official file"):
        load_flame(path)


def test_lids_in_the_file_are_units_of_their_own(tmp_path):
    arrays = flame_arrays()
    plain = open_flame(write_npz(tmp_path / "plain.npz", arrays))
    lid = np.zeros_like(arrays["v_template"])
    lid[:4, 1] = -0.01
    lids = {"l_eyelid": lid, "r_eyelid": lid * 2}
    kept = open_flame(write_npz(tmp_path / "lids.npz", {**arrays, **lids}))
    assert kept.fingerprint != plain.fingerprint
    rig = kept.rig
    assert rig.expression_names[-2:] == ("eyeBlinkLeft", "eyeBlinkRight")
    units = dict(zip(rig.unit_names, rig.units, strict=True))
    assert not units["eyeBlinkLeft"].signed
    assert units["expression_0"].signed
    weights = torch.zeros(len(rig.units))
    weights[rig.unit_names.index("eyeBlinkRight")] = 0.5
    rest = rig(rig.params_from_units(torch.zeros(len(rig.units)), torch.zeros(3), torch.zeros(3)))
    shut = rig(rig.params_from_units(weights, torch.zeros(3), torch.zeros(3)))
    torch.testing.assert_close(
        shut.vertices - rest.vertices, torch.from_numpy(lid).float(), atol=1e-6, rtol=0
    )
    bad = {"l_eyelid": lid[:-1]}
    with pytest.raises(AvatarError, match="'l_eyelid' has shape"):
        open_flame(write_npz(tmp_path / "bad.npz", {**arrays, **bad}))
