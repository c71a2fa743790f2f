"""Where Gaussians start when nothing but a rig and pictures is known: on its triangles, in their colours."""

from __future__ import annotations

import torch

from engine.train.data.seeds import Seeds
from engine.train.data.views import Dataset, evenly
from engine.train.surface.regions import Regions
from engine.train.surface.surfel_placement import PlacementConfig, place_surfels
from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rotations import matrix_to_quaternion
from render.sh import SH_C0

_VIEWS = 24  # looked at
_OPACITY = 0.8
_FLAT = 0.25  # thickness over the width


def seeds_of_rig(dataset: Dataset, config: PlacementConfig, generator: torch.Generator) -> Seeds:
    """Gaussians on the rig as some training views show the person, SH degree 1."""
    rig, regions = dataset.rig, Regions.of(dataset.rig)
    views = evenly(dataset.of("train"), _VIEWS)
    pictures = [view.read() for view in views]
    placed = place_surfels(rig, regions, views, pictures, config, generator)
    rotation, _, _ = triangle_frames(rig.template, rig.faces)
    # A triangle's frame has its normal in the second column, a Gaussian its thickness along the third axis.
    upright = rotation[placed.face_index][:, :, [2, 0, 1]]
    width = (config.overlap * placed.spacing).clamp_min(1e-4)
    num = len(placed.means)
    sh = torch.zeros(num, 4, 3)
    sh[:, 0] = (placed.colours - 0.5) / SH_C0
    gaussians = Gaussians(
        means=placed.means,
        quats=matrix_to_quaternion(upright),
        log_scales=torch.stack([width, width, _FLAT * width], 1).log(),
        logit_opacities=torch.full((num,), _OPACITY).logit(),
        sh=sh,
    )
    return Seeds(gaussians, placed.face_index, regions.face[placed.face_index])
