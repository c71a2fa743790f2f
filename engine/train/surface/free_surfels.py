"""A quick avatar without networks: surfels on a rig, each with a colour of its own, learned in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.train.data.views import View, evenly
from engine.train.surface.regions import Regions
from engine.train.surface.surfel_placement import Placement, PlacementConfig, place_surfels
from render.avatars.bindings import TriangleBinding
from render.camera import Camera
from render.cpu.gradients.renderer import CpuTrainingRenderer
from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rigs.params import RigParams
from render.rigs.rig import Rig
from render.rotations import matrix_to_quaternion
from render.sh import SH_C0

Array = NDArray[np.float32]

_SURFELS = PlacementConfig(count=6000, face_density=1.5)
_VIEWS_TO_START = 24
_LOGIT_OPACITY = 1.5
_RATES = {"means": 5e-3, "quats": 2e-3, "log_scales": 5e-3, "logit_opacities": 0.02, "sh": 5e-3}
_ALPHA = 0.5  # weight of the coverage in the loss


class FreeSurfels:
    """Surfels bound to `rig`, placed and coloured by `views`, which are of one size. CPU only."""

    def __init__(self, rig: Rig, views: Sequence[View], seed: int) -> None:
        self.rig = rig
        self._generator = torch.Generator().manual_seed(seed)
        some = evenly(views, _VIEWS_TO_START)
        pictures = [view.read() for view in some]
        placed = place_surfels(rig, Regions.of(rig), some, pictures, _SURFELS, self._generator)
        self._local = _local(rig, placed)
        groups = [
            {"params": [getattr(self._local, name).requires_grad_()], "lr": rate}
            for name, rate in _RATES.items()
        ]
        self._optimiser = torch.optim.Adam(groups, eps=1e-15, fused=True)
        self._pose = TriangleBinding(placed.face_index).bound_to(rig)
        camera = some[0].camera
        self._renderer = CpuTrainingRenderer(camera.width, camera.height, geometry=False)

    def learn(self, params: RigParams, pictures: Array, camera: Camera, steps: int) -> None:
        """Fit `pictures` [T, H, W, 4], premultiplied, of the poses `params` [T]."""
        for _ in range(steps):
            row = int(torch.randint(len(pictures), (1,), generator=self._generator))
            one = RigParams(params.expression[row], params.pose[row], params.translation[row])
            picture = torch.from_numpy(pictures[row])
            out = self._renderer.render(self._posed(one), camera)
            loss = (out.rgb - picture[..., :3]).abs().mean()
            loss = loss + _ALPHA * (out.alpha - picture[..., 3]).abs().mean()
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()

    @torch.no_grad()
    def draw(self, params: RigParams, camera: Camera) -> Array:
        """What the camera sees of a pose [H, W, 4], premultiplied."""
        out = self._renderer.render(self._posed(params), camera)
        return torch.cat([out.rgb, out.alpha[..., None]], -1).numpy()

    def _posed(self, params: RigParams) -> Gaussians:
        with torch.no_grad():
            posed = self.rig(params)
        return self._pose(self._local, posed, params.expression)


def _local(rig: Rig, placed: Placement) -> Gaussians:
    """The placement's surfels in the units of their triangles."""
    frames = triangle_frames(rig.template, rig.faces)
    rotation, scale, centre = (part[placed.face_index] for part in frames)
    x, y = torch.eye(3)[:2]
    other = torch.where(placed.normals[:, :1].abs() < 0.7, x, y)
    tangent = torch.nn.functional.normalize(torch.linalg.cross(other, placed.normals), dim=1)
    axes = torch.stack([tangent, torch.linalg.cross(placed.normals, tangent), placed.normals], -1)
    log_scale = (_SURFELS.overlap * placed.spacing / scale).log()
    return Gaussians(
        means=(rotation.mT @ (placed.means - centre)[..., None])[..., 0] / scale[:, None],
        quats=matrix_to_quaternion(rotation.mT @ axes),
        log_scales=log_scale[:, None].repeat(1, 2),
        logit_opacities=torch.full_like(scale, _LOGIT_OPACITY),
        sh=((placed.colours - 0.5) / SH_C0)[:, None],
    )
