"""The built-in head: CC0 data that ships in the package, nothing to download and nothing to sign."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from render.errors import AvatarError
from render.rigs.reference import KeptRig, fingerprint_of
from render.rigs.rig import Rig

ASSET = Path(__file__).parent.parent / "assets" / "head.safetensors"
# What files of format version 1 call a head of these numbers.
_OLDER_FINGERPRINTS = {
    "numbers:4494f19e11b30605ec2b597057b7b868d03dcd953fb32514552d948f758678c4": (
        "ccde1b315456bc7159e69724ccc1e6ff03d4f09b01327275d2894c5608c952d8",
    )
}


@dataclass(frozen=True)
class HeadSurface:
    """What the built-in head's mesh carries beyond its geometry."""

    uv: Tensor  # [F, 3, 2] texture coordinates of every corner, (0, 0) bottom left
    vertex_group: Tensor  # [V] int64 into group_names
    group_names: tuple[str, ...]

    def faces_of(self, faces: Tensor, *groups: str) -> Tensor:
        """Rows [F] (bool) of `faces` whose three corners all lie in the named groups."""
        numbers = torch.tensor([self.group_names.index(name) for name in groups])
        return torch.isin(self.vertex_group, numbers)[faces].all(-1)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        message = f"{path}: the built-in head cannot be read ({error}); install visavis again"
        raise AvatarError(message) from error
    plain = ("licence", "source")
    return tensors, {key: value if key in plain else json.loads(value) for key, value in metadata.items()}


def open_head(path: Path = ASSET) -> KeptRig:
    """The built-in head: 52 units with ARKit names, identity modes in standard deviations, six joints.

    Metres at real size, origin near the head joint. Raises AvatarError when the asset is missing or damaged.
    """
    tensors, metadata = _read(path)
    expression = tensors["expression_basis"].float() * tensors["expression_scale"][:, None, None]
    shape = tensors["shape_basis"].float() * tensors["shape_scale"][:, None, None]
    weights = tensors["skin_weights"].float()
    rig = Rig(
        kind="head",
        template=tensors["template"],
        faces=tensors["faces"].long(),
        expression_names=tuple(metadata["expression_names"]),
        expression_basis=expression.flatten(1),
        joint_names=tuple(metadata["joint_names"]),
        parents=tuple(metadata["parents"]),
        joints_template=tensors["joints_template"],
        skin_weights=weights / weights.sum(1, keepdim=True),
        shape_basis=shape.flatten(1),
        joints_shape=tensors["joints_shape"].flatten(1),
    )
    names = [metadata[name] for name in ("expression_names", "joint_names", "parents")]
    fingerprint = fingerprint_of({name: tensor.numpy() for name, tensor in tensors.items()}, names)
    return KeptRig(rig, fingerprint, older_fingerprints=_OLDER_FINGERPRINTS.get(fingerprint, ()))


def load_head(path: Path = ASSET) -> Rig:
    """The rig alone of `open_head`."""
    return open_head(path).rig


def load_head_surface(path: Path = ASSET) -> HeadSurface:
    """Texture coordinates and vertex groups of the built-in head. Raises AvatarError as `load_head`."""
    tensors, metadata = _read(path)
    return HeadSurface(tensors["uv"], tensors["vertex_group"].long(), tuple(metadata["group_names"]))
