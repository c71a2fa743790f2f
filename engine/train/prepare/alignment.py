"""Poses by the pictures themselves: what landmarks leave open, the frames of a clip tell each other.

Landmarks know the face to a pixel or two, and nothing of hair and shoulders. So the training frames make a
quick avatar together (`FreeSurfels`), every frame's pose is moved until the avatar looks like its picture,
and the avatar learns on: a bundle adjustment whose map is the person. In the end every other frame, held-out
ones too, is moved to the finished map, which never learns from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.train.data.pictures import KeptPicture
from engine.train.data.pose_numbers import PoseNumbers
from engine.train.data.views import View
from engine.train.prepare.picture_step import PictureStep
from engine.train.surface.free_surfels import FreeSurfels
from render.camera import Camera
from render.rigs.params import RigParams
from render.rigs.rig import Rig

Progress = Callable[[Iterable[int], int], Iterable[int]]  # passes the items on, knows their number

WORKING_PX = 128  # a pose shows to a tenth of a pixel: pictures need be no larger
LEAST_FRAMES = 12  # training frames; fewer say too little of each other
_MAP_FRAMES = 240  # training frames that make the map, evenly spread
# Blur of the pictures in pixels, and steps that the map learns before: coarse to fine.
_ROUNDS = ((1.6, 400), (1.3, 200), (1.0, 200), (0.8, 200), (0.6, 200), (0.6, 200))
_LAST_STEPS = 300
_ENOUGH_FRAMES = 120  # of which the map needs all of these steps; of fewer it needs fewer
_SETTLING = (1.6, 1.0, 0.6, 0.6)  # blur of the steps that take a frame to the finished map


@dataclass(frozen=True)
class Aligned:
    """All frames' parameters, and how well the map draws their pictures at the end (PSNR, dB)."""

    params: list[RigParams]
    agreement_db: float


def aligned(
    rig: Rig,
    params: Sequence[RigParams],
    camera: Camera,
    pictures: Sequence[KeptPicture],
    num_train: int,
    progress: Progress = lambda items, total: items,
    seed: int = 0,
) -> Aligned:
    """Move the frames' parameters until the pictures, as `camera` sees them, agree.

    Only the first `num_train` frames make the map, at least `LEAST_FRAMES`. A frame that the map draws no
    better afterwards keeps the parameters it had.
    """
    if num_train < LEAST_FRAMES:
        raise ValueError(f"{num_train} training frames cannot be aligned, {LEAST_FRAMES} can")
    some = np.unique(np.linspace(0, num_train - 1, _MAP_FRAMES).round().astype(int)).tolist()
    mapped = np.stack([_premultiplied(pictures[row]) for row in some])
    numbers = PoseNumbers(rig, params)
    step = PictureStep(numbers, camera)
    views = [View(str(row), camera, params[row], row, "train", pictures[row]) for row in some]
    person = FreeSurfels(rig, views, seed)

    share = min(1.0, len(some) / _ENOUGH_FRAMES)
    poses = partial(numbers.params, some)
    total = len(_ROUNDS) * len(some) + len(params)
    ticks = iter(progress(range(total), total))
    for blur, steps in _ROUNDS:
        person.learn(poses(), mapped, camera, round(share * steps))
        for row, picture in zip(some, mapped, strict=True):
            next(ticks)
            step(person, row, picture, blur)
    person.learn(poses(), mapped, camera, round(share * _LAST_STEPS))
    errors = []
    for row, kept in enumerate(pictures):
        next(ticks)
        picture = _premultiplied(kept)
        if row not in some:
            for blur in _SETTLING:
                step(person, row, picture, blur)
        reached, after = numbers.values[row].copy(), _error(person, numbers.one(row), camera, picture)
        numbers.values[row] = numbers.start[row]
        before = _error(person, numbers.one(row), camera, picture)
        if after < before:
            numbers.values[row] = reached
        errors.append(min(before, after))
    next(ticks, None)  # lets the bar end
    return Aligned(numbers.all(), float(-10 * np.log10(max(float(np.mean(errors)), 1e-10))))


def _error(person: FreeSurfels, params: RigParams, camera: Camera, picture: NDArray[np.float32]) -> float:
    return float(np.square(person.draw(params, camera) - picture).mean())


def _premultiplied(picture: KeptPicture) -> NDArray[np.float32]:
    """[H, W, 4] in 0..1."""
    mask = picture.mask[..., None].astype(np.float32) / 255
    return np.concatenate([picture.rgb.astype(np.float32) / 255 * mask, mask], -1)
