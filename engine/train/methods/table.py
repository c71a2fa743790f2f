"""The methods that `visavis train` offers: each is a package beside this file and a line here."""

from __future__ import annotations

import argparse
import importlib
from typing import Protocol, cast

# name: the module of its command. It is loaded to print help, so what is heavy it imports within functions.
METHODS = {
    "sage": "engine.train.methods.sage.command",
    "quick": "engine.train.methods.quick.command",
}
DEFAULT = "sage"  # what a newcomer should train with


class MethodCommand(Protocol):
    """What a method's command module offers.

    `add_arguments` and `run` lean on engine/train/command/one_person.py or many_people.py, which know all
    that methods of one kind have in common.
    """

    SUMMARY: str  # one line, lower case
    DESCRIPTION: str  # for --help
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int:
        """The exit code; `args.action` is the method's name."""
        ...


def method_command(name: str) -> MethodCommand:
    """The command of a method in the table."""
    return cast(MethodCommand, importlib.import_module(METHODS[name]))
