"""How like the truth a finished avatar is: figures of every picture, and a sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from engine.contact_sheet import png_bytes
from engine.train.data.views import View
from engine.train.people.dataset import dataset_of
from engine.train.results.evaluate import WHITE, Draw, Frame, drawn_as_played, evaluate, means
from render.avatars.file import load_avatar, write_atomically
from render.making.people.shoot import read_shoot

_CELLS = 24  # pictures of a sheet at most: of each kind the worst, the middle and some between
_ROW = 4  # pairs in a row
_FIGURES = {
    "masked_psnr": "PSNR person dB",
    "sharpness": "sharpness",
    "masked_ssim": "SSIM person",
    "psnr": "PSNR dB",
}


def look_at(shoot: Path, avatar: Path, sheet: Path | None, *, everything: bool = False) -> str:
    """Figures of the held-out pictures (or of all) as lines; the sheet has truth left, avatar right.

    `PSNR person` counts every pixel by how much of it is the person; sharpness is the gradient energy of the
    avatar's pixels there over the truth's. Raises what can be mended.
    """
    dataset = dataset_of(read_shoot(shoot))
    draw = drawn_as_played(load_avatar(avatar))
    kinds = _kinds(dataset.of("test"))
    if everything:
        kinds |= {f"trained {name}": views for name, views in _kinds(dataset.of("train")).items()}
    lines, chosen = [], []
    for kind, views in kinds.items():
        if not views:
            continue
        frames = evaluate(draw, views)
        average = means(frames)
        figures = ", ".join(f"{label} {average[name]:.3f}" for name, label in _FIGURES.items())
        worst = min(frames, key=lambda frame: frame.quality.masked_psnr)
        lines.append(
            f"{kind}, {len(frames)} pictures: {figures}; "
            f"worst {worst.name} at {worst.quality.masked_psnr:.2f} dB"
        )
        chosen += _worth_showing(views, frames, _CELLS // len(kinds))
    if sheet is not None:
        picture = _sheet(chosen, draw)
        write_atomically(sheet, lambda temporary: Path(temporary).write_bytes(png_bytes(picture)))
        lines.append(f"{sheet}: truth left, avatar right; of each kind from the worst to the best")
    return "\n".join(lines)


def _kinds(views: Sequence[View]) -> dict[str, list[View]]:
    """Those at rest, those that act, and those whose head has turned."""
    acting = [view for view in views if view.params.expression.any()]
    still = [view for view in views if not view.params.expression.any()]
    at_rest = [view for view in still if view.time_index == 0]
    turned = [view for view in still if view.time_index != 0]
    return {"rest": at_rest, "expressions": acting, "neck and clothes, turned": turned}


def _worth_showing(views: Sequence[View], frames: Sequence[Frame], count: int) -> list[View]:
    """Some views, the worst first, evenly to the best."""
    order = np.argsort([frame.quality.masked_psnr for frame in frames])
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return [views[order[place]] for place in places]


def _sheet(views: Sequence[View], draw: Draw) -> np.ndarray:
    """uint8 [H, W, 3], pairs of truth and avatar, each row as high as its highest."""
    white = torch.tensor(WHITE)
    rows = []
    for first in range(0, len(views), _ROW):
        row = views[first : first + _ROW]
        cells = [torch.cat([view.read().over(white), draw(view, white).cpu().clamp(0, 1)], 1) for view in row]
        rows.append([(cell * 255).round().to(torch.uint8).numpy() for cell in cells])
    height = sum(max(cell.shape[0] for cell in row) for row in rows)
    width = max(sum(cell.shape[1] for cell in row) for row in rows)
    sheet, top = np.full((height, width, 3), 255, np.uint8), 0
    for row_of_cells in rows:
        left = 0
        for cell in row_of_cells:
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
            left += cell.shape[1]
        top += max(cell.shape[0] for cell in row_of_cells)
    return sheet
