"""Parameters to vertices: blendshapes, pose correctives and linear blend skinning, once for every rig.

The forward pass has static shapes and never reads a value on the host, so it can be captured in a CUDA graph;
it is differentiable in every parameter and takes any leading batch dimensions.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from render.rigs.articulation import BLENDSHAPES, FACE_JOINTS, Articulation
from render.rigs.params import RigParams
from render.rigs.units import Unit, head_joints_of, turning_of, units_of
from render.rotations import axis_angle_to_matrix


@dataclass(frozen=True)
class PosedRig:
    """What a rig gives for one `RigParams`; the leading dimensions are those of the parameters."""

    vertices: Tensor  # [..., V, 3] metres, world
    joint_transforms: Tensor  # [..., J, 3, 4] rest pose (shaped, unposed) to world, translation included


@dataclass(frozen=True)
class Rig:
    """A mesh driven by expression weights, joint rotations and, where it has them, identity weights.

    Bases are flattened, one row per weight: row e of `expression_basis` is `[V * 3]` metres per unit weight.
    Parents come before their children; exactly the first joint is a root (-1).
    """

    kind: str  # its row in render/rigs/table.py
    template: Tensor  # [V, 3] metres, neutral expression, rest pose
    faces: Tensor  # [F, 3] int64
    expression_names: tuple[str, ...]
    expression_basis: Tensor  # [E, V * 3]
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]  # one per joint, -1 for the root
    joints_template: Tensor  # [J, 3] metres
    skin_weights: Tensor  # [V, J], rows sum to 1
    shape_basis: Tensor | None = None  # [S, V * 3]
    pose_basis: Tensor | None = None  # [(J - 1) * 9, V * 3], weights: rotation - identity of joints 1..J-1
    joints_shape: Tensor | None = None  # [S, J * 3]
    joints_expression: Tensor | None = None  # [E, J * 3]
    articulation: Articulation = BLENDSHAPES  # how units and a head's pose turn the joints
    _levels: tuple[tuple[Tensor, Tensor], ...] = field(init=False, repr=False, compare=False)
    _order: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_shapes()
        # Kinematic levels: one matrix product per depth of the tree, not one per joint.
        depth = [0] * self.num_joints
        for joint, parent in enumerate(self.parents):
            depth[joint] = 0 if parent < 0 else depth[parent] + 1
        by_depth = [[j for j, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
        device = self.template.device
        levels = []
        for above, joints in itertools.pairwise(by_depth):
            places = [above.index(self.parents[j]) for j in joints]
            levels.append((torch.tensor(places, device=device), torch.tensor(joints, device=device)))
        order = torch.tensor([j for joints in by_depth for j in joints], device=device).argsort()
        object.__setattr__(self, "_levels", tuple(levels))
        object.__setattr__(self, "_order", order)

    def _check_shapes(self) -> None:
        v, e, j = self.num_vertices, self.num_expressions, self.num_joints
        s = 0 if self.shape_basis is None else self.shape_basis.shape[0]
        wanted: dict[str, tuple[int, ...]] = {
            "template": (v, 3),
            "faces": (self.faces.shape[0], 3),
            "expression_basis": (e, v * 3),
            "joints_template": (j, 3),
            "skin_weights": (v, j),
            "shape_basis": (s, v * 3),
            "pose_basis": ((j - 1) * 9, v * 3),
            "joints_shape": (s, j * 3),
            "joints_expression": (e, j * 3),
        }
        for name, shape in wanted.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, this rig needs {shape}")
        if len(self.parents) != j or self.parents[0] != -1:
            raise ValueError(f"parents {self.parents} do not fit {j} joints with the root first")
        if any(not 0 <= parent < joint for joint, parent in enumerate(self.parents[1:], start=1)):
            raise ValueError(f"every parent must come before its child, got {self.parents}")
        if (self.shape_basis is None) != (self.joints_shape is None):
            raise ValueError("shape_basis and joints_shape must be given together")

    @property
    def num_vertices(self) -> int:
        return int(self.template.shape[0])

    @property
    def num_expressions(self) -> int:
        return len(self.expression_names)

    @property
    def num_joints(self) -> int:
        return len(self.joint_names)

    @property
    def num_shapes(self) -> int:
        return 0 if self.shape_basis is None else int(self.shape_basis.shape[0])

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """What the rig can move: its expressions in their order, then what only joints can do."""
        return units_of(self.expression_names, self.joint_names, self.articulation)

    @cached_property
    def unit_names(self) -> tuple[str, ...]:
        return tuple(unit.name for unit in self.units)

    @cached_property
    def head_joints(self) -> tuple[tuple[int, float], ...]:
        """The joints that turn with the head, and their shares of its rotation, which sum to 1."""
        return head_joints_of(self.joint_names, self.articulation)

    def turns(self, joint: str) -> bool:
        """Whether a joint of that name is there to be turned; no jaw is where blendshapes open the mouth."""
        if joint in FACE_JOINTS and all(turn.joint != joint for turn in self.articulation.turns):
            return False
        return joint in self.joint_names

    def params_from_units(
        self, weights: Tensor, head_rotation: Tensor, head_translation: Tensor
    ) -> RigParams:
        """Rig parameters from what every driver has; leading batch dimensions are allowed and equal.

        `weights` [..., U] of the rig's units, `head_rotation` [..., 3] axis-angle in world axes,
        `head_translation` [..., 3] metres. The rotation is shared by the head joints about one axis, so that
        they compose to it exactly. Weights of turning units turn their joints; those that are blendshapes as
        well (lids that follow the eyes) do both.
        """
        rows = [torch.zeros_like(head_rotation)] * self.num_joints
        for joint, share in self.head_joints:
            rows[joint] = head_rotation if share == 1 else share * head_rotation
        joints, matrix = turning_of(
            self.unit_names, self.joint_names, self.articulation, weights.device, weights.dtype
        )
        if joints:
            for joint, turn in zip(joints, (weights @ matrix).split(3, -1), strict=True):
                rows[joint] = turn
        return RigParams(weights[..., : self.num_expressions], torch.stack(rows, -2), head_translation)

    def __call__(self, params: RigParams) -> PosedRig:
        """Pose the rig.

        `params.expression` and `params.shape` may be shorter than their basis; the rest counts as zero.
        Raises ValueError when one is longer, or when a shape is given to a rig whose identity is baked.
        Source: M. Loper et al., "SMPL: a skinned multi-person linear model", 2015, equations 2-10.
        """
        vertices = self.template.flatten()
        joints = self.joints_template.flatten()
        if params.shape is not None:
            vertices, joints = self._shaped(params.shape)
        count = params.expression.shape[-1]
        if count > self.num_expressions:
            raise ValueError(f"expression has {count} weights, this rig has {self.num_expressions}")
        vertices = vertices + params.expression @ self.expression_basis[:count]
        if self.joints_expression is not None:
            joints = joints + params.expression @ self.joints_expression[:count]
        rotations = axis_angle_to_matrix(params.pose)
        if self.pose_basis is not None:
            identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            vertices = vertices + (rotations[..., 1:, :, :] - identity).flatten(-3) @ self.pose_basis
        transforms = self._joint_transforms(rotations, joints.unflatten(-1, (-1, 3)), params.translation)
        blended = (self.skin_weights @ transforms.flatten(-2)).unflatten(-1, (3, 4))
        points = vertices.unflatten(-1, (-1, 3))[..., None]
        return PosedRig((blended[..., :3] @ points + blended[..., 3:]).squeeze(-1), transforms)

    def _shaped(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        if self.shape_basis is None or self.joints_shape is None:
            raise ValueError("this rig's identity is baked: params.shape must be None")
        count = shape.shape[-1]
        if count > self.num_shapes:
            raise ValueError(f"shape has {count} weights, this rig has {self.num_shapes} identity modes")
        vertices = self.template.flatten() + shape @ self.shape_basis[:count]
        return vertices, self.joints_template.flatten() + shape @ self.joints_shape[:count]

    def _joint_transforms(self, rotations: Tensor, joints: Tensor, translation: Tensor) -> Tensor:
        """[..., J, 3, 3], rest positions [..., J, 3] and [..., 3] -> rest-to-world [..., J, 3, 4]."""
        joints = joints.expand(rotations.shape[:-1])
        rotation = rotations[..., :1, :, :]
        position = joints[..., :1, :] + translation[..., None, :]
        all_rotations, all_positions = [rotation], [position]
        rest = joints[..., :1, :]
        for places, children in self._levels:
            parent_rotation = rotation.index_select(-3, places)
            child_rest = joints.index_select(-2, children)
            offset = (child_rest - rest.index_select(-2, places))[..., None]
            position = position.index_select(-2, places) + (parent_rotation @ offset).squeeze(-1)
            rotation = parent_rotation @ rotations.index_select(-3, children)
            rest = child_rest
            all_rotations.append(rotation)
            all_positions.append(position)
        rotation = torch.cat(all_rotations, -3).index_select(-3, self._order)
        position = torch.cat(all_positions, -2).index_select(-2, self._order)
        return torch.cat([rotation, position[..., None] - rotation @ joints[..., None]], -1)

    def neutral_params(self) -> RigParams:
        """The rest pose: every weight, rotation and the translation zero, shape baked."""
        return RigParams(
            expression=self.template.new_zeros(self.num_expressions),
            pose=self.template.new_zeros(self.num_joints, 3),
            translation=self.template.new_zeros(3),
        )

    def with_shape(self, shape: Tensor) -> Rig:
        """One person's rig: identity weights [S] (may be shorter) baked in, the identity basis dropped."""
        vertices, joints = self._shaped(shape)
        return replace(
            self,
            template=vertices.unflatten(-1, (-1, 3)),
            joints_template=joints.unflatten(-1, (-1, 3)),
            shape_basis=None,
            joints_shape=None,
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Rig:
        """A copy on another device, or with floats of another type; `faces` stay int64."""
        moved: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.init and isinstance(value, Tensor):
                moved[f.name] = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
        return replace(self, **moved)

    def fingerprint(self) -> str:
        """sha256 of the names and of every tensor as float32 or int64.

        Equal on every device, and on every machine where all tensors are as a file holds them; those that
        are computed (a model's joints, a baked identity) may differ in their last bits.
        """
        digest = hashlib.sha256()
        names = [self.kind, self.expression_names, self.joint_names, self.parents]
        digest.update(json.dumps(names).encode())
        for f in fields(self):
            value = getattr(self, f.name)
            if f.init and isinstance(value, Tensor):
                plain = value.detach().to("cpu", torch.float32 if value.is_floating_point() else torch.int64)
                digest.update(f"{f.name}{tuple(plain.shape)}".encode())
                digest.update(plain.contiguous().numpy().tobytes())
        return digest.hexdigest()
