"""Signatures of avatar files: what they cover, what breaks them, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load_file, save_file

from render.avatars.file import load_avatar, save_avatar, sign_avatar
from render.avatars.signature import check_signature, make_key, open_key, sign
from render.errors import AvatarError, SignatureError
from tests.render.avatars.file_contents import read
from tests.render.avatars.small_avatars import random_avatar

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "sam.avatar"
    save_avatar(random_avatar(), path)
    sign_avatar(path, path, KEY, "Ann Lee")
    return path


def header_of(path: Path) -> dict[str, Any]:
    return read(path)[2]


def test_a_signed_avatar_tells_who_signed_it_and_is_otherwise_the_same(signed: Path) -> None:
    avatar, plain = load_avatar(signed), random_avatar()
    assert avatar.signature is not None
    assert avatar.signature.signer == "Ann Lee"
    assert avatar.signature.copies
    assert avatar.signature.key == KEY.public_key().public_bytes_raw().hex()
    assert avatar.signature.fingerprint.count("-") == 7
    assert avatar.signature.fingerprint in avatar.signature.told()
    assert avatar.gaussians.means.equal(plain.gaussians.means)
    assert avatar.info == plain.info
    assert random_avatar().signature is None


def test_what_is_written_anew_is_signed_by_nobody(signed: Path, tmp_path: Path) -> None:
    avatar = load_avatar(signed)
    changed = avatar.replace(info=replace(avatar.info, consent="everybody, to everything"))
    save_avatar(changed, tmp_path / "changed.avatar")
    assert load_avatar(tmp_path / "changed.avatar").signature is None


def test_every_part_of_a_file_is_covered(signed: Path, tmp_path: Path) -> None:
    """One bit of any array, one word of the header, a name, a shape, an array more or less."""
    arrays, header = load_file(signed), header_of(signed)

    def refused(arrays: dict[str, Any], header: dict[str, Any]) -> None:
        path = tmp_path / "changed.avatar"
        save_file(arrays, path, {"avatar": json.dumps(header)})
        with pytest.raises(
            SignatureError, match=r"changed\.avatar: its signature is broken.*Ann Lee signed it"
        ):
            load_avatar(path)

    for name, array in arrays.items():
        changed = array.copy()
        if changed.dtype.kind == "f":
            changed.flat[-1] = np.nextafter(changed.flat[-1], np.inf, dtype=changed.dtype)
            refused({**arrays, name: changed}, header)
    refused({**arrays, "extras.more": np.zeros(3, np.float32)}, header)
    for field in ("name", "licence", "provenance", "consent", "created"):
        refused(arrays, {**header, "info": {**header["info"], field: "another"}})
    for field, value in (("signer", "Eve"), ("signed", "2020-01-01T00:00:00+00:00"), ("copies", False)):
        changed_signature = {**header["signature"], field: value}
        path = tmp_path / "changed.avatar"
        save_file(arrays, path, {"avatar": json.dumps({**header, "signature": changed_signature})})
        with pytest.raises(SignatureError, match="is broken"):
            load_avatar(path)
    # The same content laid out otherwise is the same content.
    path = tmp_path / "same.avatar"
    save_file(dict(reversed(arrays.items())), path, {"avatar": json.dumps(header, indent=1)})
    assert load_avatar(path).signature is not None


def test_a_signature_of_another_file_fits_no_other(signed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.avatar"
    save_avatar(random_avatar(degree=1), other)
    header = {**header_of(other), "signature": header_of(signed)["signature"]}
    save_file(load_file(other), other, {"avatar": json.dumps(header)})
    with pytest.raises(SignatureError, match="is broken"):
        load_avatar(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: "Ann Lee",
        lambda s: {},
        lambda s: {**s, "more": 1},
        lambda s: {**s, "copies": "yes"},
        lambda s: {**s, "key": "no digits"},
        lambda s: {**s, "key": s["key"][:-2]},
        lambda s: {**s, "key": "00" * 32},
        lambda s: {**s, "value": ""},
        lambda s: {**s, "value": s["value"][2:]},
    ],
)
def test_signatures_that_are_none_are_refused(signed: Path, change: Callable[[Any], Any]) -> None:
    header = header_of(signed)
    header["signature"] = change(header["signature"])
    save_file(load_file(signed), signed, {"avatar": json.dumps(header)})
    with pytest.raises(SignatureError):
        load_avatar(signed)


def test_whoever_changed_a_file_can_sign_it_themselves(signed: Path) -> None:
    header = header_of(signed)
    header["info"]["licence"] = "CC-BY-4.0"
    save_file(load_file(signed), signed, {"avatar": json.dumps(header)})
    other = Ed25519PrivateKey.generate()
    sign_avatar(signed, signed, other, "Eve", copies=False)
    avatar = load_avatar(signed)
    assert avatar.info.licence == "CC-BY-4.0"
    assert avatar.signature is not None
    assert (avatar.signature.signer, avatar.signature.copies) == ("Eve", False)
    assert "not to be copied" in avatar.signature.told()


def test_nobody_signs_what_nobody_agreed_to(tmp_path: Path) -> None:
    path = tmp_path / "sam.avatar"
    avatar = random_avatar()
    save_avatar(avatar.replace(info=replace(avatar.info, consent=" ")), path)
    with pytest.raises(AvatarError, match=r"sam\.avatar: it does not say who agreed to it; give --consent"):
        sign_avatar(path, path, KEY, "Ann Lee")
    assert load_avatar(path).signature is None


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "a" * 201, "\u202eeve"])
def test_names_that_deceive_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        sign({}, [], KEY, name)


def test_a_header_without_signature_is_signed_by_nobody() -> None:
    assert check_signature({"info": {}}, []) is None


def test_a_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key.pem"
    key = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_key(path).private_bytes_raw() == key.private_bytes_raw()
    with pytest.raises(AvatarError, match="cannot write the key"):
        make_key(path)  # never written over
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(AvatarError, match="no private key"):
        open_key(tmp_path / "text.pem")
    with pytest.raises(AvatarError, match="cannot read the key"):
        open_key(tmp_path)
