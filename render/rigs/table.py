"""Every kind of rig there is, in one table: where it comes from, and whether it travels in a file.

A new kind is a module that makes its `Rig` and a row here. Nothing heavy is imported before a row is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from render.rigs.head import HeadSurface
    from render.rigs.reference import KeptRig


@dataclass(frozen=True)
class RigKind:
    """What files, importers and training know of one kind of rig."""

    title: str  # as a user calls it
    embeddable: bool  # its licence lets it travel in avatar files and datasets
    shipped: Callable[[], KeptRig] | None = None  # opens the one in this package
    opened: Callable[[Path, int | None], KeptRig] | None = None
    """Opens the user's own model file, with so many identity columns where its layout is not a known one."""
    surface: Callable[[], HeadSurface] | None = None  # named regions of its triangles


def _shipped_head() -> KeptRig:
    from render.rigs.head import open_head

    return open_head()


def _head_surface() -> HeadSurface:
    from render.rigs.head import load_head_surface

    return load_head_surface()


def _opened_flame(file: Path, num_shapes: int | None) -> KeptRig:
    from render.rigs.flame import open_flame

    return open_flame(file, num_shapes)


def _opened_smplx(file: Path, num_shapes: int | None) -> KeptRig:
    from render.rigs.smplx import open_smplx

    return open_smplx(file, num_shapes)


RIGS: dict[str, RigKind] = {
    "head": RigKind(
        "the built-in head",
        embeddable=True,
        shipped=_shipped_head,
        surface=_head_surface,
    ),
    "flame": RigKind(
        "FLAME",
        embeddable=False,
        opened=_opened_flame,
    ),
    "smplx": RigKind(
        "SMPL-X",
        embeddable=False,
        opened=_opened_smplx,
    ),
    # What importers make of skinning weights that come with the Gaussians.
    "skin": RigKind("a skin", embeddable=True),
}
