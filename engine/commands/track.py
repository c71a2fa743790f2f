"""Write the motion of the face in a video to a file, which `visavis record` plays with any avatar.

The file holds the weights of the face units, the head's rotation and translation, confidence and time of
every frame, as a plain .npz.
"""

from __future__ import annotations

import argparse
import sys

from engine.look import DEFAULT_AVATAR

EXAMPLES = """\
examples:
  visavis track talk.mp4 -o talk.npz
  visavis record talk.npz -o out.mp4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument("input", metavar="INPUT", help="a video or a folder of pictures")
    parser.add_argument("-o", "--output", metavar="OUT.npz", required=True, help="the motion file to write")
    parser.add_argument(
        "--avatar",
        default=DEFAULT_AVATAR,
        metavar="A",
        help="the avatar in whose rig to solve: the one that will play it (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from engine.motion_file import check_motion_output, save_motion

    check_motion_output(args.output, [args.input])
    # torch loads from here on
    from capture.source import open_input
    from capture.video import VideoFile
    from engine.model_fetch import ensure_model
    from engine.offline.track import track_source
    from engine.progress import Bars
    from engine.report import StageTimes
    from render.avatars.library import open_avatar

    with open_input(args.input) as source:
        ensure_model("face_landmarker")
        with Bars() as bars:
            motion = track_source(source, open_avatar(args.avatar), StageTimes(), bars)
        problem = source.problem if isinstance(source, VideoFile) else None
    save_motion(motion, args.output)
    if problem:
        print(f"visavis: {problem}", file=sys.stderr)
    if not motion.face_seen.any():
        print(f"visavis: no face was found in {args.input}: the motion rests", file=sys.stderr)
    found = 100 * motion.face_seen.mean()
    print(f"{args.output}: {len(motion)} frames, {motion.duration_s:.2f} s, face found in {found:.1f} %")
    return 0
