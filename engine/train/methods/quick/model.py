"""What quick training moves: Gaussians on a rig's triangles, and a linear deformation by its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from engine.train import kernels
from engine.train.data.seeds import Seeds
from engine.train.loop.phase import ParameterGroup
from engine.train.methods.quick.config import RateConfig
from render.avatars.bindings import TriangleBinding, localise
from render.deformations.coefficients import Coefficients
from render.deformations.condition import Condition
from render.deformations.deformation import DELTAS, Deformation
from render.gaussians import Gaussians
from render.rigs.params import RigParams
from render.rigs.rig import PosedRig, Rig
from render.rotations import quaternion_to_matrix

BASIC = ("means", "quats", "log_scales", "logit_opacities", "sh0", "sh1")


class LinearModel:
    """Canonical Gaussians in the units of their triangles, and bases that the expression drives.

    Those that expressions change come first: `num_moving` of them. What is drawn in training is what an
    avatar file holds and `visavis live` plays, but for the rounding of the file.
    """

    def __init__(self, rig: Rig, seeds: Seeds, drivers: Tensor, *, turns: bool = False) -> None:
        order = torch.argsort((~seeds.follows).int(), stable=True)
        seeds = seeds.chosen(order)
        self.rig = rig
        self.num_moving = int(seeds.follows.sum())
        self.face_index = seeds.face_index.to(rig.template.device)
        self._bind()
        local = localise(seeds.gaussians.to(rig.template.device), self.binding, rig)
        num, rows = local.num_gaussians, drivers.shape[1]
        values = {
            "means": local.means,
            "quats": torch.nn.functional.normalize(local.quats, dim=1),
            "log_scales": local.log_scales,
            "logit_opacities": local.logit_opacities,
            "sh0": local.sh[:, :1],
            "sh1": local.sh[:, 1:4] if local.sh_degree else local.sh.new_zeros(num, 3, 3),
            "drivers": drivers.to(local.means),
        }
        shapes = Deformation.shapes(local, rows, self.num_moving)
        self.deltas = tuple(name for name in DELTAS if turns or name != "d_quats")
        values |= {name: torch.zeros(shapes[name], device=local.means.device) for name in self.deltas}
        self.tensors: dict[str, Tensor] = {k: v.detach().clone().contiguous() for k, v in values.items()}

    def _bind(self) -> None:
        self.binding = TriangleBinding(self.face_index)
        self._pose = self.binding.bound_to(self.rig)
        self._poser = None
        if kernels.take(self.face_index):
            from render.cpu.gradients.posing import TrianglePoser

            self._poser = TrianglePoser(self.rig, self.binding)

    @property
    def num_gaussians(self) -> int:
        return len(self.face_index)

    def groups(self, rates: RateConfig) -> dict[str, ParameterGroup]:
        """Every tensor as a group of its own."""
        return {name: ParameterGroup([tensor], getattr(rates, name)) for name, tensor in self.tensors.items()}

    def gaussians(self) -> Gaussians:
        """Canonical, local to the triangles."""
        t = self.tensors
        return Gaussians(
            means=t["means"],
            quats=t["quats"],
            log_scales=t["log_scales"],
            logit_opacities=t["logit_opacities"],
            sh=torch.cat([t["sh0"], t["sh1"]], 1),
            antialiased=True,
        )

    def deformation(self) -> Deformation:
        """What expressions change of the first `num_moving` Gaussians."""
        drivers = self.tensors["drivers"]
        offset = drivers.new_zeros(drivers.shape[1])
        indices = torch.arange(self.num_moving, device=drivers.device)
        deltas: dict[str, Any] = {name: self.tensors[name] for name in self.deltas}
        return Deformation(
            Coefficients.linear(drivers, offset, clamped=False), indices, Condition(), **deltas
        )

    def changes(self, expression: Tensor) -> dict[str, Tensor]:
        """What an expression [E] adds to the first Gaussians, by the deltas' names: [M, ...] each."""
        shares = expression @ self.tensors["drivers"]
        return {
            name: (shares @ self.tensors[name].flatten(1)).view(self.tensors[name].shape[1:])
            for name in self.deltas
        }

    def deformed(self, changes: Mapping[str, Tensor] | None) -> Gaussians:
        """Canonical Gaussians with those changes; the same as the deformation makes."""
        local = self.gaussians()
        if changes is None or not self.num_moving:
            return local

        def moved(values: Tensor, change: Tensor | None) -> Tensor:
            if change is None:
                return values
            return torch.cat([values[: self.num_moving] + change, values[self.num_moving :]])

        sh0 = moved(local.sh[:, 0], changes["d_sh0"])[:, None]
        return replace(
            local,
            means=moved(local.means, changes["d_means"]),
            quats=moved(local.quats, changes.get("d_quats")),
            log_scales=moved(local.log_scales, changes["d_log_scales"]),
            logit_opacities=moved(local.logit_opacities, changes["d_logit_opacities"]),
            sh=torch.cat([sh0, local.sh[:, 1:]], 1),
        )

    def pose(
        self, params: RigParams, posed: PosedRig | None = None, changes: Mapping[str, Tensor] | None = None
    ) -> Gaussians:
        """Gaussians in world axes; the posed rig and the changes are computed where they are not given."""
        posed = self.rig(params) if posed is None else posed
        if changes is None and is_moved(params):
            changes = self.changes(params.expression)
        local = self.deformed(changes)
        if self._poser is not None and not posed.vertices.requires_grad:
            return self._poser(local, self._poser.frames(posed))
        return self._pose(local, posed, params.expression)

    def move(self, rows: Tensor, sources: Tensor) -> None:
        """Let the Gaussians `rows` share the places of `sources` [K], each with all that it does.

        A source and its new neighbour lie to both sides of its middle along the longest axis, smaller, and
        together let as much light through as it did. Source: S. Kheradmand et al., "3D Gaussian splatting as
        Markov chain Monte Carlo", 2024, for the opacities.
        """
        with torch.no_grad():
            t = self.tensors
            opacity = t["logit_opacities"][sources].sigmoid()
            shared = torch.logit((1 - (1 - opacity).sqrt()).clamp(1e-4, 1 - 1e-4))
            scales = t["log_scales"][sources].exp()
            longest = scales.argmax(1)
            along = torch.zeros_like(scales).scatter_(1, longest[:, None], 0.5)
            axes = quaternion_to_matrix(t["quats"][sources])
            step = (axes @ (along * scales)[..., None])[..., 0]
            smaller = t["log_scales"][sources] - 0.35 * (1 + 2 * along)
            for name in BASIC:
                t[name][rows] = t[name][sources]
            t["means"][rows], t["means"][sources] = t["means"][sources] + step, t["means"][sources] - step
            for side in (rows, sources):
                t["log_scales"][side] = smaller
                t["logit_opacities"][side] = shared
            self.face_index[rows] = self.face_index[sources]
            moving = rows < self.num_moving
            for name in self.deltas:
                t[name][:, rows[moving]] = t[name][:, sources[moving]]
            self._bind()

    def state_dict(self) -> Mapping[str, Any]:
        return {
            "face_index": self.face_index,
            "num_moving": self.num_moving,
            **{name: tensor.detach() for name, tensor in self.tensors.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = self.rig.template.device
        self.face_index, self.num_moving = state["face_index"].to(device), int(state["num_moving"])
        self.tensors = {name: state[name].clone().to(device) for name in self.tensors}
        self._bind()


def is_moved(params: RigParams) -> bool:
    """Whether a face is not at rest: only then do bases count."""
    return bool((params.expression != 0).any())
