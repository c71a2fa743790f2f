"""Held-out quality of what a training has made, as trained and as it plays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import torch
from torch import Tensor

from engine.train.data.views import View
from engine.train.losses.lpips import Lpips
from engine.train.results.metrics import Quality, measure
from render.avatars.avatar import Avatar
from render.cpu.renderer import CpuRenderer

Draw = Callable[[View, Tensor], Tensor]  # view, [3] background -> rgb [H, W, 3]
WHITE = (1.0, 1.0, 1.0)  # behind truth and render alike, so that a matte that is too wide shows


@dataclass(frozen=True)
class Frame:
    """One held-out view's figures."""

    name: str
    quality: Quality


def evaluate(
    draw: Draw, views: Iterable[View], lpips: Lpips | None = None, seconds: float = float("inf")
) -> list[Frame]:
    """Figures of the views in order, of as many as fit into the time; always of one."""
    background = torch.tensor(WHITE)
    until = time.perf_counter() + seconds
    frames: list[Frame] = []
    for view in views:
        if frames and time.perf_counter() > until:
            break
        truth = view.read()
        rgb = draw(view, background).cpu()
        over = truth.over(background)
        frames.append(Frame(view.name, measure(rgb, over, truth.mask, lpips, known=truth.known)))
    return frames


def spread_out(views: Sequence[View], count: int) -> list[View]:
    """At most `count` views, evenly spread, in an order whose every beginning is spread out too."""
    if len(views) > count:
        views = [views[round(i * (len(views) - 1) / max(1, count - 1))] for i in range(count)]
    return [views[i] for i in _coarse_to_fine(len(views))]


def _coarse_to_fine(count: int) -> Iterator[int]:
    """0..count-1, bit-reversed: 0, 1/2, 1/4, 3/4, ..."""
    bits = max(1, (count - 1).bit_length())
    for number in range(1 << bits):
        reverse = int(f"{number:0{bits}b}"[::-1], 2)
        if reverse < count:
            yield reverse


def means(frames: Sequence[Frame]) -> dict[str, float]:
    """Every figure's mean over the frames; LPIPS only where it was measured."""
    rows = [asdict(frame.quality) for frame in frames]
    return {
        name: sum(row[name] for row in rows) / len(rows)
        for name in rows[0]
        if all(row[name] is not None for row in rows)
    }


def drawn_as_played(avatar: Avatar) -> Draw:
    """The avatar as `visavis live` draws it on a CPU: baked, and by the code of the play path."""
    avatar = avatar.to("cpu")
    renderer_of = cache(CpuRenderer)

    def draw(view: View, background: Tensor) -> Tensor:
        camera = view.camera
        with torch.inference_mode():
            gaussians = avatar.pose(view.params)
            return renderer_of(camera.width, camera.height).render(gaussians, camera, background).rgb

    return draw
