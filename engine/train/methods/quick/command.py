"""`visavis train quick`."""

from __future__ import annotations

import argparse

from engine.train.command import one_person

SUMMARY = "Gaussians on the rig with a few learned bases, coarse to fine"

DESCRIPTION = """\
Train a head avatar on what `visavis train prepare` made: Gaussians on the rig's triangles, and bases of what
expressions change of them. No field and no second phase; what is trained is what plays.

While it runs it keeps OUT.checkpoint and OUT.preview.png (a held-out picture beside its render) up to date.
Ctrl-C stops it between two steps; the same command with --resume goes on exactly where it was.
At the end: OUT.avatar, OUT.report.html and OUT.report.json."""

EXAMPLES = """\
examples:
  visavis train quick me.data -o me.avatar --budget 10 --consent "my own face, for my own calls"
  visavis train quick capture.data -o her.avatar --set quick.rows=20 --consent "Ann Lee agreed to be in our
      study, letter of 2026-10-02" """


def add_arguments(parser: argparse.ArgumentParser) -> None:
    one_person.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return one_person.run(args, "engine.train.methods.quick.method", {})
