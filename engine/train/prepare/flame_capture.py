"""Captures that bring FLAME's parameters, on FLAME from the user's own model file in VISAVIS_MODELS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import UsageError
from engine.train.prepare.layouts import Capture, Rigged
from render.errors import AvatarError
from render.rigs.flame import FlameParams, open_flame, reference_of_person
from render.rigs.params import RigParams
from render.rigs.reference import RigReference
from render.rigs.rig import Rig

_FLAME_NAMES = ("flame2023.pkl", "flame2023.npz", "flame2023_no_jaw.pkl", "generic_model.pkl", "FLAME.npz")


def on_flame(capture: Capture) -> Rigged:
    """The capture on FLAME as its files pose it.

    Raises UsageError with the file and value; AvatarError when FLAME's model file is missing or another one.
    """
    rig, reference = _flame(_flame_path(capture, 0))
    params = []
    for row, view in enumerate(capture.views):
        flame = read_flame_params(_flame_path(capture, row))
        params.append(_fitting(flame.to_rig_params(shape_is_baked=True), rig, view.where))
    return Rigged(rig, reference, tuple(view.camera for view in capture.views), tuple(params))


def _flame_path(capture: Capture, row: int) -> Path:
    path = capture.views[row].flame
    assert path is not None  # all views have it, or none
    return path


def read_flame_params(path: Path) -> FlameParams:
    """FLAME's parameters of one frame from an npz as GaussianAvatars writes it. Raises UsageError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], np.float32) for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} is no npz of plain arrays ({error})") from error
    eyes = _row(path, arrays, "eyes_pose", 6)
    return FlameParams(
        shape=_row(path, arrays, "shape", None),
        expression=_row(path, arrays, "expr", None),
        global_orient=_row(path, arrays, "rotation", 3),
        neck_pose=_row(path, arrays, "neck_pose", 3),
        jaw_pose=_row(path, arrays, "jaw_pose", 3),
        leye_pose=eyes[:3],
        reye_pose=eyes[3:],
        transl=_row(path, arrays, "translation", 3),
    )


def _row(path: Path, arrays: Mapping[str, NDArray[np.float32]], name: str, length: int | None) -> Tensor:
    if name not in arrays:
        raise UsageError(f"{path} has no {name}; it holds {', '.join(arrays) or 'nothing'}")
    values = arrays[name].reshape(-1)
    if (length is not None and values.size != length) or not values.size:
        raise UsageError(f"{path}: {name} has {values.size} values, needs {length or 'some'}")
    if not np.isfinite(values).all():
        raise UsageError(f"{path}: {name} holds a value that is not finite")
    return torch.from_numpy(values.copy())


def _flame(path: Path) -> tuple[Rig, RigReference]:
    """The person's rig: FLAME with the shape of one frame and its static offset, where there is one."""
    kept = open_flame(_flame_file())
    read_flame_params(path)  # names what is missing or damaged
    with np.load(path, allow_pickle=False) as arrays:
        reference = reference_of_person(kept, arrays, path)
    return reference.rebuild(kept.rig), reference


def _flame_file() -> Path:
    folder = os.environ.get("VISAVIS_MODELS")
    if folder:
        for name in _FLAME_NAMES:
            if (Path(folder) / name).is_file():
                return Path(folder) / name
    raise AvatarError(
        "this capture needs FLAME, which its licence keeps out of visavis: get it from flame.is.tue.mpg.de, "
        f"put it as {_FLAME_NAMES[0]} into a folder and set VISAVIS_MODELS to that"
    )


def _fitting(params: RigParams, rig: Rig, where: str) -> RigParams:
    """The parameters with as many expression weights as the rig has."""
    count = params.expression.shape[-1]
    if count > rig.num_expressions:
        raise UsageError(f"{where}: {count} expression weights, the model knows {rig.num_expressions}")
    missing = rig.num_expressions - count
    return params.replace(expression=torch.nn.functional.pad(params.expression, (0, missing)))
