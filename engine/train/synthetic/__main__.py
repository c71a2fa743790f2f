"""Write the capture of a synthetic person, for tests and protocols.

python -m engine.train.synthetic -o person1 --seed 1
python -m engine.train.synthetic -o clip1 --seed 1 --clip 120 --size 256

A person's light is baked once, in some minutes, and kept; see docs/people.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.errors import UsageError
from transport.errors import OutputError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("-o", "--output", required=True, metavar="DATA", help="the dataset folder to write")
    parser.add_argument("--seed", type=int, default=0, help="which person and expressions (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="side of a picture in pixels (%(default)s)")
    parser.add_argument("--views", type=int, default=16, help="cameras to train on (%(default)s)")
    parser.add_argument("--expressions", type=int, default=20, help="unseen faces to test on (%(default)s)")
    parser.add_argument(
        "--clip", type=int, metavar="FRAMES", help="one camera and a moving head instead, this many frames"
    )
    parser.add_argument("--baked", type=Path, metavar="DIR", help="where baked light is kept (a cache)")
    args = parser.parse_args()
    from engine.train.data.dataset import check_new_folder, write_dataset
    from engine.train.synthetic.capture import make_capture, make_clip
    from render.making.makehuman import MakeHumanDataError
    from render.making.people.scene.blender import BlenderError

    try:
        check_new_folder(args.output)
        if args.clip is not None:
            dataset = make_clip(args.seed, num_frames=args.clip, size=args.size, folder=args.baked)
        else:
            dataset = make_capture(
                args.seed,
                num_views=args.views,
                expressions=args.expressions,
                size=args.size,
                folder=args.baked,
            )
        write_dataset(dataset, args.output)
    except (UsageError, OutputError, BlenderError, MakeHumanDataError) as error:
        print(f"synthetic: {error}", file=sys.stderr)
        return 2
    print(f"{args.output}: {len(dataset.views)} views, {len(dataset.of('train'))} to train on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
