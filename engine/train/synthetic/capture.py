"""Captures of synthetic people: many cameras around one moment, and expressions nobody trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from engine.train.data.pictures import KeptPicture
from engine.train.data.views import Dataset, Split, View
from engine.train.synthetic.expressions import random_expression
from engine.train.synthetic.head import PosedHead, SyntheticHead
from render.camera import Camera
from render.making.people.head import rig_reference
from render.making.people.scene.anybody import anybody
from render.rigs.params import RigParams

_TARGET = (0.0, -0.008, 0.0)  # metres: hair above, collar below
_DISTANCE_M, _FOV_DEG = 1.15, 18.5
_MOST_YAW_DEG = 80.0


def make_capture(
    seed: int,
    *,
    num_views: int = 16,
    expressions: int = 20,
    views_per_expression: int = 3,
    num_novel_views: int = 4,
    head_turn_deg: float = 12.0,
    size: int = 256,
    supersampling: int = 3,
    folder: Path | None = None,
) -> Dataset:
    """The protocol's data of one person: pictures and masks with exact cameras, poses and geometry.

    To train on: one moment (time_index 0, a neutral face) seen by `num_views` cameras. To test: the same
    moment from `num_novel_views` other cameras, and `expressions` unseen faces (time_index 1, 2, ...; the
    head turned by up to `head_turn_deg`), each from `views_per_expression` cameras. The same seed gives the
    same capture. About 0.15 s a picture at 256x256, and 0.3 s a moment. `folder` and what is raised are as
    for `SyntheticHead`, which bakes a person's light once, in minutes.
    """
    head = SyntheticHead(anybody(seed), folder)
    rng = np.random.default_rng([seed, 4])
    around = camera_ring(num_views, size, rng)
    between = camera_ring(num_novel_views, size, rng, most_yaw_deg=60)
    neutral = head.rig.neutral_params()
    moment = head.pose(neutral)
    views = [
        *_seen(head, moment, neutral, 0, "train", around, supersampling),
        *_seen(head, moment, neutral, 0, "test", between, supersampling),
    ]
    for number in range(1, expressions + 1):
        params = random_params(head, rng, head_turn_deg)
        cameras = camera_ring(views_per_expression, size, rng, most_yaw_deg=45)
        views += _seen(head, head.pose(params), params, number, "test", cameras, supersampling)
    return Dataset(head.rig, tuple(views), rig_reference(head.person.shape), f"synthetic-{seed}")


def make_clip(
    seed: int,
    *,
    num_frames: int = 60,
    test_fraction: float = 0.2,
    size: int = 256,
    supersampling: int = 3,
    folder: Path | None = None,
) -> Dataset:
    """One fixed camera, the head turning and the face moving: what `prepare` makes of a film, but exact.

    The last `test_fraction` of the frames is held out. `folder` and what is raised are as for
    `SyntheticHead`.
    """
    head = SyntheticHead(anybody(seed), folder)
    rng = np.random.default_rng([seed, 5])
    camera = camera_ring(1, size, rng, most_yaw_deg=0)
    num_keys = max(2, num_frames // 12 + 1)
    keys = torch.stack([random_expression(head.rig.expression_names, rng) for _ in range(num_keys)])
    keys[0] = 0
    turn = np.radians(rng.uniform(-1, 1, (num_keys, 3)) * [14, 32, 6])
    place = np.linspace(0, num_keys - 1, num_frames)
    views: list[View] = []
    for index, at in enumerate(place):
        low = min(int(at), num_keys - 2)
        share = (1 - np.cos(np.pi * (at - low))) / 2  # from key to key as muscles do, slow at both ends
        weights = keys[low] + float(share) * (keys[low + 1] - keys[low])
        rotation = torch.tensor(turn[low] + share * (turn[low + 1] - turn[low]), dtype=torch.float32)
        params = head.rig.params_from_units(weights, rotation, torch.zeros(3))
        split: Split = "train" if index < round(num_frames * (1 - test_fraction)) else "test"
        views += _seen(head, head.pose(params), params, index, split, camera, supersampling)
    return Dataset(head.rig, tuple(views), rig_reference(head.person.shape), f"synthetic-clip-{seed}")


def random_params(head: SyntheticHead, rng: np.random.Generator, turn_deg: float) -> RigParams:
    """An unseen face with the head turned by up to `turn_deg` about each axis."""
    weights = random_expression(head.rig.expression_names, rng)
    rotation = torch.tensor(
        np.radians(rng.uniform(-turn_deg, turn_deg, 3) * [0.6, 1, 0.4]), dtype=torch.float32
    )
    return head.rig.params_from_units(weights, rotation, torch.zeros(3))


def camera_ring(
    count: int, size: int, rng: np.random.Generator, most_yaw_deg: float = _MOST_YAW_DEG
) -> list[Camera]:
    """Cameras evenly from side to side at changing heights, each a little off its place."""
    if not count:
        return []
    yaws = np.linspace(-most_yaw_deg, most_yaw_deg, count) if count > 1 else np.zeros(1)
    cameras = []
    for number, yaw in enumerate(yaws):
        pitch = (0.0, 16.0, -12.0)[number % 3]
        jitter = rng.uniform(-1, 1, 3) * [3.0, 3.0, 0.04]
        cameras.append(
            Camera.orbit(
                _TARGET,
                distance_m=_DISTANCE_M * (1 + float(jitter[2])),
                yaw_deg=float(yaw + jitter[0]),
                pitch_deg=float(pitch + jitter[1]),
                width=size,
                height=size,
                vertical_fov_deg=_FOV_DEG,
            )
        )
    return cameras


def _seen(
    head: SyntheticHead,
    moment: PosedHead,
    params: RigParams,
    time_index: int,
    split: Split,
    cameras: Iterable[Camera],
    supersampling: int,
) -> Iterator[View]:
    for number, camera in enumerate(cameras):
        kept = KeptPicture.of(head.picture(moment, camera, supersampling))
        name = f"{split}_t{time_index:03d}_c{number:02d}"
        yield View(name, camera, params, time_index, split, kept)
