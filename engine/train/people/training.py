"""From a shoot to the avatar of a built-in person: the quick method on exact motion."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from dataclasses import replace

import torch

from engine.errors import UsageError
from engine.progress import Bars
from engine.train.command.arguments import check_run_arguments, settings_of
from engine.train.command.machine import chosen_device
from engine.train.data.seeds import Seeds
from engine.train.loop.checkpoint import read_checkpoint
from engine.train.loop.config import flatten, refuse_other_config
from engine.train.loop.distributed import Ranks
from engine.train.loop.random_state import RandomState
from engine.train.people.binding import strays_rebound
from engine.train.people.dataset import dataset_of
from engine.train.people.seeding import sow
from engine.train.results.metrics import check_installed
from engine.train.results.pipeline import Order, Output, train_avatar
from render.avatars.avatar import AvatarInfo
from render.avatars.framing import Framing
from render.making.people.builtin import CAST
from render.making.people.shoot import read_shoot
from transport.files.mp4_writer import check_writable

METHOD = "quick"
_MODULE = "engine.train.methods.quick.method"
# The usual view, from just above the hair to the shoulders, through the 20 degree portrait lens.
_PICTURE_M, _MARGIN_M, _FOV_DEG = 0.36, 0.03, 20.0
_FEWEST = 1000  # Gaussians that make a head


def train_person(args: argparse.Namespace, count: int) -> str:
    """Train, write the avatar with its report, and return the lines to print. Raises what can be mended.

    `count` is how many Gaussians to begin with where neither the command nor a checkpoint says.
    """
    started = time.perf_counter()
    count = check_arguments(args, count)
    output, module = Output(args.output), importlib.import_module(_MODULE)
    device = chosen_device(args.device)
    # Our kernels share the cores out by themselves; torch's part of a step is many small operations, which
    # on two threads gain a tenth where nothing else runs and lose half where the next person is rendered.
    torch.set_num_threads(1)
    named = argparse.Namespace(**{**vars(args), "action": METHOD})  # settings go by the method's name
    sections = settings_of(named, module.Config(), {}, output.checkpoint)
    kept = read_checkpoint(output.checkpoint)["config"] if args.resume else {}
    if args.count is None:
        count = int(kept.get("count", count))
    record = {**flatten(sections), "count": count}
    if args.resume:
        refuse_other_config(output.checkpoint, kept, record)  # sowing takes most of a minute
    shoot = read_shoot(args.shoot)
    dataset = dataset_of(shoot)
    if not dataset.of("train"):
        raise UsageError(f"{args.shoot} holds out every shot, there is nothing to learn from")
    seeds = sow(dataset, shoot.start, count, sections["trainer"].seed)
    counts = f"{len(dataset.of('train'))} pictures to learn from, {len(dataset.of('test'))} held out"
    print(f"people: {shoot.name}: {counts}, {seeds.num_seeds} Gaussians to begin with", file=sys.stderr)
    dataset = replace(dataset, seeds=seeds)
    RandomState(sections["trainer"].seed)
    with Bars() as bars:
        method = module.build(dataset, sections[METHOD], device, resumes=args.resume, over=bars.over)
    order = Order(
        output=output,
        info=AvatarInfo(
            name=shoot.name,
            licence="CC0-1.0",
            consent="nobody's likeness: this person does not exist",
            provenance=_made_of(shoot.name),
        ),
        config=sections["trainer"],
        config_record=record,
        budget_s=None if args.budget is None else 60 * args.budget,
        resume=args.resume,
        calibrate=not args.no_calibrate,
        compact=True,
        finish=lambda avatar: strays_rebound(avatar, seeds).replace(framing=_portrait(seeds)),
        started=started,
    )
    return train_avatar(method, dataset, order, Ranks()) or ""


def _made_of(name: str) -> str:
    """Who that is, and what the pictures are of."""
    scene = "path-traced by Blender's Cycles from MakeHuman's data (CC0 1.0)"
    return f"{CAST[name].summary}; {scene}" if name in CAST else scene


def check_arguments(args: argparse.Namespace, count: int) -> int:
    """How many Gaussians to begin with; what would fail after an hour is refused at once.

    Raises UsageError and OutputError.
    """
    if args.output.suffix != ".avatar":
        raise UsageError(f"-o {args.output}: the name must end in .avatar")
    count = count if args.count is None else args.count
    if count < _FEWEST:
        raise UsageError(f"--count {count}: a head takes {_FEWEST} Gaussians and more")
    check_writable(args.output)
    check_run_arguments(args)
    check_installed()
    output = Output(args.output)
    if not args.resume and output.is_unfinished():
        raise UsageError(
            f"{output.checkpoint} holds an unfinished training; go on with --resume, or delete it"
        )
    return count


def _portrait(seeds: Seeds) -> Framing:
    """From just above the hair down, the face in the middle."""
    top = float(seeds.gaussians.means[:, 1].quantile(0.9995)) + _MARGIN_M
    distance = 0.5 * _PICTURE_M / math.tan(math.radians(_FOV_DEG) / 2)
    return Framing((0.0, top - _PICTURE_M / 2, 0.0), distance, _FOV_DEG)
