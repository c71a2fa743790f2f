"""What a dataset lacks, completed: views that one picture does not have.

One picture gets pseudo views from a generator, when the user has one; else its own mirror image, for the side
of the head that it does not show. What neither shows (the back of the head, the inside of the mouth, teeth)
stays a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from engine.train.data.exported import Enhancer, ViewGenerator
from engine.train.data.views import Picture, View
from engine.train.surface.regions import triangles_seen
from render.camera import Camera
from render.rigs.params import RigParams
from render.rigs.rig import Rig
from tracking.face.units import joint_units

_PSEUDO_YAWS_DEG = (-60.0, -40.0, -20.0, 20.0, 40.0, 60.0)
_MIRROR = ".mirrored"


@dataclass(frozen=True)
class Completed:
    """Views to train on, and where [H, W] of some only part of the picture counts, by name."""

    views: tuple[View, ...]
    weights: dict[str, Tensor]


def enhanced(views: Sequence[View], program: Path) -> tuple[View, ...]:
    """The views with sharper pictures. Raises UsageError for an unusable file."""
    enhance = Enhancer(program)
    return tuple(replace(view, read=_Enhanced(view, enhance)) for view in views)


def seen_around(views: Sequence[View], rig: Rig, generator: Path | None = None) -> Completed:
    """The views and, of the first, what it does not show: from a generator's file, or its mirror image.

    Raises UsageError for an unusable file.
    """
    first = views[0]
    if generator is not None:
        return Completed((*views, *_generated(first, ViewGenerator(generator))), {})
    if not is_mirrorable(rig):
        return Completed(tuple(views), {})
    other = mirrored(first, rig)
    return Completed((*views, other), {other.name: _unseen_share(rig, first, other)})


@dataclass(frozen=True)
class _Enhanced:
    view: View
    enhance: Enhancer

    def __call__(self) -> Picture:
        picture = self.view.read()
        return replace(picture, rgb=self.enhance(picture.rgb))


@dataclass(frozen=True)
class _Mirrored:
    view: View

    def __call__(self) -> Picture:
        picture = self.view.read()
        return Picture(picture.rgb.flip(1), picture.mask.flip(1))


def is_mirrorable(rig: Rig) -> bool:
    """Whether left and right of the rig are known by its names."""
    return {"eyeBlinkLeft", "eyeBlinkRight"} <= set(rig.expression_names)


def mirrored(view: View, rig: Rig) -> View:
    """The view in a mirror at x = 0: picture, camera, expression and pose change sides."""
    camera = view.camera
    flip = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    other = replace(camera, cx=camera.width - camera.cx, world_to_camera=flip @ camera.world_to_camera @ flip)
    return replace(
        view,
        name=view.name + _MIRROR,
        camera=other,
        params=mirrored_params(view.params, rig),
        read=_Mirrored(view),
    )


def mirrored_params(params: RigParams, rig: Rig) -> RigParams:
    """Expression, joint rotations and translation of the mirrored face."""
    expression = params.expression.clone()
    for group in joint_units(rig.expression_names):
        if len(group) == 2:
            names = [rig.expression_names[i] for i in group]
            if names[0].startswith("eyeLook"):
                continue  # grouped by where both eyes look; sides are swapped below
            expression[list(group)] = params.expression[list(group[::-1])]
    index = {name: i for i, name in enumerate(rig.expression_names)}
    swaps = [(n, n.replace("Left", "Right")) for n in index if n.startswith("eyeLook") and "Left" in n]
    for one, two in [*swaps, ("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")]:
        if one in index and two in index:
            a, b = index[one], index[two]
            expression[a], expression[b] = params.expression[b], params.expression[a]
    pose = params.pose * torch.tensor([1.0, -1, -1])
    if "left_eye" in rig.joint_names and "right_eye" in rig.joint_names:
        left, right = rig.joint_names.index("left_eye"), rig.joint_names.index("right_eye")
        pose[[left, right]] = pose[[right, left]]
    return params.replace(
        expression=expression, pose=pose, translation=params.translation * torch.tensor([-1.0, 1, 1])
    )


def _unseen_share(rig: Rig, seen_by: View, view: View) -> Tensor:
    """1 where `view` [H, W] shows triangles that `seen_by` does not show, and 0 elsewhere."""
    known = torch.zeros(len(rig.faces) + 1, dtype=torch.bool)
    known[triangles_seen(rig(seen_by.params).vertices, rig.faces, seen_by.camera).flatten()] = True
    known[-1] = True  # what lies beside the mesh is told by the picture itself
    return (~known[triangles_seen(rig(view.params).vertices, rig.faces, view.camera)]).float()


def _generated(view: View, generator: ViewGenerator) -> list[View]:
    """Views around the head that a network imagines from one."""
    cameras = [_around(view, yaw) for yaw in _PSEUDO_YAWS_DEG]
    pictures = generator(view.read().rgb, cameras)
    made = []
    for number, (camera, rgba) in enumerate(zip(cameras, pictures, strict=True)):
        picture = Picture(rgba[..., :3], rgba[..., 3])
        made.append(
            replace(view, name=f"{view.name}.pseudo{number}", camera=camera, read=partial(_same, picture))
        )
    return made


def _same(picture: Picture) -> Picture:
    return picture


def _around(view: View, yaw_deg: float) -> Camera:
    """The view's camera, carried around the world's y axis."""
    from render.rotations import axis_angle_to_matrix

    turn = torch.eye(4)
    turn[:3, :3] = axis_angle_to_matrix(torch.tensor([0.0, -yaw_deg * torch.pi / 180, 0.0]))
    return replace(view.camera, world_to_camera=view.camera.world_to_camera @ turn)
