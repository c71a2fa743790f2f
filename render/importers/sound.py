"""What of a file's Gaussians can be drawn: a few broken ones are left out and counted, many are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from render.errors import AvatarError
from render.gaussians import Gaussians

MAX_GAUSSIANS = 10_000_000  # the limit of the .spz format's own readers

_EXPANSION = 64  # of data that deserves its memory: real files reach 4, empty ones 1,000
_FREE_BYTES = 64 << 20  # what may be unpacked whatever it came from

_SHARE, _FEW = 0.01, 10  # broken ones that are left out: one in a hundred, or ten where ten are one in ten
_LOG_SCALES = (-30.0, 20.0)  # below lies nothing anybody sees (1e-13); above, no unit of length makes sense
_LOGIT = 30.0  # opaque and transparent to the last bit of float32
_SH = 1e4  # thousands of times white
_PLACE = 1e7  # where float32 has no millimetres left, nor metres that add up


def check_count(count: int, path: Path) -> None:
    """Raise AvatarError for a number of Gaussians that is no avatar's, before anything is allocated."""
    if not count:
        raise AvatarError(f"{path} holds no Gaussians; export it again")
    if count > MAX_GAUSSIANS:
        raise AvatarError(
            f"{path} claims {count} Gaussians, more than the {MAX_GAUSSIANS} that are taken; cut it first"
        )


def check_expansion(path: Path, packed: int, unpacked: int) -> None:
    """Raise AvatarError for a file that would fill the memory with what was packed out of next to nothing."""
    if unpacked > max(_FREE_BYTES, _EXPANSION * packed):
        raise AvatarError(f"{path} claims to unpack from {packed} bytes to {unpacked}; do not trust it")


def sound(
    gaussians: Gaussians, path: Path, unwanted: Mapping[str, Tensor] | None = None
) -> tuple[Gaussians, Tensor, str]:
    """The Gaussians that can be drawn, which rows of the file they are (bool [N]), and what was left out.

    `unwanted`: rows [N] that are whole and left out all the same, by what is wrong with them. What is legal
    at infinity (a fully opaque or transparent one, a side of no length) becomes finite; one without an
    orientation stays unturned. Raises AvatarError when more are broken than a slip of an exporter explains.
    """
    g = gaussians
    finite = "that is not finite"
    faults = {
        f"a x {finite}": ~g.means.isfinite().all(1),
        f"a f_dc_0 {finite}": ~g.sh.isfinite().flatten(1).all(1),
        f"a rot_0 {finite}": ~g.quats.isfinite().all(1),
        f"a scale_0 {finite}": (g.log_scales.isnan() | (g.log_scales == torch.inf)).any(1),
        f"an opacity {finite}": g.logit_opacities.isnan(),
        "a size beyond reason": (g.log_scales > _LOG_SCALES[1]).any(1),
        "a place beyond reason": (g.means.abs() > _PLACE).any(1),
        "a colour beyond reason": (g.sh.abs() > _SH).flatten(1).any(1),
    }
    count, kept, said = g.num_gaussians, torch.ones(g.num_gaussians, dtype=torch.bool), {}
    for fault, rows in {**faults, **(unwanted or {})}.items():
        if new := int((rows & kept).sum()):
            said[fault] = new
        kept &= ~rows
    broken = {fault: number for fault, number in said.items() if fault in faults}
    if sum(broken.values()) > max(_SHARE * count, min(_FEW, count / 10)):
        what = " and ".join(f"{number} Gaussians with {fault}" for fault, number in broken.items())
        raise AvatarError(f"{path} holds {what}, of {count}; export it again")
    g, unturned = _bounded(g.chosen(kept) if said else g)
    notes = []
    if said:
        what = ", ".join(f"{number} with {fault}" for fault, number in said.items())
        notes.append(f"{sum(said.values())} of {count} Gaussians left out ({what})")
    if unturned:
        notes.append(f"{unturned} Gaussians without an orientation left unturned")
    return g, kept, "; ".join(notes)


def _bounded(g: Gaussians) -> tuple[Gaussians, int]:
    """Infinities and lengths that arithmetic cannot use become the nearest that it can.

    Also gives how many have no orientation where it matters.
    """
    length = g.quats.double().norm(dim=1, keepdim=True)
    none = (length == 0)[:, 0]
    round_ = (g.log_scales == g.log_scales[:, :1]).all(1)
    unit = torch.where(length > 0, g.quats / length, torch.tensor([1.0, 0.0, 0.0, 0.0])).float()
    usable = (length > 1e-3) & (length < 1e3)
    bounded = replace(
        g,
        quats=torch.where(usable, g.quats, unit),
        log_scales=g.log_scales.clamp_min(_LOG_SCALES[0]),
        logit_opacities=g.logit_opacities.clamp(-_LOGIT, _LOGIT),
    )
    return bounded, int((none & ~round_).sum())
