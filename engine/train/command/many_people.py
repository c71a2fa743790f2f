"""The commands of a method that learns from many people: `fit` makes a network, `apply` an avatar."""

from __future__ import annotations

import argparse
import importlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.train.command.arguments import (
    add_avatar_arguments,
    add_device_argument,
    add_run_arguments,
    avatar_info,
    check_avatar_arguments,
    check_data,
    check_run_arguments,
    settings_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every such method asks, as two commands of its own."""
    steps = parser.add_subparsers(dest="step", metavar="fit|apply", required=True)
    fit = steps.add_parser("fit", help="train the network on many people's datasets", allow_abbrev=False)
    fit.add_argument(
        "data", metavar="DATA", type=Path, nargs="+", help="folders that `visavis train prepare` made"
    )
    fit.add_argument(
        "-o", "--output", metavar="OUT.network", type=Path, required=True, help="the file to write"
    )
    add_run_arguments(fit, "writing the network")
    fit.add_argument(
        "--shard",
        action="store_true",
        help="spread the network over the processes, where one GPU cannot hold a copy",
    )
    apply = steps.add_parser("apply", help="make an avatar of a person's pictures", allow_abbrev=False)
    apply.add_argument("data", metavar="DATA", type=Path, help="the folder `visavis train prepare` made")
    apply.add_argument("--network", metavar="FILE", type=Path, required=True, help="what `fit` wrote")
    add_avatar_arguments(apply)
    add_device_argument(apply)
    apply.add_argument("--no-calibrate", action="store_true", help="skip the calibration to the detector")


def run(args: argparse.Namespace, module: str) -> int:
    """`module` has `Config` and `build` as engine/train/many/generalist.py wants them."""
    print(_fit(args, module) if args.step == "fit" else _apply(args, module), end="")
    return 0


def _fit(args: argparse.Namespace, module: str) -> str:
    from transport.files.mp4_writer import check_writable

    started = time.perf_counter()
    check_writable(args.output)
    check_run_arguments(args)
    for folder in args.data:
        check_data(folder)
    import torch

    from engine.train.command.machine import chosen_device, threads_per_process
    from engine.train.loop.config import flatten
    from engine.train.loop.distributed import joined_ranks
    from engine.train.loop.random_state import RandomState
    from engine.train.many.fitting import Fitting
    from engine.train.many.network_file import save_network
    from engine.train.many.people import StoredPeople
    from engine.train.results.monitor import Monitor
    from engine.train.results.pipeline import release

    method_module = importlib.import_module(module)
    checkpoint = args.output.with_suffix(".checkpoint")
    if checkpoint.exists() and not args.output.exists() and not args.resume:
        raise UsageError(f"{checkpoint} holds an unfinished training; go on with --resume, or delete it")
    device = chosen_device(args.device)
    sections = settings_of(args, method_module.Config(), {}, checkpoint / "last" / "run")
    torch.set_num_threads(threads_per_process())
    with joined_ranks(device) as ranks:
        RandomState(sections["trainer"].seed)  # what the network's first values are drawn from
        method = method_module.build(StoredPeople(args.data), sections[args.action], device)
        monitor = Monitor(None, sections["trainer"].preview_seconds)
        fitting = Fitting(
            method,
            sections["trainer"],
            checkpoint,
            shard=args.shard,
            ranks=ranks,
            config_record=flatten(sections),
            budget_s=None if args.budget is None else 60 * args.budget,
            started=started,
            observe=monitor,
            say=monitor.say,
        )
        if args.resume:
            fitting.resume()
        with monitor:
            fitting.run()
        provenance = f"fitted by visavis {release()}, method {method.name}, to {len(args.data)} people"
        record = flatten({args.action: sections[args.action]})
        save_network(args.output, args.action, record, provenance, method.network, ranks)
    return f"{args.output}: a network of {method.name}\n" if ranks.first else ""


def _apply(args: argparse.Namespace, module: str) -> str:
    check_avatar_arguments(args)
    check_data(args.data)
    import torch

    from engine.train.command.machine import chosen_device, threads_per_process
    from engine.train.data.dataset import read_dataset
    from engine.train.loop.config import changed
    from engine.train.many.network_file import load_network
    from render.avatars.file import save_avatar

    stored = load_network(args.network, args.action)
    method_module = importlib.import_module(module)
    config: Any = changed({args.action: method_module.Config()}, stored.config)[args.action]
    torch.set_num_threads(threads_per_process())
    method = method_module.build((), config, chosen_device(args.device))
    try:
        method.network.load_state_dict(stored.tensors)
    except RuntimeError as error:
        raise UsageError(f"{args.network} does not hold this version's network whole") from error
    person = read_dataset(args.data)
    if not person.of("train"):
        raise UsageError(f"{args.data} has no picture to look at; prepare it again")
    with torch.no_grad():
        avatar = method.apply(person)
    info = replace(
        avatar_info(args), provenance=f"{stored.provenance}, applied to {person.name or args.data}"
    )
    avatar = avatar.replace(info=info, rig_reference=person.rig_reference).to("cpu")
    if not args.no_calibrate:
        from engine.calibrate import calibrated_if_seen

        avatar = calibrated_if_seen(avatar, "made, but not calibrated to the face detector")
    save_avatar(avatar, args.output)
    return (
        f"{args.output}: {avatar.gaussians.num_gaussians} Gaussians on a {avatar.rig.kind} rig\n"
        f"play it: visavis live --avatar {args.output}\n"
    )
