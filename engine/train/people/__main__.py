"""Make a built-in person: take the pictures, train on them, and look at what came of it.

python -m engine.train.people make vera -o vera.avatar --budget 25
python -m engine.train.people train SHOOT -o vera.avatar --budget 25
python -m engine.train.people look SHOOT vera.avatar -o vera.png
python -m engine.train.people sheet vera vera.avatar -o sheet.png
python -m engine.train.people portraits -o docs/avatars.png
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from engine.errors import TrainingError, UsageError
from engine.train.command.arguments import add_run_arguments
from render.avatars.library import builtin_names
from render.errors import AvatarError
from render.making.makehuman import MakeHumanDataError
from render.making.people.builtin import CAST
from render.making.people.described import NAMES, DescriptionError, person_called
from render.making.people.scene.blender import BlenderError
from render.making.people.scene.shooting import add_scene_options, take_pictures
from render.making.people.shoot import ShootError
from transport.errors import OutputError

_SCENE_ERRORS = (DescriptionError, MakeHumanDataError, BlenderError, OSError)
COUNT = 39_200  # of which two cores draw 60 pictures a second


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engine.train.people",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="action", required=True)
    make = commands.add_parser("make", help="a described person from nothing", allow_abbrev=False)
    make.add_argument("name", metavar="NAME", help=NAMES)
    make.add_argument("--shoot", type=Path, help="folder of the pictures (default NAME_shoot)")
    add_scene_options(make)
    train = commands.add_parser("train", help="make an avatar of a shoot's pictures", allow_abbrev=False)
    train.add_argument("shoot", metavar="SHOOT", type=Path, help="the folder with shoot.json")
    for command in (make, train):
        command.add_argument("-o", "--output", metavar="OUT.avatar", type=Path, required=True)
        command.add_argument("--count", type=int, help=f"Gaussians to begin with (default {COUNT})")
        add_run_arguments(command, "baking and report")
        command.add_argument(
            "--no-calibrate", action="store_true", help="skip the calibration to the detector"
        )
    look = commands.add_parser("look", help="figures and a sheet: truth beside avatar", allow_abbrev=False)
    look.add_argument("shoot", metavar="SHOOT", type=Path)
    look.add_argument("avatar", metavar="AVATAR", type=Path)
    look.add_argument("-o", "--output", metavar="SHEET.png", type=Path, help="the sheet to write")
    look.add_argument("--all", action="store_true", help="the pictures that were trained on too")
    sheet = commands.add_parser(
        "sheet", help="faces and views beside new path-traced pictures", allow_abbrev=False
    )
    sheet.add_argument("name", metavar="NAME", help=NAMES)
    sheet.add_argument("avatar", metavar="AVATAR", type=Path)
    sheet.add_argument("-o", "--output", metavar="SHEET.png", type=Path, required=True)
    sheet.add_argument(
        "--pictures", type=Path, help="folder of the path-traced pictures (default NAME_sheet)"
    )
    sheet.add_argument("--size", type=int, default=512, help="side of a picture in pixels (default 512)")
    add_scene_options(sheet)
    portraits = commands.add_parser("portraits", help="the README's picture of everybody", allow_abbrev=False)
    portraits.add_argument(
        "names", nargs="*", metavar="AVATAR", help="names or files (default: all built in)"
    )
    portraits.add_argument("-o", "--output", metavar="PEOPLE.png", type=Path, required=True)
    portraits.add_argument("--size", type=int, default=320, help="side of a picture in pixels (default 320)")
    args = parser.parse_args()
    # Threads that wait in a spin take the time of those that work: training beside a renderer crawls.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads
    try:
        if args.action == "make":
            from engine.train.people.training import check_arguments

            check_arguments(args, COUNT)
            person = person_called(args.name)
            args.shoot = args.shoot or Path(f"{person.name}_shoot")
            take_pictures(person, args.shoot, args.makehuman, args.blender)
        if args.action in ("make", "train"):
            from engine.train.people.training import train_person

            print(train_person(args, COUNT))
        elif args.action == "sheet":
            from engine.train.people.sheet import make_sheet

            person = person_called(args.name)
            pictures = args.pictures or Path(f"{person.name}_sheet")
            print(
                make_sheet(
                    person,
                    args.avatar,
                    args.output,
                    pictures,
                    size=args.size,
                    makehuman=args.makehuman,
                    blender=args.blender,
                )
            )
        elif args.action == "portraits":
            from engine.train.people.portraits import write_portraits

            shipped = [name for name in CAST if name in builtin_names()]
            print(write_portraits(args.names or shipped, args.output, args.size))
        else:
            from engine.train.people.looking import look_at

            print(look_at(args.shoot, args.avatar, args.output, everything=args.all))
    except (UsageError, TrainingError, ShootError, AvatarError, OutputError, *_SCENE_ERRORS) as error:
        print(f"people: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
