"""Write the motion of the face in a video to a file, which `visavis record` plays with any avatar.

The file holds the weights of the face units, the head's rotation and translation, confidence and time of
every frame, as a plain .npz, or as the stream of a call where OUT ends in .motion (half as
big, docs/motion-stream.md). With --rig, or an avatar on a face model, it also holds the model's own
parameters under the names that other programs read: expr, jaw_pose, eyes_pose ... of FLAME, expression,
global_orient ... of SMPL-X.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UsageError
from engine.person import Sightings, add_person_argument, parse_person
from render.avatars.library import DEFAULT_AVATAR

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar

EXAMPLES = """\
examples:
  visavis track talk.mp4 -o talk.npz
  visavis record talk.npz -o out.mp4
  visavis track talk.mp4 -o talk.npz --rig flame2023.pkl     FLAME's parameters too"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument("input", metavar="INPUT", help="a video or a folder of pictures")
    parser.add_argument(
        "-o", "--output", metavar="OUT.npz", required=True, help="the motion file to write: .npz or .motion"
    )
    parser.add_argument(
        "--avatar",
        metavar="A",
        help=f"in whose rig to solve: the one that will play it ({DEFAULT_AVATAR}, or a bare head on --rig)",
    )
    add_person_argument(parser)
    parser.add_argument(
        "--rig", type=Path, metavar="FILE", help="a FLAME or SMPL-X model file: solve for its parameters"
    )


def run(args: argparse.Namespace) -> int:
    from engine.motion_file import check_motion_output, is_stream, save_motion

    check_motion_output(args.output, [args.input])
    if args.rig is not None and is_stream(args.output):
        raise UsageError(f"--rig {args.rig}: a stream holds no model's parameters; let -o end in .npz")
    person = parse_person(args)
    # torch loads from here on
    from capture.source import open_input
    from engine.model_fetch import ensure_model
    from engine.model_motion import model_params
    from engine.offline.track import track_source
    from engine.progress import Bars
    from engine.report import StageTimes

    avatar = _avatar(args.avatar, args.rig)
    with open_input(args.input) as source:
        ensure_model("face_landmarker")
        with Bars() as bars:
            sightings = Sightings(str(args.input), person)
            motion = track_source(source, avatar, StageTimes(), bars, sightings=sightings, person=person)
        notes = (*source.notes, *sightings.notes)
    save_motion(motion, args.output, model_params(motion, avatar))
    for note in notes:
        print(f"visavis: {' '.join(note.split())}", file=sys.stderr)
    if not motion.face_seen.any():
        print(f"visavis: no face was found in {args.input}: the motion rests", file=sys.stderr)
    found = 100 * motion.face_seen.mean()
    print(f"{args.output}: {len(motion)} frames, {motion.duration_s:.2f} s, face found in {found:.1f} %")
    return 0


def _avatar(name: str | None, rig: Path | None) -> Avatar:
    """Who is solved for: the named avatar, which must be on `rig` where both are given, or its bare head."""
    from render.avatars.library import open_avatar
    from render.importers.bare_model import bare_avatar
    from render.rigs.model_file import open_model

    if rig is None:
        return open_avatar(name or DEFAULT_AVATAR)
    kept = open_model(rig)
    if name is None:
        return bare_avatar(kept)
    avatar = open_avatar(name)
    reference = avatar.rig_reference if avatar.rig.kind == kept.rig.kind else None
    if reference is None or not kept.is_named_by(reference.fingerprint):
        raise UsageError(
            f"--rig {rig}: {avatar.name} is on another rig; leave out --rig or --avatar, or name its model"
        )
    return avatar
