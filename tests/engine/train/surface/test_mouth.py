"""Regions of the built-in head, and the inside of its mouth."""

from __future__ import annotations

import pytest
import torch

from engine.train.surface.mouth import flattened, mouth_prior
from engine.train.surface.regions import Regions
from render.gaussians import Gaussians
from render.rigs.head import load_head
from render.rigs.rig import Rig
from render.rotations import quaternion_to_matrix


@pytest.fixture(scope="module")
def rig() -> Rig:
    head = load_head()
    return head.with_shape(torch.zeros(head.num_shapes))


@pytest.fixture(scope="module")
def regions(rig: Rig) -> Regions:
    return Regions.of(rig)


def test_regions_of_the_built_in_head(rig: Rig, regions: Regions) -> None:
    centre = rig.template[rig.faces].mean(1)
    inside, hair = centre[regions.inside], centre[regions.hair]
    assert not (regions.inside & regions.visible).any()
    assert inside[:, 2].mean() > 0.02
    assert inside[:, 1].mean() < 0
    assert hair[:, 2].mean() < centre[regions.face][:, 2].mean() - 0.05
    # Eyelids that only a blink shows are face.
    assert 2000 < int(regions.face.sum()) < 5500


def test_the_mouth_prior_follows_the_jaw(rig: Rig, regions: Regions) -> None:
    prior = mouth_prior(rig, regions)
    assert prior is not None
    face, local = prior
    assert local.is_surfel
    assert len(face) > 500
    lower = rig.skin_weights[:, rig.joint_names.index("jaw")][rig.faces[face]].mean(1)
    open_jaw = torch.zeros(rig.num_expressions)
    open_jaw[rig.expression_names.index("jawOpen")] = 1.0
    from render.avatars.bindings import TriangleBinding

    pose = TriangleBinding(face).bound_to(rig)
    neutral = rig.neutral_params()
    rest = pose(local, rig(neutral), neutral.expression).means
    moved = pose(local, rig(neutral.replace(expression=open_jaw)), open_jaw).means
    fall = rest[:, 1] - moved[:, 1]
    assert float(fall.quantile(0.9)) > 0.008  # the lower row drops by about a centimetre
    assert float(fall.quantile(0.1)) < 0.003  # the upper one stays
    assert lower.shape == fall.shape


def test_flattening_drops_the_shortest_axis() -> None:
    quats, scales = torch.nn.functional.normalize(torch.randn(40, 4), dim=-1), torch.randn(40, 3)
    g = Gaussians(torch.zeros(40, 3), quats, scales, torch.zeros(40), torch.zeros(40, 1, 3))
    flat = flattened(g)
    old, new = quaternion_to_matrix(quats), quaternion_to_matrix(flat.quats)
    shortest = old.gather(2, scales.argmin(1)[:, None, None].expand(-1, 3, 1))[..., 0]
    assert ((new[:, :, 2] * shortest).sum(1) > 1 - 1e-5).all()
    kept = torch.cat([flat.log_scales, scales.amin(1, keepdim=True)], 1).sort(1).values
    assert torch.allclose(kept, scales.sort(1).values)
    for column in range(2):  # each tangent keeps its own scale
        along = (new[:, :, column, None] * old).sum(1).abs().argmax(1)
        assert torch.allclose(scales.gather(1, along[:, None])[:, 0], flat.log_scales[:, column])
