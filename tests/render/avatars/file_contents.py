"""What is in an avatar and in its file, part by part."""

from __future__ import annotations

import json
import struct
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file
from torch import Tensor

from render.avatars.avatar import Avatar


def tensors_of(avatar: Avatar) -> dict[str, Tensor]:
    parts: list[tuple[str, Any]] = [("gaussians", avatar.gaussians), ("rig", avatar.rig)]
    parts += [(f"binding{i}", b) for i, b in enumerate(avatar.bindings)]
    parts += [("deformation", avatar.deformation)] if avatar.deformation else []
    found = {f"extras.{k}": v for k, v in avatar.extras.items()}
    if avatar.deformation is not None:
        c = avatar.deformation.coefficients
        found |= {f"layer{i}": tensor for i, tensor in enumerate((*c.weights, *c.biases))}
    for name, part in parts:
        for f in fields(part):
            value = getattr(part, f.name)
            if f.init and isinstance(value, Tensor):
                found[f"{name}.{f.name}"] = value
    return found


def read(path: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    return load_file(path), metadata, json.loads(metadata["avatar"])


def write(path: Path, arrays: dict[str, Any], metadata: dict[str, str], header: dict[str, Any]) -> Path:
    save_file(arrays, path, {**metadata, "avatar": json.dumps(header)})
    return path
