"""The part of a binary glTF file a skinned, morphing mesh needs: JSON, accessors (sparse ones too), node
transforms.

Source: Khronos glTF 2.0 specification, sections 3.6 (accessors), 3.7.3 (skins) and 4.4 (the .glb container).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import AvatarError

_COMPONENTS: dict[int, type[np.generic]] = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942


class GlbFile:
    """A whole .glb in memory.

    Raises AvatarError when the file is none. Its methods raise KeyError, ValueError and the like on damaged
    JSON.
    """

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        """`data`: what the file holds, where it lies in an archive."""
        try:
            data = path.read_bytes() if data is None else data
        except OSError as error:
            raise AvatarError(f"{path} cannot be read: {error.strerror}; check the path") from error
        self.path = path
        self.json: dict[str, Any] = {}
        self._binary = b""
        try:
            magic, version, length = struct.unpack_from("<4sII", data)
            if magic != b"glTF" or version != 2 or length > len(data):
                raise ValueError("wrong first bytes, version or length")
            offset = 12
            while offset + 8 <= length:
                size, kind = struct.unpack_from("<II", data, offset)
                chunk = data[offset + 8 : offset + 8 + size]
                if len(chunk) != size:
                    raise ValueError("a chunk is cut short")
                if kind == _JSON_CHUNK:
                    self.json = json.loads(chunk)
                elif kind == _BINARY_CHUNK:
                    self._binary = chunk
                offset += 8 + size
            if not isinstance(self.json, dict) or not self.json:
                raise ValueError("no JSON")
        except (struct.error, ValueError, RecursionError) as error:
            raise AvatarError(
                f"{path} is no whole binary glTF 2.0 file ({error}); export it again"
            ) from error

    def accessor(self, index: int, rows: int | None = None) -> NDArray[Any]:
        """Accessor `index` as [count, width] in its stored type, sparse values filled in.

        Raises ValueError when it has not `rows` elements; an accessor of sparse values alone takes no space
        in the file, so that nothing else limits its count.
        """
        entry = self.json["accessors"][index]
        kind, width, count = _COMPONENTS[entry["componentType"]], _WIDTHS[entry["type"]], int(entry["count"])
        if count != rows and (rows is not None or "bufferView" not in entry):
            raise ValueError(f"accessor {index} claims {count} elements, needed {rows}")
        if "sparse" not in entry:
            return self._view(entry, kind, width, count)
        if "bufferView" in entry:
            values = self._view(entry, kind, width, count).copy()
        else:
            values = np.zeros((count, width), kind)
        sparse = entry["sparse"]
        changed = int(sparse["count"])
        index_kind = _COMPONENTS[sparse["indices"]["componentType"]]
        changed_rows = self._view(sparse["indices"], index_kind, 1, changed)[:, 0]
        values[changed_rows] = self._view(sparse["values"], kind, width, changed)
        return values

    def global_transform(self, node: int, parents: dict[int, int]) -> NDArray[np.float64]:
        """Node to scene, [4, 4]."""
        matrix = np.eye(4)
        seen: set[int] = set()
        current: int | None = node
        while current is not None:
            if current in seen:
                raise ValueError(f"node {current} is its own ancestor")
            seen.add(current)
            matrix = _local_transform(self.json["nodes"][current]) @ matrix
            current = parents.get(current)
        return matrix

    def parents(self) -> dict[int, int]:
        """Child node -> parent node."""
        nodes = self.json["nodes"]
        return {child: i for i, node in enumerate(nodes) for child in node.get("children", [])}

    def _view(self, entry: dict[str, Any], kind: type[np.generic], width: int, count: int) -> NDArray[Any]:
        view = self.json["bufferViews"][entry["bufferView"]]
        start = int(view.get("byteOffset", 0)) + int(entry.get("byteOffset", 0))
        item = np.dtype(kind).itemsize * width
        stride = int(view.get("byteStride", item))
        if count < 0 or start < 0 or stride < item:
            raise ValueError(f"buffer view with {count} elements from byte {start}, stride {stride}")
        if count and start + stride * (count - 1) + item > len(self._binary):
            raise ValueError(f"buffer view needs {start + stride * count} bytes of {len(self._binary)}")
        return np.ndarray((count, width), kind, self._binary, start, (stride, np.dtype(kind).itemsize))


def _local_transform(node: dict[str, Any]) -> NDArray[np.float64]:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix
