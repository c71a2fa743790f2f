"""`visavis train sage`."""

from __future__ import annotations

import argparse

from engine.train.command import one_person

SUMMARY = "a head avatar of Gaussian surfels guided by a signed distance field"

DESCRIPTION = """\
Train a head avatar on what `visavis train prepare` made.

While it runs it keeps OUT.checkpoint and OUT.preview.png (a held-out picture beside its render) up to date.
Ctrl-C stops it between two steps; the same command with --resume goes on exactly where it was.
At the end: OUT.avatar, OUT.report.html and OUT.report.json."""

EXAMPLES = """\
examples:
  visavis train sage me.data -o me.avatar --budget 30 --consent "my own face, for my own calls"
  visavis train sage me.data -o me.avatar --budget 30 --consent "my own face, for my own calls" --resume
  visavis train sage capture.data -o her.avatar --regime multiview --device cuda --consent "Ann Lee agreed to
      be in our study, letter of 2026-10-02" --licence "research only"
  torchrun --nproc-per-node 4 -m engine.cli train sage capture.data -o her.avatar ...    four GPUs"""

REGIMES = ("multiview", "monocular", "oneshot")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--regime",
        choices=REGIMES,
        help="what the data are: many cameras at one moment, one camera and a turning head, or one picture "
        "(default: monocular)",
    )
    one_person.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    own = {} if args.regime is None else {"regime": args.regime}
    return one_person.run(args, "engine.train.methods.sage.method", own)
