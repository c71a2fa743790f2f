"""Files in the official layout of FLAME and SMPL-X, full of random numbers: the real ones are licensed."""

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

FLAME_PARENTS = (0, 0, 1, 1, 1)
# fmt: off
SMPLX_PARENTS = (
    0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15, 20, 25, 26, 20, 28,
    29, 20, 31, 32, 20, 34, 35, 20, 37, 38, 21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53,
)
# fmt: on


def model_arrays(
    parents: tuple[int, ...], *, num_vertices: int = 40, num_columns: int = 400
) -> dict[str, Any]:
    rng = np.random.default_rng(len(parents))
    num_joints = len(parents)
    weights = rng.random((num_vertices, num_joints)) ** 8
    regressor = rng.random((num_joints, num_vertices)) ** 8
    return {
        "v_template": rng.normal(0, 0.1, (num_vertices, 3)),
        "f": rng.integers(0, num_vertices, (60, 3)).astype(np.uint32),
        "shapedirs": rng.normal(0, 0.01, (num_vertices, 3, num_columns)),
        "posedirs": rng.normal(0, 0.01, (num_vertices, 3, (num_joints - 1) * 9)),
        "J_regressor": scipy.sparse.csc_matrix(regressor / regressor.sum(1, keepdims=True)),
        "weights": weights / weights.sum(1, keepdims=True),
        # Official tables name the root's parent 2^32 - 1.
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(num_joints)], np.int64),
    }


def flame_arrays(**sizes: int) -> dict[str, Any]:
    return {**model_arrays(FLAME_PARENTS, **sizes), "bs_style": "lbs", "bs_type": "lrotmin"}


def smplx_arrays(**sizes: int) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    hands = {f"hands_mean{side}": rng.normal(0, 0.3, 45) for side in "lr"}
    components = {f"hands_components{side}": np.linalg.qr(rng.normal(size=(45, 45)))[0] for side in "lr"}
    names = {"joint2num": np.array({f"joint{i:02d}": i for i in range(55)}, dtype=object)}
    return {**model_arrays(SMPLX_PARENTS, **sizes), **hands, **components, **names}


def write_pkl(path: Path, arrays: dict[str, Any], protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(arrays, protocol))
    return path


def write_npz(path: Path, arrays: dict[str, Any]) -> Path:
    dense = {k: v.toarray() if scipy.sparse.issparse(v) else v for k, v in arrays.items()}
    np.savez(path, **dense)
    return path


class _ChumpyNode:
    """Pickles as chumpy's objects do: every field, the bookkeeping too."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields, _dirty_vars=set(), _itr=None, _make_dense=False, _depends_on_deps={})


def pickle_with_chumpy(arrays: dict[str, Any], protocol: int = 2) -> bytes:
    """The arrays as Python 2 code with chumpy left them: v_template an array, the others expressions."""
    names = {"chumpy.ch": ["Ch"], "chumpy.ch_ops": ["add", "subtract", "multiply"]}
    names["chumpy.reordering"] = ["Select", "Reshape", "transpose", "Concatenate"]
    modules = {"chumpy": types.ModuleType("chumpy")}
    classes: dict[str, type] = {}
    for module, members in names.items():
        modules[module] = types.ModuleType(module)
        for member in members:
            classes[member] = type(member, (_ChumpyNode,), {"__module__": module})
            setattr(modules[module], member, classes[member])
    constant = {name: classes["Ch"](x=value) for name, value in arrays.items() if name != "J_regressor"}
    template, shapes, pose, weights = (
        arrays[name] for name in ("v_template", "shapedirs", "posedirs", "weights")
    )
    half = shapes.shape[2] // 2
    shape_parts = {"m0": classes["Ch"](x=shapes[:, :, :half]), "m1": shapes[:, :, half:]}
    reordered = np.random.default_rng(0).permutation(weights.size)
    expressions = {
        "v_template": classes["subtract"](a=classes["add"](a=constant["v_template"], b=template), b=template),
        "shapedirs": classes["Concatenate"](dterms=["m0", "m1"], axis=2, **shape_parts),
        "posedirs": classes["transpose"](a=classes["Ch"](x=pose.transpose(2, 0, 1)), axes=(1, 2, 0)),
        "weights": classes["Select"](
            a=classes["Ch"](x=weights.ravel()[reordered]),
            idxs=np.argsort(reordered),
            preferred_shape=weights.shape,
        ),
        "kintree_table": classes["Reshape"](a=constant["kintree_table"], newshape=(2, -1)),
        "f": classes["multiply"](a=classes["Ch"](x=arrays["f"]), b=np.uint32(1)),
    }
    sys.modules.update(modules)
    try:
        return pickle.dumps({**arrays, **expressions}, protocol)
    finally:
        for module in modules:
            del sys.modules[module]
