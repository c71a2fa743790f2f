"""An avatar: Gaussians bound to a rig, posed by the rig's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.avatars.bindings import Binding, Poser
from render.avatars.framing import Framing, framing_of
from render.avatars.meanings import UnitMeanings, translation
from render.camera import Camera
from render.deformations.condition import Condition
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.motion import Motion
from render.play import is_play
from render.rigs.params import RigParams
from render.rigs.reference import RigReference
from render.rigs.rig import Rig

if TYPE_CHECKING:
    from render.avatars.signature import Signature
    from render.cpu.posing import CpuPoser


@dataclass(frozen=True)
class AvatarInfo:
    """What is written about an avatar: free text, empty when nobody said."""

    name: str
    licence: str = ""
    provenance: str = ""  # what it was made of, and how
    consent: str = ""  # whose likeness it is and what that person agreed to
    created: str = ""  # ISO 8601 date


@dataclass(frozen=True)
class Avatar:
    """Gaussians, the rig that moves them, and what is known about them.

    `bindings` cover `gaussians` run after run, in order. `pose` has static shapes and reads nothing on the
    host, so it can be captured in a CUDA graph; it is differentiable in the parameters and in the Gaussians.
    Raises ValueError when the parts do not fit each other.
    """

    info: AvatarInfo
    rig: Rig  # identity baked: no shape basis
    bindings: tuple[Binding, ...]
    gaussians: Gaussians  # canonical, in the units and axes of their bindings
    deformation: Deformation | None = None
    rig_reference: RigReference | None = None  # None: the rig is the avatar's own and travels in its file
    framing: Framing | None = None  # None: computed from the rig
    extras: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # named arrays of other parts (the tracker's calibration)
    extras_meta: Mapping[str, Any] = field(default_factory=dict)  # JSON values that go with them
    signature: Signature | None = None  # of the file it was read from; nothing that is written has it
    _runs: tuple[tuple[int, int, Poser], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rig.shape_basis is not None:
            raise ValueError("bake the identity first: avatar rigs come from rig.with_shape(...)")
        if self.gaussians.sh_quats is not None:
            raise ValueError("canonical Gaussians carry no sh_quats: colours are stored in rest-pose axes")
        runs, start = [], 0
        for binding in self.bindings:
            runs.append((start, start + binding.num_gaussians, binding.bound_to(self.rig)))
            start += binding.num_gaussians
        if start != self.gaussians.num_gaussians:
            raise ValueError(
                f"bindings hold {start} Gaussians, the avatar has {self.gaussians.num_gaussians}"
            )
        if self.deformation is not None:
            self.deformation.check(self.gaussians, self.rig)
        object.__setattr__(self, "_runs", tuple(runs))
        object.__setattr__(self, "extras", MappingProxyType(dict(self.extras)))
        object.__setattr__(self, "extras_meta", MappingProxyType(dict(self.extras_meta)))

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def condition(self) -> Condition:
        """What its deformation follows; without one, expression weights that nothing follows."""
        return Condition() if self.deformation is None else self.deformation.condition

    def pose(self, params: RigParams, local: Gaussians | None = None) -> Gaussians:
        """Gaussians in world axes for one set of parameters (no batch dimensions).

        `local` replaces the canonical Gaussians for this call: same number, same kind (training optimises
        them).
        """
        local = self.gaussians if local is None else local
        condition = self.condition(self.rig, params)
        if self.deformation is not None:
            local = self.deformation(local, condition)
        stored = (local.means, local.quats, local.log_scales, local.logit_opacities, local.sh)
        if is_play(*stored) and _is_played(self.rig, params):
            return self._cpu_poser(local, params)
        posed = self.rig(params)
        if len(self._runs) == 1:
            return self._runs[0][2](local, posed, params.expression)
        parts = [pose(_run(local, start, stop), posed, params.expression) for start, stop, pose in self._runs]
        return Gaussians.concat(parts)

    @cached_property
    def _cpu_poser(self) -> CpuPoser:
        from render.cpu.posing import CpuPoser

        return CpuPoser(self.rig, self.bindings)

    def params(self, motion: Motion) -> RigParams:
        """The rig's parameters for a moment of any motion, float32 on the CPU.

        Units that the rig lacks are translated where their meaning was measured (`UnitMeanings`); those
        without a counterpart are dropped, see `lost_units`.
        """
        numbers = np.concatenate([self.weights(motion), motion.head_rotation]).astype(np.float32)
        pose = (numbers @ self._pose_matrix).reshape(-1, 3)
        for name, turn in motion.joints.items():
            if self.rig.turns(name):
                pose[self.rig.joint_names.index(name)] = turn
        return RigParams(
            expression=torch.from_numpy(numbers[: self.rig.num_expressions]),
            pose=torch.from_numpy(pose),
            translation=torch.from_numpy(motion.head_translation.astype(np.float32)),
        )

    @cached_property
    def _pose_matrix(self) -> NDArray[np.float32]:
        """What a weight of each unit and each number of the head's rotation turn, [U + 3, J * 3]: both are
        linear, and one small product costs a tenth of what a dozen of torch's operations do."""
        num = len(self.rig.units)
        each = torch.eye(num + 3)
        params = self.rig.params_from_units(each[:, :num], each[:, num:], torch.zeros(num + 3, 3))
        return params.pose.flatten(1).numpy()

    def weights(self, motion: Motion) -> NDArray[np.float64]:
        """The weights [U] of the rig's own units that show a motion's."""
        if motion.unit_names == self.rig.unit_names:
            return motion.weights
        return motion.weights @ self._translation(motion.unit_names)[0]

    @cached_property
    def unit_meanings(self) -> UnitMeanings | None:
        """What ARKit's units mean on this rig, where that was measured."""
        return UnitMeanings.from_extras(self.extras, self.extras_meta, len(self.rig.units))

    def lost_units(self, unit_names: tuple[str, ...]) -> tuple[str, ...]:
        """Units that this avatar cannot show, neither by their name nor by a measured meaning."""
        return self._translation(unit_names)[1]

    def _translation(self, unit_names: tuple[str, ...]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        found = self._translations.get(unit_names)
        if found is None:
            found = translation(unit_names, self.rig.unit_names, self.unit_meanings)
            self._translations[unit_names] = found
        return found

    @cached_property
    def _translations(self) -> dict[tuple[str, ...], tuple[NDArray[np.float32], tuple[str, ...]]]:
        return {}

    @cached_property
    def portrait(self) -> Framing:
        """What `default_camera` shows of an avatar that brings no framing of its own."""
        with torch.no_grad():
            rest = self.pose(self.rig.neutral_params())
        return framing_of(self.rig, rest.means, self.gaussians.opacities(), rest.scales())

    def default_camera(
        self, width: int, height: int, *, yaw_deg: float = 0.0, pitch_deg: float = 0.0
    ) -> Camera:
        """The usual view of the avatar, `width` x `height` pixels; the head stays whole in any shape.

        Positive yaw moves the camera around the head to the subject's left, positive pitch moves it up.
        """
        view = self.framing or self.portrait
        distance = view.distance_m * max(1.0, height / width)
        return Camera.orbit(
            view.target,
            distance_m=distance,
            yaw_deg=yaw_deg,
            pitch_deg=pitch_deg,
            width=width,
            height=height,
            vertical_fov_deg=view.vertical_fov_deg,
        )

    def replace(self, **changes: Any) -> Avatar:
        """A copy with some fields changed, checked as a new one."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return Avatar(**{**values, **changes})

    def to(self, device: torch.device | str) -> Avatar:
        """A copy whose rig, Gaussians and bindings are on another device; `extras` stay where they are."""
        return self.replace(
            rig=self.rig.to(device),
            gaussians=self.gaussians.to(device),
            bindings=tuple(b.to(device) for b in self.bindings),
            deformation=None if self.deformation is None else self.deformation.to(device),
        )


def _is_played(rig: Rig, params: RigParams) -> bool:
    """Whether the fast code of the CPU poses this rig: one pose of a baked identity, without gradients."""
    inputs = (params.expression, params.pose, params.translation)
    tensors = (*inputs, rig.template, rig.expression_basis, rig.joints_template, rig.skin_weights)
    if not is_play(*tensors):
        return False
    single = params.expression.ndim == 1 and params.expression.shape[0] <= rig.num_expressions
    return params.shape is None and single and params.pose.ndim == 2


def _run(gaussians: Gaussians, start: int, stop: int) -> Gaussians:
    return replace(
        gaussians,
        means=gaussians.means[start:stop],
        quats=gaussians.quats[start:stop],
        log_scales=gaussians.log_scales[start:stop],
        logit_opacities=gaussians.logit_opacities[start:stop],
        sh=gaussians.sh[start:stop],
    )
