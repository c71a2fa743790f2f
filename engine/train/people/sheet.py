"""A sheet of faces and views that nobody trained on: path-traced left, the avatar right, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engine.contact_sheet import EXPRESSIONS, jpeg_bytes, png_bytes
from engine.errors import UsageError
from engine.train.people.dataset import dataset_of
from engine.train.results.evaluate import drawn_as_played
from engine.train.results.metrics import measure
from render.avatars.file import load_avatar, write_atomically
from render.making.items import Assets
from render.making.people.person import Person
from render.making.people.scene.model import PersonModel
from render.making.people.scene.renders import Renders
from render.making.people.scene.shooting import Planned, camera, take
from render.making.people.shoot import Shoot, Start

YAWS_DEG = (-60, -25, 0, 25, 60)
_GREY = (0.62, 0.64, 0.67)


def make_sheet(
    person: Person,
    avatar: Path,
    output: Path,
    pictures: Path,
    *,
    size: int,
    makehuman: Path | None,
    blender: Path | None,
) -> str:
    """Write the sheet and return its figures; what the folder `pictures` has is not drawn again.

    Of a face that acts only the face is path-traced: around it lies the picture at rest. Raises what can be
    mended.
    """
    if output.suffix.lower() not in (".png", ".jpg"):
        raise UsageError(f"-o {output}: the name must end in .png or .jpg")
    draw, grey = drawn_as_played(load_avatar(avatar)), torch.tensor(_GREY)
    model = PersonModel(person, Assets.open(makehuman))
    planned = [
        Planned(weights, camera(model, yaw, 0, size), held_out=True)
        for weights in EXPRESSIONS.values()
        for yaw in YAWS_DEG
    ]
    with Renders(pictures, blender) as drawn:
        shots = take(model, drawn, planned)
    views = dataset_of(Shoot(pictures, person.name, model.person.shape, tuple(shots), Start({}))).views
    at_rest = [view.read().over(grey) for view in views[: len(YAWS_DEG)]]
    rows, figures = [], []
    for first in range(0, len(views), len(YAWS_DEG)):
        row = []
        for column, view in enumerate(views[first : first + len(YAWS_DEG)]):
            left, top, width, height = shots[first + column].border or (0, 0, size, size)
            part = (slice(top, top + height), slice(left, left + width))
            truth, picture = at_rest[column].clone(), view.read()
            truth[part] = picture.over(grey)
            played = draw(replace(view, camera=views[column].camera), grey)
            figures.append(measure(played[part], truth[part], picture.mask))
            row += [truth, played]
        rows.append(torch.cat(row, 1))
    pixels = (torch.cat(rows).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    data = png_bytes(pixels) if output.suffix.lower() == ".png" else jpeg_bytes(pixels)
    write_atomically(output, lambda temporary: Path(temporary).write_bytes(data))
    decibels = np.array([figure.masked_psnr for figure in figures])
    worst = int(decibels.argmin())
    face, yaw = list(EXPRESSIONS)[worst // len(YAWS_DEG)], YAWS_DEG[worst % len(YAWS_DEG)]
    sharpness = np.mean([figure.sharpness for figure in figures])
    return (
        f"{output}: {len(EXPRESSIONS)} faces x {len(YAWS_DEG)} views, path-traced left, the avatar right\n"
        f"person PSNR {decibels.mean():.2f} dB, sharpness {sharpness:.2f}; "
        f"worst {face!r} at yaw {yaw}: {decibels[worst]:.2f} dB"
    )
