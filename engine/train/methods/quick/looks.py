"""What the steps look at: whole pictures at half size, then windows of pictures as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.train.data.devices import sent
from engine.train.data.views import View
from engine.train.loop.phase import Step
from engine.train.methods.quick.config import LookConfig
from render.camera import Camera
from render.rigs.rig import Rig

_FACE_M = 1e-3  # vertices that some unit moves this far are the face
_HALVES = 2


@dataclass(frozen=True)
class Look:
    """One picture or a window of it: left, top, width, height in its pixels, before it is made smaller."""

    view: View
    window: tuple[int, int, int, int]
    shrink: int = 1  # pixels along a side that become one

    @property
    def camera(self) -> Camera:
        """The camera of what is looked at."""
        left, top, width, height = self.window
        c = self.view.camera
        cut = replace(c, width=width, height=height, cx=c.cx - left, cy=c.cy - top)
        return cut.resized(width // self.shrink, height // self.shrink)


class Pictures:
    """Colours times mask, and mask, in 8 bits: [H, W, 4] a view, and the same at half size; beside them what
    of it is known."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: dict[tuple[str, int], tuple[Tensor, Tensor | None]] = {}

    def before(self, look: Look, background: Tensor, drawn: Tensor) -> Tensor:
        """[h, w, 3] of what is looked at before a background [3]; where nobody knows it, what is `drawn`."""
        left, top, width, height = (n // look.shrink for n in look.window)
        part = slice(top, top + height), slice(left, left + width)
        solid, known = self._whole(look.view, look.shrink)
        values = solid[part].float() / 255
        target = values[..., :3] + (1 - values[..., 3:]) * background
        return target if known is None else torch.where(known[part][..., None], target, drawn.detach())

    def _whole(self, view: View, shrink: int) -> tuple[Tensor, Tensor | None]:
        key = view.name, shrink
        if key not in self._kept:
            picture = view.read()
            known = picture.known
            if known is not None and shrink > 1:  # a pixel is known where all of it is
                planes = (~known).float()[None, None]
                known = torch.nn.functional.max_pool2d(planes, shrink)[0, 0] == 0
            solid = torch.cat([picture.rgb * picture.mask[..., None], picture.mask[..., None]], -1)
            if shrink > 1:  # means of colours times mask: edges keep the person's colours
                planes = solid.permute(2, 0, 1)[None]
                solid = torch.nn.functional.avg_pool2d(planes, shrink)[0].permute(1, 2, 0)
            known = None if known is None or bool(known.all()) else sent(known, self._device)
            self._kept[key] = sent((solid * 255).round().to(torch.uint8), self._device), known
        return self._kept[key]


class Looker:
    """Draws the looks of a phase's steps; which they are depends on nothing but the step's generator.

    The further a face is from rest the more often it is looked at: an open mouth's inside shows in few
    pictures and takes most to learn.
    """

    def __init__(self, views: Sequence[View], rig: Rig, config: LookConfig) -> None:
        self.config = config
        self.rest = [view for view in views if not view.params.expression.any()]
        self.moved = [view for view in views if view.params.expression.any()]
        reach = rig.expression_basis.unflatten(-1, (-1, 3)).norm(dim=-1)
        mobile = (reach.amax(0) if len(reach) else rig.template.new_zeros(rig.num_vertices)) > _FACE_M
        self._faces = {view.name: self._face_box(view, rig, mobile) for view in views}
        motion = torch.tensor([_motion(view, rig, mobile) for view in self.moved])
        self._often = motion + motion.mean()

    def coarse(self, step: Step, count: int) -> list[Look]:
        """Whole pictures at half size."""
        return [whole(self._view(step), _HALVES) for _ in range(count)]

    def fine(self, step: Step, count: int) -> list[Look]:
        """Whole pictures and windows of them, many of the face."""
        return [self._fine(step) for _ in range(count)]

    def _fine(self, step: Step) -> Look:
        view, generator = self._view(step), step.shared
        seed = torch.rand(4, generator=generator).tolist()
        if seed[0] < self.config.whole_share:
            return whole(view)
        camera, side = view.camera, self.config.window_px
        width, height = min(side, camera.width), min(side, camera.height)
        left, top, right, bottom = self._faces[view.name]
        if seed[1] >= self.config.face_share:
            left, top, right, bottom = 0.0, 0.0, float(camera.width), float(camera.height)
        # The window lies within what it is drawn from, or around its middle where that is smaller.
        x = _place(left, right, width, camera.width, seed[2])
        y = _place(top, bottom, height, camera.height, seed[3])
        return Look(view, (x, y, width, height))

    def spread(self, count: int, generator: torch.Generator) -> list[Look]:
        """`count` whole pictures at half size, half of them of faces that are not at rest."""
        sides = [s for s in (self.rest, self.moved) if s]
        looks = []
        for number in range(count):
            side = sides[number % len(sides)]
            looks.append(whole(side[int(torch.randint(len(side), (1,), generator=generator))], _HALVES))
        return looks

    def _view(self, step: Step) -> View:
        moving = float(torch.rand(1, generator=step.shared)) < self.config.moving_share
        if self.moved and (moving or not self.rest):
            return self.moved[int(torch.multinomial(self._often, 1, generator=step.shared))]
        return self.rest[int(torch.randint(len(self.rest), (1,), generator=step.shared))]

    @staticmethod
    def _face_box(view: View, rig: Rig, mobile: Tensor) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the face in a picture, whichever side of it is seen."""
        vertices = rig(view.params).vertices[mobile.to(rig.template.device)]
        if not len(vertices):
            return 0.0, 0.0, float(view.camera.width), float(view.camera.height)
        points = view.camera.project(vertices)[:, :2]
        (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
        return left, top, right, bottom


def _motion(view: View, rig: Rig, mobile: Tensor) -> float:
    """How far the face is from rest: root mean square over what any unit moves, metres."""
    units = view.params.expression @ rig.expression_basis
    moved = units.unflatten(-1, (-1, 3))[mobile.to(units.device)]
    return float(moved.square().sum(-1).mean().sqrt()) if len(moved) else 1.0


def whole(view: View, shrink: int = 1) -> Look:
    """The whole picture; sides that `shrink` does not divide lose the rest."""
    width, height = (max(shrink, n // shrink * shrink) for n in (view.camera.width, view.camera.height))
    return Look(view, (0, 0, width, height), shrink)


def _place(low: float, high: float, size: int, limit: int, chance: float) -> int:
    """Where a window of `size` pixels begins that lies in `low`..`high`, or has its middle there."""
    first, last = low, high - size
    if last < first:
        first = last = (low + high - size) / 2
    return min(max(0, round(first + chance * (last - first))), limit - size)
