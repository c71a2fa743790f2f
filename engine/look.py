"""How the pictures look: size, background and back end, as the command line gives them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.backends import BACKENDS, open_backend
from engine.errors import UsageError
from render.avatars.library import DEFAULT_AVATAR

if TYPE_CHECKING:
    from render.drawing import Background

SIZE_LIMITS = (64, 4096)  # what every H.264 player shows
DEFAULT_BACKGROUND = "#d8dce2"
COLOURS = {"black": "#000000", "white": "#ffffff", "grey": "#808080", "green": "#00b140", "blue": "#0047bb"}


@dataclass(frozen=True)
class Look:
    """What is drawn around the avatar, and by what."""

    width: int  # pixels, even
    height: int
    background: Background  # RGB in 0..1, or a picture uint8 [height, width, 3]
    backend: str = "cpu"  # as engine.backends.open_backend takes it


def add_look_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every command with pictures has."""
    parser.add_argument(
        "--avatar",
        default=DEFAULT_AVATAR,
        metavar="A",
        help="a built-in name or an .avatar file (%(default)s)",
    )
    parser.add_argument("--size", default="512", help="side in pixels, or WIDTHxHEIGHT (%(default)s)")
    parser.add_argument(
        "--background",
        default=DEFAULT_BACKGROUND,
        metavar="COLOUR|IMAGE",
        help=f"#rrggbb, {', '.join(COLOURS)}, or a picture to fill it with (%(default)s)",
    )
    add_backend_argument(parser)


def add_backend_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="what renders (%(default)s)")


def parse_look(args: argparse.Namespace) -> Look:
    """The look that the options of `add_look_arguments` describe. Raises UsageError or SourceError."""
    width, height = parse_size(args.size)
    background = parse_background(args.background, width, height)
    check_backend(args.backend)
    return Look(width, height, background, args.backend)


def check_backend(name: str) -> None:
    """Raise UsageError at once when a back end that was named cannot run; `auto` chooses when it draws."""
    if name != "auto":
        open_backend(name)


def parse_size(text: str) -> tuple[int, int]:
    """`512` or `640x480` -> width, height in pixels, even. Raises UsageError."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--size {text}: give a side such as 512, or WIDTHxHEIGHT such as 640x480")
    width, height = int(parts[0]), int(parts[-1])
    smallest, largest = SIZE_LIMITS
    if not all(smallest <= side <= largest and side % 2 == 0 for side in (width, height)):
        raise UsageError(f"--size {text}: sides must be even and {smallest} to {largest} pixels; try 512")
    return width, height


def parse_background(text: str, width: int, height: int) -> Background:
    """A colour (`#d8dce2`, `white`), or a picture file cropped to fill. Raises UsageError or SourceError."""
    colour = COLOURS.get(text.lower(), text)
    digits = colour.removeprefix("#")
    if colour.startswith("#") and len(digits) == 6 and all(c in "0123456789abcdefABCDEF" for c in digits):
        return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    if not Path(text).is_file():
        raise UsageError(
            f"--background {text}: no such picture, and no colour; "
            f"give a picture, #rrggbb or one of {', '.join(COLOURS)}"
        )
    from capture.images import read_picture

    return _filled(read_picture(text), width, height)


def _filled(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale a picture [H, W, 3] so that it covers width x height, and cut the middle out."""
    import cv2

    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])
