"""Import of LAM heads: `skin.glb` (mesh, ARKit morph targets, skeleton) and `offset.ply` (one Gaussian per
vertex).

Source: Y. He et al., "LAM: Large Avatar Model for One-shot Animatable Gaussian Head", 2025, and
LAM_WebRender.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import VertexBinding
from render.errors import AvatarError
from render.importers.container import Container
from render.importers.gaussian_ply import gaussians_from_columns
from render.importers.gltf import GlbFile
from render.importers.ply_file import PlyFile
from render.importers.sound import sound
from render.rigs.rig import Rig


def import_lam(source: Path | str, *, info: AvatarInfo | None = None) -> Avatar:
    """A LAM folder or .zip as an avatar whose rig is an ARKit-driven skin with root, neck and head joints.

    The two files may lie in a folder of their own in it. The origin is moved to the head joint. A few broken
    Gaussians are left out, which the provenance says. Raises AvatarError when a file is missing, damaged, or
    of another layout.
    """
    source = Path(source)
    with Container(source, "skin.glb") as files:
        skin_file, gaussian_file = files.where("skin.glb"), files.where("offset.ply")
        glb = GlbFile(skin_file, files.read("skin.glb"))
        columns = PlyFile(BytesIO(files.read("offset.ply")), gaussian_file).columns("vertex")
    try:
        with np.errstate(all="ignore"):  # what is not finite is looked for at the end
            rig = _read_rig(glb)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, AvatarError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise AvatarError(
            f"{skin_file} is no skinned face with morph targets ({reason}); export it again"
        ) from error
    # Means are offsets from the vertices; f_dc holds plain colours, unlike any other 3DGS file.
    gaussians = gaussians_from_columns(columns, gaussian_file, colours_are_rgb=True)
    if gaussians.num_gaussians != rig.num_vertices:
        raise AvatarError(
            f"{gaussian_file} has {gaussians.num_gaussians} Gaussians, {skin_file} has "
            f"{rig.num_vertices} vertices; take both files from one LAM export"
        )
    gaussians, kept, left_out = sound(gaussians, gaussian_file)
    place = source.resolve()
    default = AvatarInfo(
        name=place.name if source.is_dir() else place.stem,
        provenance="; ".join(["LAM folder (skin.glb + offset.ply)", *([left_out] if left_out else [])]),
    )
    return Avatar(
        info=info or default,
        rig=rig,
        bindings=(VertexBinding(torch.arange(rig.num_vertices)[kept]),),
        gaussians=gaussians,
    )


@dataclass(frozen=True)
class _Joints:
    """Which of the skin's many joints the face really hangs on, reduced to root, neck and head."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    positions: NDArray[np.float32]  # [J, 3] metres
    of_skin_joint: NDArray[np.int64]  # [joints of the skin] -> row of the above


def _read_rig(glb: GlbFile) -> Rig:
    mesh = glb.json["meshes"][0]
    primitive = mesh["primitives"][0]
    names = tuple(str(n) for n in mesh.get("extras", {}).get("targetNames", []))
    attributes = primitive["attributes"]
    positions = glb.accessor(attributes["POSITION"]).astype(np.float32)
    num = len(positions)
    targets = [glb.accessor(t["POSITION"], num).astype(np.float32) for t in primitive.get("targets", [])]
    if not targets or len(names) != len(targets):
        raise AvatarError(
            f"{glb.path} has {len(targets)} morph targets with {len(names)} names; export it again"
        )
    sets = [i for i in range(4) if f"JOINTS_{i}" in attributes]  # four joints in each
    slots = np.hstack([glb.accessor(attributes[f"JOINTS_{i}"], num).astype(np.int64) for i in sets])
    slot_weights = _normalised(np.hstack([glb.accessor(attributes[f"WEIGHTS_{i}"], num) for i in sets]))
    skin = glb.json["skins"][0]
    if slots.max(initial=0) >= len(skin["joints"]):
        raise ValueError(f"vertices hang on joint {slots.max()} of {len(skin['joints'])}")

    bind = _bind_transforms(glb, skin, slots, slot_weights)
    if (
        np.abs(bind - np.eye(4)).max() > 1e-4
    ):  # metres; a skin whose rest pose is not its bind pose is brought there
        positions = (np.einsum("vij,vj->vi", bind[:, :3, :3], positions) + bind[:, :3, 3]).astype(np.float32)
        targets = [np.einsum("vij,vj->vi", bind[:, :3, :3], t).astype(np.float32) for t in targets]

    used = np.bincount(slots.ravel(), slot_weights.ravel(), len(skin["joints"])).astype(np.float64)
    joints = _reduced_joints(glb, skin, used)
    weights = np.zeros((len(positions), len(joints.names)), np.float32)
    for column in range(slots.shape[1]):
        np.add.at(
            weights, (np.arange(len(slots)), joints.of_skin_joint[slots[:, column]]), slot_weights[:, column]
        )
    origin = joints.positions[joints.names.index("head")]
    faces = glb.accessor(primitive["indices"]).astype(np.int64).reshape(-1, 3)
    if faces.max(initial=0) >= len(positions):
        raise ValueError(f"a triangle names vertex {faces.max()} of {len(positions)}")
    basis = np.stack(targets).reshape(len(targets), -1)
    if not all(np.isfinite(a).all() for a in (positions, basis, weights, joints.positions)):
        raise ValueError("it holds values that are not finite")
    return Rig(
        kind="skin",
        template=torch.from_numpy(positions - origin),
        faces=torch.from_numpy(faces),
        expression_names=names,
        expression_basis=torch.from_numpy(basis),
        joint_names=joints.names,
        parents=joints.parents,
        joints_template=torch.from_numpy(joints.positions - origin),
        skin_weights=torch.from_numpy(weights),
    )


def _normalised(weights: NDArray[Any]) -> NDArray[np.float32]:
    total = weights.sum(1, keepdims=True, dtype=np.float64)
    if (total <= 0).any():
        raise ValueError("a vertex hangs on no joint")
    return (weights / total).astype(np.float32)


def _bind_transforms(
    glb: GlbFile, skin: dict[str, Any], slots: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Per-vertex skinning matrices [V, 4, 4] of the pose the file is saved in."""
    inverse = (
        glb.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64)
    )
    parents = glb.parents()
    matrices = np.tile(np.eye(4), (len(skin["joints"]), 1, 1))
    for joint in np.unique(slots[weights > 0]):
        matrices[joint] = glb.global_transform(skin["joints"][joint], parents) @ inverse[joint]
    return np.einsum("vk,vkij->vij", weights, matrices[slots])


def _reduced_joints(glb: GlbFile, skin: dict[str, Any], used: NDArray[np.float64]) -> _Joints:
    """Root, neck (when the skeleton has one between) and head.

    The head is the joint of that name, or else the one most of the face hangs on; it takes all joints below
    it. The neck is every ancestor named so, and turns at the lowest of them. All others stay with the root.
    """
    nodes, joints, parents = glb.json["nodes"], [int(j) for j in skin["joints"]], glb.parents()
    labels = [str(nodes[j].get("name", "")).lower() for j in joints]
    named = [i for i, label in enumerate(labels) if label == "head" and used[i] > 0]
    head = named[0] if named else int(used.argmax())
    above = _ancestors(joints[head], parents)
    neck = [i for i, j in enumerate(joints) if j in above and "neck" in labels[i]]
    neck.sort(key=lambda i: len(list(_ancestors(joints[i], parents))))  # lowest first
    torso = [i for i in np.argsort(-used) if used[i] > 0 and joints[i] in above and i not in neck]
    root = int(torso[0]) if torso else (neck[0] if neck else head)

    def position(i: int) -> NDArray[np.float32]:
        return glb.global_transform(joints[i], parents)[:3, 3].astype(np.float32)

    names, rows = ("root", "neck", "head") if neck else ("root", "head"), [root, *neck[:1], head]
    group = np.zeros(len(joints), np.int64)
    for i, j in enumerate(joints):
        if i == head or joints[head] in _ancestors(j, parents):
            group[i] = len(names) - 1
        elif i in neck:
            group[i] = 1
    return _Joints(names, tuple(range(-1, len(names) - 1)), np.stack([position(i) for i in rows]), group)


def _ancestors(node: int, parents: dict[int, int]) -> Iterable[int]:
    found: list[int] = []
    while node in parents and parents[node] not in found:
        node = parents[node]
        found.append(node)
    return found
