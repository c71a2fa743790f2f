"""Drops the Gaussians of a person that no picture shows: inside the head, and under other layers.

A person is looked at from everywhere the page's camera goes and in every motion of the face; what gives no
pixel of any of these pictures a share worth keeping is left out. Poses and views are a fixed list.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from render.cpu.renderer import usable_cores

if TYPE_CHECKING:
    from render.avatar import Avatar
    from render.camera import Camera

# Of a pixel's colour. In poses and views that are not among those below the pictures stay within 62 dB of the
# whole person's; twice this share shows at the corners of a talking mouth.
LEAST_SHARE = 6 / 255

_WIDTH, _HEIGHT = 1280, 720
_NUM_MIXES = 30
_VIEWS_OF_MIX = 8


@dataclass(frozen=True)
class Look:
    """A pose, and the views it is looked at from."""

    units: dict[str, float]  # `@` means both sides
    head_deg: tuple[float, float, float]  # yaw to the subject's left, pitch down, roll
    views: tuple[View, ...]


@dataclass(frozen=True)
class View:
    """Where the camera stands, as the page's controls have it."""

    yaw_deg: float
    pitch_deg: float
    zoom: float = 1.0


def _views(yaws: range, pitches: tuple[float, ...], zoom: float = 1.0) -> tuple[View, ...]:
    return tuple(View(yaw, pitch, zoom) for yaw, pitch in itertools.product(yaws, pitches))


_AROUND = (
    *_views(range(-180, 180, 30), (-40, 0, 40)),
    *_views(range(-180, 180, 60), (-80, 80)),
    *_views(range(-120, 121, 40), (-40, 0, 40), 3.0),
    *_views(range(-180, 180, 45), (-40, 0, 40), 0.4),
)
_TURNED = (*_views(range(-180, 180, 60), (-40, 0, 40)), *_views(range(-40, 41, 40), (0,), 3.0))
_FACE = (
    View(0, 0, 3.0),
    View(-40, -25, 3.0),
    View(40, 25, 3.0),
    View(0, 0),
    View(-70, 10),
    View(70, -10),
)

_HEAD_TURNS = (
    *itertools.product((-40.0, 40.0), (-20.0, 20.0), (-20.0, 20.0)),
    (0.0, -30.0, 0.0),
    (0.0, 30.0, 0.0),
    (0.0, 0.0, -30.0),
    (0.0, 0.0, 30.0),
)
_FACES: tuple[dict[str, float], ...] = (
    {"jawOpen": 1.0, "mouthUpperUp@": 1.0, "mouthLowerDown@": 1.0, "mouthStretch@": 1.0},
    {"jawOpen": 1.0, "tongueOut": 1.0},
    {"jawOpen": 0.5, "mouthSmile@": 1.0, "mouthUpperUp@": 1.0},
    {"mouthSmile@": 1.0, "cheekSquint@": 1.0, "eyeSquint@": 1.0},
    {"eyeBlink@": 1.0},
    {"eyeBlink@": 0.5},
    {"eyeWide@": 1.0, "browInnerUp": 1.0, "browOuterUp@": 1.0, "jawOpen": 0.6},
    {"mouthPucker": 1.0, "mouthFunnel": 1.0},
    {"eyeLookUp@": 1.0, "eyeWide@": 1.0},
    {"eyeLookDown@": 1.0},
    {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0, "eyeWide@": 0.5},
    {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0, "eyeWide@": 0.5},
    {"eyeLookInLeft": 1.0, "eyeLookInRight": 1.0},
)
_MOUTHS = tuple(
    {"jawOpen": jaw, **shape}
    for jaw, shape in itertools.product(
        (0.2, 0.4, 0.7),
        (
            {"mouthUpperUp@": 0.5, "mouthLowerDown@": 0.5},
            {"mouthSmile@": 0.6, "mouthStretch@": 0.4, "mouthUpperUp@": 0.3},
            {"mouthFunnel": 0.6, "mouthPucker": 0.2},
            {"mouthLowerDownLeft": 0.8, "mouthUpperUpRight": 0.8, "mouthSmileRight": 0.6},
        ),
    )
)
_AT_MOUTH = _views(range(-75, 76, 25), (-35, -10, 15), 3.0)


def looks(unit_names: tuple[str, ...]) -> Iterator[Look]:
    """Everything a person is looked at in: at rest from all around, turned, and each way the face moves."""
    still = (0.0, 0.0, 0.0)
    yield Look({}, still, _AROUND)
    for turn in _HEAD_TURNS:
        yield Look({}, turn, _TURNED)
    for units in (*({name: 1.0} for name in unit_names), *_FACES):
        yield Look(units, still, _FACE)
    for units in _MOUTHS:
        yield Look(units, still, _AT_MOUTH)
    rng = np.random.default_rng(0)
    for _ in range(_NUM_MIXES):
        active = rng.choice(len(unit_names), 8, replace=False)
        units = {unit_names[i]: float(rng.random()) for i in active}
        yaw, pitch, roll = rng.uniform(-1, 1, 3) * (40, 25, 20)
        views = rng.uniform((-120, -45, 0.7), (120, 45, 3), (_VIEWS_OF_MIX, 3))
        yield Look(units, (yaw, pitch, roll), tuple(View(*view) for view in views.tolist()))


def visible_shares(avatar: Avatar) -> NDArray[np.float32]:
    """The greatest share [N] of a pixel's colour that each Gaussian gives in any picture of all looks.

    Exact from LEAST_SHARE up. Takes about half a minute on two cores.
    """
    from render.persona.contribution import largest_weights

    largest = np.zeros(avatar.gaussians.num_gaussians, np.float32)
    with torch.inference_mode(), ThreadPoolExecutor(usable_cores()) as pool:
        for look in looks(avatar.rig.expression_names):
            params = avatar.params_from_units(
                _weights(avatar, look.units), _rotation(look.head_deg), torch.zeros(3)
            )
            weigh = partial(largest_weights, avatar.pose(params), least=LEAST_SHARE)
            for shares in pool.map(weigh, (_camera(avatar, view) for view in look.views)):
                np.maximum(largest, shares, out=largest)
    return largest


def without_invisible(avatar: Avatar) -> Avatar:
    """The person without the Gaussians that give less than LEAST_SHARE to every picture of all looks."""
    return keep_gaussians(avatar, visible_shares(avatar) >= LEAST_SHARE)


def keep_gaussians(avatar: Avatar, keep: NDArray[np.bool_]) -> Avatar:
    """The Gaussians of a person for which `keep` [N] is True, with their triangles and deltas."""
    from render.bindings import TriangleBinding

    (binding,) = avatar.bindings
    assert isinstance(binding, TriangleBinding)
    kept = torch.from_numpy(np.flatnonzero(keep))
    g, deformation = avatar.gaussians, avatar.deformation
    if deformation is not None:
        assert deformation.d_sh0 is not None
        place = torch.from_numpy(np.cumsum(keep) - 1)
        stays = torch.from_numpy(keep)[deformation.indices]
        deformation = replace(
            deformation,
            indices=place[deformation.indices[stays]],
            d_sh0=deformation.d_sh0[:, stays],
        )
    return avatar.replace(
        bindings=(TriangleBinding(binding.face_index[kept]),),
        gaussians=replace(
            g,
            means=g.means[kept],
            quats=g.quats[kept],
            log_scales=g.log_scales[kept],
            logit_opacities=g.logit_opacities[kept],
            sh=g.sh[kept],
        ),
        deformation=deformation,
    )


def _weights(avatar: Avatar, units: dict[str, float]) -> torch.Tensor:
    names = avatar.rig.expression_names
    weights = torch.zeros(len(names))
    for name, weight in units.items():
        for side in ("Left", "Right") if name.endswith("@") else ("",):
            weights[names.index(name.rstrip("@") + side)] = weight
    return weights


def _rotation(head_deg: tuple[float, float, float]) -> torch.Tensor:
    """Axis-angle [3] of yaw about y, then pitch about x, then roll about z, of the turning head."""
    from scipy.spatial.transform import Rotation

    return torch.from_numpy(Rotation.from_euler("YXZ", head_deg, degrees=True).as_rotvec()).float()


def _camera(avatar: Avatar, view: View) -> Camera:
    camera = avatar.default_camera(_WIDTH, _HEIGHT, yaw_deg=view.yaw_deg, pitch_deg=view.pitch_deg)
    return replace(camera, fx=camera.fx * view.zoom, fy=camera.fy * view.zoom)
