"""Command-line arguments that training methods have in common, and what they mean. Cheap to import."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError

if TYPE_CHECKING:
    from render.avatars.avatar import AvatarInfo


def add_avatar_arguments(parser: argparse.ArgumentParser) -> None:
    """What an avatar file says of itself."""
    parser.add_argument(
        "-o", "--output", metavar="OUT.avatar", type=Path, required=True, help="the avatar file to write"
    )
    parser.add_argument(
        "--consent",
        metavar="TEXT",
        required=True,
        help="whose likeness it is and what that person agreed to; travels inside the avatar",
    )
    parser.add_argument("--name", help="the avatar's name (default: the file's)")
    parser.add_argument("--licence", metavar="TEXT", default="", help="how the avatar may be used")


def add_run_arguments(parser: argparse.ArgumentParser, finish: str) -> None:
    """How long, where and with which settings to train; `finish`: what a budget includes."""
    parser.add_argument(
        "--budget",
        metavar="MINUTES",
        type=float,
        help=f"finish within this time, {finish} included (default: all steps)",
    )
    add_device_argument(parser)
    parser.add_argument("--seed", type=int, help="another seed, another run (default 0)")
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="settings, as the report lists them")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, over --config; repeatable",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the output")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: a GPU if there is one)")


def check_avatar_arguments(args: argparse.Namespace) -> None:
    """Refuse at once what would fail after an hour. Raises UsageError or OutputError."""
    from transport.files.mp4_writer import check_writable

    if args.output.suffix != ".avatar":
        raise UsageError(f"-o {args.output}: the name must end in .avatar")
    check_writable(args.output)
    if not args.consent.strip():
        raise UsageError(
            "--consent is empty; say whose likeness it is and what that person agreed to, "
            'such as --consent "my own face, for my own calls"'
        )


def check_data(folder: Path) -> None:
    """Raises UsageError where there is no dataset's folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; make one with `visavis train prepare me.mp4 -o {folder}`")


def check_run_arguments(args: argparse.Namespace) -> None:
    """Raises UsageError."""
    if args.budget is not None and not (math.isfinite(args.budget) and args.budget > 0):
        raise UsageError(f"--budget {args.budget:g}: give minutes, such as 30")


def avatar_info(args: argparse.Namespace) -> AvatarInfo:
    """The avatar's record of itself, less where it comes from."""
    from render.avatars.avatar import AvatarInfo

    return AvatarInfo(
        name=args.name or args.output.stem,
        licence=args.licence,
        consent=args.consent.strip(),
        created=time.strftime("%Y-%m-%d"),
    )


def settings_of(
    args: argparse.Namespace, method_config: Any, own: Mapping[str, Any], checkpoint: Path
) -> dict[str, Any]:
    """The trainer's and the method's settings, as `trainer` and the method's name.

    From weak to strong: defaults, with --resume those that the checkpoint began with (so that nothing need be
    repeated), the file, --set, --seed, and the method's `own` options. Raises UsageError.
    """
    from engine.train.loop.checkpoint import read_checkpoint
    from engine.train.loop.config import changed, flatten, parse_assignments, read_toml
    from engine.train.loop.trainer import TrainerConfig

    sections = {"trainer": TrainerConfig(), args.action: method_config}
    known = flatten(sections)
    settings = {} if args.config is None else read_toml(args.config)
    settings |= parse_assignments(args.set)
    if args.seed is not None:
        settings |= {key: args.seed for key in ("trainer.seed", f"{args.action}.seed") if key in known}
    settings |= {f"{args.action}.{name}": value for name, value in own.items()}
    if args.resume:
        stored = read_checkpoint(checkpoint)["config"]
        settings = {key: value for key, value in stored.items() if key in known} | settings
    return changed(sections, settings)
