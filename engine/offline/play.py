"""From a motion to pictures: pose and render side by side, one picture at a time, in order."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from engine.backends import open_backend
from engine.look import Look
from engine.offline.prefetch import prefetched
from engine.report import StageTimes
from render.avatars.avatar import Avatar
from render.drawing import Backend, Posed
from render.motion import MotionClip

POSED_AHEAD = 2  # sets of Gaussians between the posing and the rendering thread


def played_by(clip: MotionClip, avatar: Avatar) -> tuple[MotionClip, str | None]:
    """The clip in units that the avatar has or translates, and what of it cannot be shown, in one line."""
    clip = clip.in_units(avatar.rig.unit_names)
    moved = dict(zip(clip.unit_names, (clip.weights != 0).any(axis=0).tolist(), strict=True))
    lost = [name for name in avatar.lost_units(clip.unit_names) if moved[name]]
    if not lost:
        return clip, None
    few = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
    return clip, f"{avatar.name} has no {few}: these units of the motion are left out"


def pictures(
    motion: MotionClip, avatar: Avatar, look: Look, times: StageTimes
) -> Generator[NDArray[np.uint8]]:
    """The picture of every frame, planar I420 [H * 3/2, W] (BT.709, limited range).

    The array is overwritten by the next picture. Adds the stages "pose" and "render" to `times`.
    """
    camera = avatar.default_camera(look.width, look.height)
    backend = open_backend(look.backend)
    drawer = backend.drawer(look.width, look.height)
    out = np.empty((look.height * 3 // 2, look.width), np.uint8)
    try:
        with prefetched(_posed(motion, avatar, backend, times), POSED_AHEAD) as ahead:
            for posed in ahead:
                with times.timed("render"):
                    drawer.render_yuv420(posed, camera, look.background, out, colorspace="bt709")
                yield out
    finally:
        drawer.close()


def _posed(motion: MotionClip, avatar: Avatar, backend: Backend, times: StageTimes) -> Iterator[Posed]:
    torch.set_num_threads(1)  # the CPU renderer uses every core; one pose is too small to share out
    for moment in motion:
        with times.timed("pose"):
            posed = backend.pose(avatar, avatar.params(moment))
        yield posed
