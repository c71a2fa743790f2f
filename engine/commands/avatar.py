"""Look at, convert and picture avatars.

visavis avatar list
visavis avatar info vera
visavis avatar import FOLDER_OF_LAM -o me.avatar --licence "CC-BY-NC-4.0" --consent "my own face"
visavis avatar import scene.spz -o statue.avatar --axes y-down
visavis avatar import point_cloud.ply --flame flame2023.pkl -o her.avatar
visavis avatar export vera -o vera.ply --unit jawOpen=0.5 --yaw 20
visavis avatar preview vera -o vera.png
visavis avatar sign me.avatar --name "Ann Lee"
visavis avatar verify me.avatar
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.commands.avatar_signing import add_signing, sign, verify
from engine.errors import UsageError
from engine.look import add_backend_argument, check_backend
from render.rigs.table import RIGS

if TYPE_CHECKING:
    from render.avatars.avatar import Avatar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", metavar="list|info|import|export|preview|sign|verify", required=True
    )

    listing = actions.add_parser("list", help="the built-in avatars", allow_abbrev=False)
    _add_json(listing)

    info = actions.add_parser("info", help="what an avatar is and holds", allow_abbrev=False)
    _add_avatar(info)
    _add_json(info)

    importing = actions.add_parser("import", help="make an avatar file of another format", allow_abbrev=False)
    importing.add_argument(
        "source",
        type=Path,
        help="LAM folder or .zip (skin.glb + offset.ply), Gaussians (.ply, also compressed; .spz, .splat, "
        ".sog), or a face model's file, as a bare head",
    )
    _add_output(importing, "the .avatar file to write")
    models = importing.add_mutually_exclusive_group()
    for kind, row in RIGS.items():
        if row.opened is not None:
            models.add_argument(
                f"--{kind}", type=Path, metavar="FILE", help=f"{row.title} model file of a rigged .ply"
            )
    importing.add_argument(
        "--shapes", type=int, metavar="N", help="identity columns of a model file of no known layout"
    )
    importing.add_argument(
        "--axes", choices=("y-up", "y-down", "z-up"), default="y-up", help="where up is in bare Gaussians"
    )
    importing.add_argument("--name", help="the avatar's name (default: the file's)")
    importing.add_argument("--licence", default="", help="licence of the likeness and of what made it")
    importing.add_argument(
        "--consent", default="", help="whose likeness it is, and what that person agreed to"
    )
    importing.add_argument("--compact", action="store_true", help="8 and 16 bits per value; prints the loss")
    importing.add_argument("--no-calibrate", action="store_true", help="skip the calibration to the detector")

    export = actions.add_parser("export", help="write one pose as .ply or .spz", allow_abbrev=False)
    _add_avatar(export)
    _add_output(export, "the .ply or .spz file to write")
    export.add_argument(
        "--unit", action="append", default=[], metavar="NAME=WEIGHT", help="an expression, repeatable"
    )
    for angle in ("yaw", "pitch", "roll"):
        export.add_argument(f"--{angle}", type=float, default=0.0, help=f"{angle} of the head in degrees")

    preview = actions.add_parser("preview", help="a sheet of expressions and views", allow_abbrev=False)
    _add_avatar(preview)
    _add_output(preview, "the .png file to write")
    preview.add_argument("--size", type=int, default=256, help="side of one picture in pixels (default 256)")
    add_backend_argument(preview)

    add_signing(actions)


def run(args: argparse.Namespace) -> int:
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "info": _info,
        "import": _import,
        "export": _export,
        "preview": _preview,
        "sign": sign,
        "verify": verify,
    }
    return actions[args.action](args)


def _add_avatar(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("avatar", help="a built-in name or an .avatar file")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _add_output(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, help=what)


def _checked_output(path: Path, *suffixes: str) -> Path:
    """Refuse at once what could not be written after minutes of work."""
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"-o {path}: the name must end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {path.parent}; make it or choose another")
    if path.is_dir():
        raise UsageError(f"-o {path}: that is a folder; name a file")
    return path


def _list(args: argparse.Namespace) -> int:
    from render.avatars.library import DEFAULT_AVATAR, builtin_names, builtin_path, open_avatar

    people = []
    for name in builtin_names():
        avatar = open_avatar(name)
        people.append(
            {
                "name": name,
                "who": avatar.info.provenance.partition(";")[0],
                "gaussians": avatar.gaussians.num_gaussians,
                "megabytes": round(builtin_path(name).stat().st_size / 1e6, 2),
                "licence": avatar.info.licence,
                "default": name == DEFAULT_AVATAR,
            }
        )
    if args.json:
        print(json.dumps(people))
        return 0
    for person in people:
        size = f"{person['gaussians']:>6} Gaussians {person['megabytes']:>5} MB"
        print(f"{person['name']:<8} {size}  {person['who']}{' (the default)' if person['default'] else ''}")
    return 0


def _info(args: argparse.Namespace) -> int:
    from render.avatars.library import open_avatar

    facts = describe(open_avatar(args.avatar))
    if args.json:
        print(json.dumps(facts))
        return 0
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
        elif isinstance(value, list):
            value = ", ".join(str(v) for v in value) or "none"
        print(f"{key.replace('_', ' '):<22} {value if value not in ('', None) else 'not stated'}")
    return 0


def describe(avatar: Avatar) -> dict[str, Any]:
    """The facts `info` prints, as JSON values."""
    rig, g, reference = avatar.rig, avatar.gaussians, avatar.rig_reference
    kept = "in the file" if reference is None else reference.file_hint or "built in"
    bindings: dict[str, int] = {}
    for binding in avatar.bindings:
        kind = type(binding).__name__.removesuffix("Binding").lower()
        bindings[kind] = bindings.get(kind, 0) + binding.num_gaussians
    return {
        "name": avatar.info.name,
        "gaussians": g.num_gaussians,
        "kind": "2D surfels" if g.is_surfel else "3D Gaussians",
        "sh_degree": g.sh_degree,
        "bindings": bindings,
        "deformation": "none" if avatar.deformation is None else avatar.deformation.summary(),
        "controls": list(avatar.condition.controls),
        "rig": rig.kind,
        "rig_kept": kept,
        "rig_fingerprint": rig.fingerprint() if reference is None else reference.fingerprint,
        "vertices": rig.num_vertices,
        "triangles": int(rig.faces.shape[0]),
        "joints": list(rig.joint_names),
        "units": len(rig.units),
        "unit_names": list(rig.unit_names),
        "calibration": {name: "x".join(map(str, t.shape)) or "1" for name, t in avatar.extras.items()},
        "licence": avatar.info.licence,
        "provenance": avatar.info.provenance,
        "consent": avatar.info.consent,
        "created": avatar.info.created,
        "signature": "none" if avatar.signature is None else avatar.signature.told(),
    }


def _import(args: argparse.Namespace) -> int:
    from dataclasses import replace
    from datetime import date

    from render.avatars.file import save_avatar

    output = _checked_output(args.output, ".avatar")
    avatar = _read_source(args)
    info = replace(
        avatar.info,
        name=args.name or avatar.info.name,
        licence=args.licence,
        consent=args.consent,
        created=date.today().isoformat(),
    )
    avatar = avatar.replace(info=info)
    if not args.no_calibrate:
        from engine.calibrate import calibrated_if_seen

        avatar = calibrated_if_seen(avatar, "imported without calibration")
    for name, loss in save_avatar(avatar, output, compact=args.compact).items():
        print(f"{name:<28} changed by at most {loss.maximum:.2g}, rms {loss.rms:.2g}")
    print(f"{args.source}: {avatar.info.provenance}")  # what was left out, too
    print(f"{output}: {avatar.name}, {avatar.gaussians.num_gaussians} Gaussians on a {avatar.rig.kind} rig")
    if not args.licence or not args.consent:
        print("say whose face it is and how it may be used: --licence, --consent", file=sys.stderr)
    return 0


def _read_source(args: argparse.Namespace) -> Avatar:
    from render.importers.recognise import import_splats, kind_of

    source: Path = args.source
    if not source.exists():
        raise UsageError(f"{source} does not exist; name a LAM folder or a file of Gaussians, such as a .ply")
    kind = kind_of(source)
    models = {rig: getattr(args, rig) for rig, row in RIGS.items() if row.opened is not None}
    rig, model = next(((rig, file) for rig, file in models.items() if file is not None), ("", None))
    if model is not None and kind != "ply":
        raise UsageError(f"--{rig} goes with a rigged .ply; {source} is none, import it without")
    if kind == "lam":
        from render.importers.lam import import_lam

        return import_lam(source)
    if kind == "model":
        from render.importers.bare_model import bare_avatar
        from render.rigs.model_file import open_model

        return bare_avatar(open_model(source, args.shapes))
    if model is not None:
        from render.importers.gaussian_avatars import import_gaussian_avatars

        return import_gaussian_avatars(source, model, kind=rig, num_shapes=args.shapes)
    return import_splats(source, axes=args.axes)


def _export(args: argparse.Namespace) -> int:
    import torch

    from render.avatars.library import open_avatar
    from render.exporters import export_ply, export_spz
    from render.motion import Motion

    output = _checked_output(args.output, ".ply", ".spz")
    avatar = open_avatar(args.avatar)
    units = {}
    for text in args.unit:
        name, _, value = text.partition("=")
        if avatar.lost_units((name,)):
            raise UsageError(
                f"--unit {text}: {avatar.name} has no unit {name!r}; `visavis avatar info` lists them"
            )
        units[name] = _number(text, value)
    motion = Motion.of(units, tuple(map(math.radians, (args.pitch, args.yaw, args.roll))))
    with torch.inference_mode():
        gaussians = avatar.pose(avatar.params(motion))
    (export_ply if output.suffix.lower() == ".ply" else export_spz)(gaussians, output)
    print(f"{output}: {gaussians.num_gaussians} Gaussians, y up, z out of the face, metres")
    return 0


def _number(text: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"--unit {text}: give a weight, such as jawOpen=0.5")
    return number


def _preview(args: argparse.Namespace) -> int:
    from engine.backends import open_backend
    from engine.contact_sheet import contact_sheet, png_bytes
    from engine.progress import Bars
    from render.avatars.file import write_atomically
    from render.avatars.library import open_avatar

    output = _checked_output(args.output, ".png")
    if not 32 <= args.size <= 1024:
        raise UsageError(f"--size {args.size}: give 32 to 1024 pixels")
    check_backend(args.backend)
    avatar = open_avatar(args.avatar)
    backend = open_backend(args.backend)
    with Bars() as bars:
        sheet = contact_sheet(
            avatar,
            args.size,
            lambda cells, total: bars.over(cells, "preview", total),
            backend=backend,
        )
    data = png_bytes(sheet)
    write_atomically(output, lambda temporary: Path(temporary).write_bytes(data))
    print(f"{output}: {sheet.shape[1]}x{sheet.shape[0]} pixels")
    return 0
