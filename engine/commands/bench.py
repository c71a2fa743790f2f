"""Measure this machine: tables for people on stderr, one JSON object as the last line on stdout.

render   splatting, per renderer, avatar and number of cores
track    detection and solving per frame
encode   the recorder: time, size and quality
record   a whole `visavis record`, tracking and encoding included
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from engine.report import write_json
from transport.recorder import check_writable

# Each has measure() -> dict and table(result) -> str for people. Loaded by name: no import of `bench`.
BENCHES = {
    "render": "bench.render",
    "track": "bench.track",
    "encode": "bench.encode",
    "record": "bench.record",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  visavis bench render\n  visavis bench all --json figures.json"
    parser.add_argument("what", nargs="?", default="all", choices=["all", *BENCHES], help="(%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write the JSON object to a file")


def run(args: argparse.Namespace) -> int:
    if args.json is not None:
        check_writable(args.json)
    results = {}
    for name in BENCHES if args.what == "all" else [args.what]:
        module = importlib.import_module(BENCHES[name])
        results[name] = module.measure()
        print(f"{name}\n{module.table(results[name])}\n", file=sys.stderr)
    result = results if args.what == "all" else results[args.what]
    if args.json is not None:
        write_json(args.json, result)
    print(json.dumps(result))
    return 0
