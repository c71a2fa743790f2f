"""The command of a method that trains an avatar of one person: DATA in, OUT.avatar out."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.train.command.arguments import (
    add_avatar_arguments,
    add_run_arguments,
    avatar_info,
    check_avatar_arguments,
    check_data,
    check_run_arguments,
    settings_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every such method asks."""
    parser.add_argument("data", metavar="DATA", type=Path, help="the folder `visavis train prepare` made")
    add_avatar_arguments(parser)
    add_run_arguments(parser, "baking and report")
    parser.add_argument(
        "--lpips",
        metavar="FILE",
        type=Path,
        help="VGG-16 or AlexNet weights of torchvision, to measure LPIPS",
    )
    parser.add_argument("--no-calibrate", action="store_true", help="skip the calibration to the detector")


def run(args: argparse.Namespace, module: str, own: Mapping[str, Any]) -> int:
    """Train and write the avatar with its report.

    `module` has `Config` and `build` as engine/train/loop/phase.py wants them; `own` are settings that the
    method's own options gave, by their names in `Config`.
    """
    started = time.perf_counter()
    check_avatar_arguments(args)
    check_data(args.data)
    check_run_arguments(args)
    import torch

    from engine.progress import Bars, unshown
    from engine.train.command.machine import chosen_device, threads_per_process
    from engine.train.data.dataset import read_dataset
    from engine.train.loop.config import flatten
    from engine.train.loop.distributed import joined_ranks
    from engine.train.loop.random_state import RandomState
    from engine.train.losses.lpips import Lpips
    from engine.train.results.metrics import check_installed
    from engine.train.results.pipeline import Order, Output, train_avatar

    check_installed()
    output, method_module = Output(args.output), importlib.import_module(module)
    device = chosen_device(args.device)
    sections = settings_of(args, method_module.Config(), own, output.checkpoint)
    lpips = None if args.lpips is None else Lpips(args.lpips)
    torch.set_num_threads(threads_per_process())
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
            method = method_module.build(
                dataset,
                sections[args.action],
                device,
                resumes=args.resume,
                over=bars.over if ranks.first else unshown,
            )
        order = Order(
            output=output,
            info=avatar_info(args),
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
