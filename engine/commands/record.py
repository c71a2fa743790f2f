"""Drive an avatar with the face in a video and write the reenactment as an mp4.

Every frame of the input becomes one frame of the output, at the same time; the sound is kept.
"""

from __future__ import annotations

import argparse
import sys

from engine.errors import UsageError
from engine.look import add_look_arguments, parse_look
from engine.person import add_person_argument, parse_person
from engine.report import write_json
from transport.files.mp4_writer import Mp4Writer, check_writable

EXAMPLES = """\
examples:
  visavis record talk.mp4 -o out.mp4
  visavis record talk.mp4 -o out.mp4 --avatar me.avatar --size 720 --background office.jpg
  visavis record talk.mp4 -o out.mp4 --report out.json
  visavis record two.mp4 -o out.mp4 --person right       of two people, the one at the right
  visavis track talk.mp4 -o talk.npz && visavis record talk.npz -o out.mp4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument(
        "input", metavar="INPUT", help="a video, a folder of pictures, or a motion file (.npz, .motion)"
    )
    parser.add_argument("-o", "--output", metavar="OUT.mp4", required=True, help="the mp4 to write")
    parser.add_argument("--report", metavar="OUT.json", help="write the times of every stage as JSON")
    add_person_argument(parser)
    add_look_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from engine.motion_file import is_motion

    Mp4Writer.check(args.output, [args.input])
    if args.report is not None:
        check_writable(args.report, [args.input])
    look = parse_look(args)
    person = parse_person(args)
    if person is not None and is_motion(args.input):
        raise UsageError(f"--person {person}: {args.input} holds one person's motion; give --person to track")
    # torch and numba load from here on
    from engine.offline.record import record
    from render.avatars.library import open_avatar

    recording = record(args.input, args.output, open_avatar(args.avatar), look, person)
    if args.report is not None:
        write_json(args.report, recording.report)
    for warning in recording.warnings:
        print(f"visavis: {' '.join(warning.split())}", file=sys.stderr)
    print(recording.summary())
    return 0
