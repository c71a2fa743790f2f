"""Train an avatar of a person from a video, pictures or a multi-camera capture.

Three commands from a film of yourself to a live avatar:

  visavis train prepare me.mp4 -o me.data
  visavis train sage me.data -o me.avatar --budget 30 --consent "my own face, for my own calls"
  visavis live --avatar me.avatar --open

Film yourself with any camera app: docs/train.md says how. Only train on people who agreed to it.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError

if TYPE_CHECKING:
    import torch

# name: (module with Config and build, as engine/train/loop/phase.py has it, one line for --help)
METHODS = {
    "sage": (
        "engine.train.methods.sage.method",
        "a head avatar of Gaussian surfels guided by a signed distance field",
    ),
}
REGIMES = ("multiview", "monocular", "oneshot")

PREPARE_HELP = """\
Make a dataset to train on: find the face in every picture, fit the built-in head to it, cut the person out.

Every frame's pose is first fitted to landmarks, then aligned with the other frames by the pictures.
A capture is a folder with transforms.json, or transforms_train.json and _val or _test beside it, as NeRF,
INSTA and GaussianAvatars lay them out: pictures, known cameras, and FLAME's parameters where it was fitted.
Of films and pictures, look at DATA/quality.html before you train: what was found, what to film better."""

PREPARE_EXAMPLES = """\
examples:
  visavis train prepare me.mp4 -o me.data                  a film of a turning, talking head
  visavis train prepare me.mp4 -o me.data --size 256 --fps 10
  visavis train prepare me.jpg -o me.data                  one picture, for --regime oneshot
  visavis train prepare CAPTURE -o her.data                a folder with transforms.json: known cameras"""

SAGE_HELP = """\
Train a head avatar on what `visavis train prepare` made.

While it runs it keeps OUT.checkpoint and OUT.preview.png (a held-out picture beside its render) up to date.
Ctrl-C stops it between two steps; the same command with --resume goes on exactly where it was.
At the end: OUT.avatar, OUT.report.html and OUT.report.json."""

SAGE_EXAMPLES = """\
examples:
  visavis train sage me.data -o me.avatar --budget 30 --consent "my own face, for my own calls"
  visavis train sage me.data -o me.avatar --budget 30 --consent "my own face, for my own calls" --resume
  visavis train sage capture.data -o her.avatar --regime multiview --device cuda --consent "Ann Lee agreed to
      be in our study, letter of 2026-10-02" --licence "research only"
  torchrun --nproc-per-node 4 -m engine.cli train sage capture.data -o her.avatar ...    four GPUs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="|".join(("prepare", *METHODS)), required=True)
    prepare = actions.add_parser(
        "prepare",
        help="find the person in a film, pictures or a capture, and write a dataset",
        description=PREPARE_HELP,
        epilog=PREPARE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_prepare_arguments(prepare)
    sage = actions.add_parser(
        "sage",
        help=METHODS["sage"][1],
        description=SAGE_HELP,
        epilog=SAGE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    sage.add_argument(
        "--regime",
        choices=REGIMES,
        help="what the data are: many cameras at one moment, one camera and a turning head, or one picture "
        "(default: monocular)",
    )
    _add_training_arguments(sage)


def _add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="one film, pictures, or a capture's folder"
    )
    parser.add_argument("-o", "--output", metavar="DATA", type=Path, required=True, help="the folder to make")
    parser.add_argument("--size", metavar="PIXELS", type=int, help="side of the pictures (default 512)")
    parser.add_argument("--every", metavar="N", type=int, help="take each N-th frame of a film (default 1)")
    parser.add_argument("--fps", type=float, help="take at most this many frames a second of a film")
    parser.add_argument("--max-frames", metavar="N", type=int, help="take no more than N")
    parser.add_argument(
        "--test-fraction",
        metavar="SHARE",
        type=float,
        help="of the film's end, held out to measure the avatar on (default 0.2)",
    )


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", type=Path, help="the folder `visavis train prepare` made")
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
    parser.add_argument(
        "--budget",
        metavar="MINUTES",
        type=float,
        help="finish within this time, baking and report included (default: all steps)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--seed", type=int, help="another seed, another run (default 0)")
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="settings, as the report lists them")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, over --config; repeatable",
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT.checkpoint")
    parser.add_argument(
        "--lpips",
        metavar="FILE",
        type=Path,
        help="VGG-16 or AlexNet weights of torchvision, to measure LPIPS",
    )
    parser.add_argument("--no-calibrate", action="store_true", help="skip the calibration to the detector")


def run(args: argparse.Namespace) -> int:
    # Threads of OpenMP that spin between two operations take the cores from the renderer's own threads:
    # a step takes twice the processor time. Read once, when torch loads, which it does from here on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return _prepare(args) if args.action == "prepare" else _train(args)


def _prepare(args: argparse.Namespace) -> int:
    from engine.progress import Bars
    from engine.train.prepare.prepare import PrepareOptions, prepare

    given = {name: getattr(args, name) for name in ("size", "every", "fps", "max_frames", "test_fraction")}
    options = PrepareOptions(**{name: value for name, value in given.items() if value is not None})
    with Bars() as bars:
        prepared = prepare(args.inputs, args.output, options, bars)
    for warning in prepared.warnings:
        print(f"visavis: {warning}", file=sys.stderr)
    print(prepared.summary)
    print(
        f"train on it: visavis train sage {args.output} -o {args.output.with_suffix('.avatar')} --budget 30 "
        '--consent "whose face, and what they agreed to"'
    )
    return 0


def _train(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    _check(args)
    import torch

    from engine.progress import Bars
    from engine.train.data.dataset import read_dataset
    from engine.train.loop.config import changed, flatten
    from engine.train.loop.distributed import joined_ranks
    from engine.train.loop.over import unshown
    from engine.train.loop.random_state import RandomState
    from engine.train.loop.trainer import TrainerConfig
    from engine.train.losses.lpips import Lpips
    from engine.train.results.metrics import check_installed
    from engine.train.results.pipeline import Order, Output, train_avatar
    from render.avatars.avatar import AvatarInfo

    check_installed()
    output = Output(args.output)
    module = importlib.import_module(METHODS[args.action][0])
    device = _device(args.device)
    sections = {"trainer": TrainerConfig(), args.action: module.Config()}
    settings = _explicit_settings(args, flatten(sections))
    if args.resume:
        settings = {**_stored_settings(output, sections), **settings}
    sections = changed(sections, settings)
    lpips = None if args.lpips is None else Lpips(args.lpips)
    torch.set_num_threads(_threads_per_process())
    with joined_ranks(device) as ranks:
        if ranks.first and not args.resume and output.is_unfinished():
            raise UsageError(
                f"{output.checkpoint} holds an unfinished training; go on with --resume, or delete it"
            )
        dataset = read_dataset(args.data)
        if not dataset.of("train"):
            raise UsageError(f"{args.data} has no picture to train on; prepare it again")
        if ranks.first:
            counts = f"{len(dataset.of('train'))} pictures to learn from, {len(dataset.of('test'))} held out"
            print(f"visavis: {args.data}: {counts}; setting up {args.action} on {device}", file=sys.stderr)
        RandomState(sections["trainer"].seed)  # what the method draws when it is built
        with Bars() as bars:
            method = module.build(
                dataset,
                sections[args.action],
                device,
                resumes=args.resume,
                over=bars.over if ranks.first else unshown,
            )
        order = Order(
            output=output,
            info=AvatarInfo(
                name=args.name or args.output.stem,
                licence=args.licence,
                consent=args.consent.strip(),
                created=time.strftime("%Y-%m-%d"),
            ),
            config=sections["trainer"],
            config_record=flatten(sections),
            budget_s=None if args.budget is None else 60 * args.budget,
            resume=args.resume,
            calibrate=not args.no_calibrate,
            lpips=lpips,
            started=started,
        )
        result = train_avatar(method, dataset, order, ranks)
    if result is not None:
        print(result)
    return 0


def _check(args: argparse.Namespace) -> None:
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
    if not args.data.is_dir():
        raise UsageError(
            f"{args.data} is no folder; make one with `visavis train prepare me.mp4 -o {args.data}`"
        )
    if args.budget is not None and not (math.isfinite(args.budget) and args.budget > 0):
        raise UsageError(f"--budget {args.budget:g}: give minutes, such as 30")


def _explicit_settings(args: argparse.Namespace, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line says, by dotted key: file, then --set, then the options of their own."""
    from engine.train.loop.config import parse_assignments, read_toml

    settings = {} if args.config is None else read_toml(args.config)
    settings |= parse_assignments(args.set)
    if args.seed is not None:
        settings |= {key: args.seed for key in ("trainer.seed", f"{args.action}.seed") if key in known}
    if args.regime is not None:
        settings[f"{args.action}.regime"] = args.regime
    return settings


def _stored_settings(output: Any, sections: dict[str, Any]) -> dict[str, Any]:
    """The settings a training began with, so that --resume need not repeat them."""
    from engine.train.loop.checkpoint import read_checkpoint
    from engine.train.loop.config import flatten

    stored = read_checkpoint(output.checkpoint)["config"]
    return {key: value for key, value in stored.items() if key in flatten(sections)}


def _device(name: str) -> torch.device:
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch sees no GPU; use --device cpu, or install a CUDA build of torch"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _threads_per_process() -> int:
    """All cores: the one thread that the command line leaves to maths is for jobs that share them out."""
    from render.cpu.renderer import usable_cores

    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
