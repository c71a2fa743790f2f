"""What there is to learn from: pictures with their cameras and the rig's pose in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from engine.train.data.seeds import Seeds
from render.camera import Camera
from render.rigs.params import RigParams
from render.rigs.reference import RigReference
from render.rigs.rig import Rig

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Picture:
    """The pixels of one view.

    Colours are the person's alone: where a pixel is half background, `rgb` is still the person's colour and
    `mask` is 0.5. Where `mask` is 0, `rgb` means nothing. Pixels that are not `known` show what an avatar is
    not to have, as the arms of one that ends at the chest: they are neither learned from nor measured.
    """

    rgb: Tensor  # [H, W, 3] in 0..1
    mask: Tensor  # [H, W] in 0..1, how much of a pixel is the person
    depth: Tensor | None = None  # [H, W] metres along the camera's z, where known (synthetic captures)
    normal: Tensor | None = None  # [H, W, 3] unit, world axes, likewise
    known: Tensor | None = None  # bool [H, W]; None: all are

    def over(self, background: Tensor) -> Tensor:
        """The person [H, W, 3] before a background [3] or [H, W, 3]: what a renderer is compared with."""
        return background + self.mask[..., None] * (self.rgb - background)


@dataclass(frozen=True)
class View:
    """One picture's camera and pose. Pixels are read when asked for: a capture may not fit in memory."""

    name: str  # unique within its dataset
    camera: Camera  # in the rig's world axes
    params: RigParams  # of the dataset's rig, no batch dimensions, no shape
    time_index: int  # views of one moment share it
    split: Split
    read: Callable[[], Picture]


def evenly(views: Sequence[View], count: int) -> Sequence[View]:
    """At most `count` of the views, every n-th."""
    return views[:: max(1, len(views) // count)][:count]


@dataclass(frozen=True)
class Dataset:
    """Views of one person on that person's rig."""

    rig: Rig  # identity baked
    views: tuple[View, ...]
    rig_reference: RigReference | None = None  # how an avatar file names the rig; None: it travels inside
    name: str = ""
    seeds: Seeds | None = None  # where the person's surface is known; a method may start from it

    def of(self, split: Split) -> Sequence[View]:
        """The views of one split, in order."""
        return [view for view in self.views if view.split == split]
