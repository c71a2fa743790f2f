"""Train an avatar of a person from a video, pictures or a multi-camera capture.

Three commands from a film of yourself to a live avatar:

  visavis train prepare me.mp4 -o me.data
  visavis train METHOD me.data -o me.avatar --budget 30 --consent "my own face, for my own calls"
  visavis live --avatar me.avatar --open

Film yourself with any camera app: docs/train.md says how. Only train on people who agreed to it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from engine.person import add_person_argument, parse_person
from engine.train.methods.table import DEFAULT, METHODS, method_command

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
  visavis train prepare us.mp4 -o me.data --person left     of two people, the one at the left
  visavis train prepare me.jpg -o me.data                  one picture, for --regime oneshot
  visavis train prepare CAPTURE -o her.data                a folder with transforms.json: known cameras"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (parser.description or "").replace("METHOD", DEFAULT)
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
    for name in METHODS:
        command = method_command(name)
        method = actions.add_parser(
            name,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(method)


def _add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="one film, pictures, or a capture's folder"
    )
    parser.add_argument("-o", "--output", metavar="DATA", type=Path, required=True, help="the folder to make")
    parser.add_argument("--size", metavar="PIXELS", type=int, help="side of the pictures (default 512)")
    parser.add_argument("--every", metavar="N", type=int, help="take each N-th frame of a film (default 1)")
    parser.add_argument("--fps", type=float, help="take at most this many frames a second of a film")
    parser.add_argument("--max-frames", metavar="N", type=int, help="take no more than N")
    add_person_argument(parser)
    parser.add_argument(
        "--test-fraction",
        metavar="SHARE",
        type=float,
        help="of the film's end, held out to measure the avatar on (default 0.2)",
    )


def run(args: argparse.Namespace) -> int:
    # Threads of OpenMP that spin between two operations take the cores from the renderer's own threads:
    # a step takes twice the processor time. Read once, when torch loads, which it does from here on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return _prepare(args) if args.action == "prepare" else method_command(args.action).run(args)


def _prepare(args: argparse.Namespace) -> int:
    from engine.progress import Bars
    from engine.train.prepare.prepare import PrepareOptions, prepare

    given = {name: getattr(args, name) for name in ("size", "every", "fps", "max_frames", "test_fraction")}
    known = {name: value for name, value in given.items() if value is not None}
    options = PrepareOptions(**known, person=parse_person(args))
    with Bars() as bars:
        prepared = prepare(args.inputs, args.output, options, bars)
    for warning in prepared.warnings:
        print(f"visavis: {' '.join(warning.split())}", file=sys.stderr)
    print(prepared.summary)
    print(
        f"train on it: visavis train {DEFAULT} {args.output} -o {args.output.with_suffix('.avatar')} "
        '--budget 30 --consent "whose face, and what they agreed to"'
    )
    return 0
