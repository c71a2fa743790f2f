"""`visavis avatar sign` and `verify`: who vouches for an avatar, and whether it is as they signed it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from engine.errors import UsageError


def add_signing(actions: Any) -> None:
    """The two actions' arguments."""
    signing = actions.add_parser(
        "sign",
        help="vouch for an avatar with your key",
        description="Sign all that an avatar's file holds, its consent, licence and provenance with it. "
        "Whoever changes it breaks the signature, and no visavis loads it any more.",
        allow_abbrev=False,
    )
    signing.add_argument("avatar", type=Path, metavar="FILE.avatar", help="the file to sign")
    signing.add_argument("--name", required=True, help="who signs, as others will read it")
    signing.add_argument(
        "--key",
        type=Path,
        metavar="KEY.pem",
        help="your Ed25519 key, made where there is none (default ~/.config/visavis/signing_key.pem)",
    )
    signing.add_argument(
        "--no-copies", action="store_true", help="other machines may not have the file, only its pictures"
    )
    signing.add_argument("-o", "--output", type=Path, help="the signed file (default: the same)")

    verifying = actions.add_parser(
        "verify",
        help="who signed an avatar, and whether it is unchanged",
        description="Exit code 0: signed and unchanged; 1: not signed, changed, or signed by another key.",
        allow_abbrev=False,
    )
    verifying.add_argument("avatar", help="a built-in name or an .avatar file")
    verifying.add_argument("--key", metavar="FINGERPRINT", help="whose it must be, as `sign` printed it")
    verifying.add_argument("--json", action="store_true", help="print JSON instead of text")


def sign(args: argparse.Namespace) -> int:
    from render.avatars.file import sign_avatar
    from render.avatars.signature import default_key_path, is_name, make_key, open_key

    output: Path = args.output or args.avatar
    if output.suffix.lower() != ".avatar":
        raise UsageError(f"-o {output}: the name must end in .avatar")
    if not args.avatar.is_file():
        raise UsageError(f"{args.avatar} is no file; only a file can be signed, see `visavis avatar import`")
    if not is_name(args.name):
        raise UsageError(f"--name {args.name!r}: give a name of 1 to 200 printable characters")
    path: Path = args.key or default_key_path()
    if path.exists():
        key = open_key(path)
    else:
        key = make_key(path)
        print(f"visavis: made {path}: keep it, and keep it secret", file=sys.stderr)
    signature = sign_avatar(args.avatar, output, key, args.name, copies=not args.no_copies)
    print(f"{output}: {signature.told()}")
    return 0


def verify(args: argparse.Namespace) -> int:
    from render.avatars.library import open_avatar
    from render.errors import SignatureError

    avatar, broken = None, ""
    try:
        avatar = open_avatar(args.avatar)
    except SignatureError as error:
        broken = str(error)
    signature = None if avatar is None else avatar.signature
    good = signature is not None and (args.key is None or _same_key(args.key, signature.fingerprint))
    if broken:
        said = broken
    elif signature is None:
        said = f"{args.avatar}: not signed; its owner can, with `visavis avatar sign`"
    elif not good:
        said = f"{args.avatar}: {signature.told()}; not the key {args.key}"
    else:
        said = f"{args.avatar}: {signature.told()}; unchanged since"
    if args.json:
        info = None if avatar is None else avatar.info
        facts = {
            "good": good,
            "signed": signature is not None or bool(broken),
            "said": said,
            "signer": None if signature is None else signature.signer,
            "time": None if signature is None else signature.signed,
            "key": None if signature is None else signature.fingerprint,
            "copies": None if signature is None else signature.copies,
            "consent": None if info is None else info.consent,
            "licence": None if info is None else info.licence,
            "provenance": None if info is None else info.provenance,
        }
        print(json.dumps(facts))
        return 0 if good else 1
    print(said)
    if avatar is not None:
        for name in ("consent", "licence", "provenance", "created"):
            print(f"{name:<10} {getattr(avatar.info, name) or 'not stated'}")
    return 0 if good else 1


def _same_key(wanted: str, fingerprint: str) -> bool:
    return wanted.replace("-", "").strip().lower() == fingerprint.replace("-", "")
