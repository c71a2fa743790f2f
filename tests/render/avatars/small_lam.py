"""A LAM folder of a few vertices: the layout of the real one, small enough to break byte by byte."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.exporters import export_ply
from tests.render.avatars.small_avatars import random_gaussians

NUM_VERTICES = 30
UNITS = ("jawOpen", "eyeBlinkLeft", "browInnerUp")
# name, parent, place above the parent in metres; the skin hangs on the last five
BONES = (
    ("hip", -1, 1.0),
    ("chest", 0, 0.4),
    ("neckLower", 1, 0.1),
    ("neckUpper", 2, 0.05),
    ("head", 3, 0.05),
)
BONES += (("lowerJaw", 4, 0.01),)


def lam_arrays(seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    weights = rng.random((NUM_VERTICES, 4)).astype(np.float32) ** 4
    return {
        "positions": rng.normal((0, 1.65, 0), 0.1, (NUM_VERTICES, 3)).astype(np.float32),
        "joints": rng.integers(1, len(BONES), (NUM_VERTICES, 4)).astype(np.uint8),
        "weights": weights / weights.sum(1, keepdims=True),
        "faces": rng.integers(0, NUM_VERTICES, (40, 3)).astype(np.uint16),
        "rows": np.array([3, 7, 8, 20], np.uint16),
        "moves": rng.normal(0, 0.01, (len(UNITS), 4, 3)).astype(np.float32),
    }


def glb_bytes(arrays: dict[str, NDArray[Any]]) -> bytes:
    """The arrays as a binary glTF file with sparse morph targets."""
    binary, views, accessors = b"", [], []

    def view(array: NDArray[Any]) -> int:
        nonlocal binary
        binary += bytes(-len(binary) % 4)
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        binary += np.ascontiguousarray(array).tobytes()
        return len(views) - 1

    def accessor(array: NDArray[Any], kind: str, component: int) -> int:
        count = array.size if kind == "SCALAR" else len(array)
        place = view(array)
        accessors.append({"bufferView": place, "componentType": component, "count": count, "type": kind})
        return len(accessors) - 1

    attributes = {
        "POSITION": accessor(arrays["positions"], "VEC3", 5126),
        "JOINTS_0": accessor(arrays["joints"], "VEC4", 5121),
        "WEIGHTS_0": accessor(arrays["weights"], "VEC4", 5126),
    }
    indices = accessor(arrays["faces"], "SCALAR", 5123)
    targets = []
    for moves in arrays["moves"]:
        sparse = {
            "count": len(moves),
            "indices": {"bufferView": view(arrays["rows"]), "componentType": 5123},
            "values": {"bufferView": view(moves)},
        }
        accessors.append({"componentType": 5126, "count": NUM_VERTICES, "type": "VEC3", "sparse": sparse})
        targets.append({"POSITION": len(accessors) - 1})
    heights: list[float] = []
    for _, parent, above in BONES:
        heights.append(above + (heights[parent] if parent >= 0 else 0.0))
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(BONES), 1, 1))
    inverse[:, 3, 1] = [-h for h in heights]  # column major: the translation is the last row
    nodes: list[dict[str, Any]] = [
        {
            "name": name,
            "translation": [0.0, above, 0.0],
            "children": [i for i, bone in enumerate(BONES) if bone[1] == number],
        }
        for number, (name, _, above) in enumerate(BONES)
    ]
    primitive = {"attributes": attributes, "indices": indices, "targets": targets}
    tree = {
        "asset": {"version": "2.0"},
        "nodes": nodes,
        "meshes": [{"extras": {"targetNames": list(UNITS)}, "primitives": [primitive]}],
        "skins": [
            {
                "joints": list(range(len(BONES))),
                "inverseBindMatrices": accessor(inverse.reshape(-1, 16), "MAT4", 5126),
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    return joined(tree, binary)


def joined(tree: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def split(glb: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack_from("<I", glb, 12)[0]
    return json.loads(glb[20 : 20 + length]), glb[28 + length :]


def write_lam_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "skin.glb").write_bytes(glb_bytes(lam_arrays()))
    export_ply(random_gaussians(NUM_VERTICES), folder / "offset.ply")
    return folder
