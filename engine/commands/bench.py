"""Measure this machine: tables for people on stderr, one JSON object as the last line on stdout.

render   posing and splatting: on the processor, or with CUDA beside gsplat
track    detecting a face and driving an avatar with it: time per frame, jitter of a still face
encode   the recorder: time, size and quality
start    `visavis demo`: from the command to the page and to the first picture
record   a whole `visavis record`, tracking and encoding included
live     `visavis live` watched by a headless Chromium: frames shown and latency to the display (two minutes)

not part of `all`, because they take long:
faults   `visavis live` on bad links, with bad viewers, its parts unplugged and killed (five minutes; root)
soak     `visavis live` for twenty minutes: memory, threads, files and latency
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any

from engine.backends import open_backend
from engine.errors import UsageError
from engine.look import add_backend_argument
from engine.report import write_json
from transport.files.mp4_writer import check_writable

# Each has measure() -> dict and table(result) -> str for people. Loaded by name: no import of `bench`.
# Those of DRAWING take `backend`, the name of the back end to draw with.
BENCHES = {
    "render": "bench.render",
    "track": "bench.track",
    "encode": "bench.encode",
    "start": "bench.start",
    "record": "bench.record",
    "live": "bench.live",
    "train": "bench.train",
}
LONG = {"faults": "bench.faults", "soak": "bench.soak"}  # only when asked for by name
DRAWING = ("record", "live")
RENDERERS = {"cpu": "bench.render", "cuda": "bench.render_cuda"}  # instead of BENCHES["render"]

EXAMPLES = """\
examples:
  visavis bench render
  visavis bench render --backend cuda
  visavis bench all --json figures.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument(
        "what", nargs="?", default="all", choices=["all", *BENCHES, *LONG], help="(%(default)s)"
    )
    add_backend_argument(parser)
    parser.add_argument("--json", metavar="FILE", help="also write the JSON object to a file")


def run(args: argparse.Namespace) -> int:
    if args.json is not None:
        check_writable(args.json)
    backend = open_backend(args.backend).name
    result = _all(backend) if args.what == "all" else _measured(args.what, backend)
    if args.json is not None:
        write_json(args.json, result)
    print(json.dumps(result))
    return 0


def _all(backend: str) -> dict[str, Any]:
    results = {}
    for name in BENCHES:
        try:
            results[name] = _measured(name, backend)
        except UsageError as error:  # what this machine lacks must not cost the other figures
            print(f"{name}\n{error}\n", file=sys.stderr)
            results[name] = {"bench": name, "error": str(error)}
    return results


def _measured(name: str, backend: str) -> dict[str, Any]:
    module = importlib.import_module(RENDERERS[backend] if name == "render" else (BENCHES | LONG)[name])
    print(f"measuring {name}...", file=sys.stderr, flush=True)
    result: dict[str, Any] = module.measure(**({"backend": backend} if name in DRAWING else {}))
    print(f"{name}\n{module.table(result)}", file=sys.stderr)
    importlib.import_module("bench.machine").print_machine(result)
    print(file=sys.stderr)
    return result
