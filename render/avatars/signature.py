"""Who vouches for an avatar's file: an Ed25519 signature over all that it holds.

It covers every array and the whole header: whose likeness it is, who agreed to what, licence, how and when it
was made. Nothing can be changed without breaking it, and nobody but the owner of the key can make it anew.
What a key's owner is called is their own word: compare the fingerprint with what they told you.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from render.errors import AvatarError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FIELD = "signature"  # of the file's header
_ABOUT = b"visavis avatar signature 1\n"
_FINGERPRINT_CHARS = 32  # of the key's SHA-256 in hexadecimal
_MOST_NAME_CHARS = 200


@dataclass(frozen=True)
class Signature:
    """What was signed, by whom, when."""

    signer: str  # as the signer calls themselves
    signed: str  # ISO 8601, UTC
    key: str  # the Ed25519 public key, 64 hexadecimal digits
    copies: bool  # whether other machines may have the file, to draw it themselves
    value: str  # the signature, 128 hexadecimal digits

    @property
    def fingerprint(self) -> str:
        """The key for people to compare, in groups of four."""
        digest = hashlib.sha256(bytes.fromhex(self.key)).hexdigest()[:_FINGERPRINT_CHARS]
        return "-".join(digest[at : at + 4] for at in range(0, _FINGERPRINT_CHARS, 4))

    def told(self) -> str:
        """One line for people."""
        copies = "" if self.copies else ", not to be copied"
        return f"signed by {self.signer} on {self.signed[:10]}{copies}, key {self.fingerprint}"

    def message(self, header: Mapping[str, Any], arrays: Iterable[tuple[str, NDArray[Any]]]) -> bytes:
        """What the key signs: this statement and the content of a file."""
        statement = {
            "signer": self.signer,
            "signed": self.signed,
            "key": self.key,
            "copies": self.copies,
            "content": content_digest(header, arrays),
        }
        return _ABOUT + json.dumps(statement, sort_keys=True).encode()


def content_digest(header: Mapping[str, Any], arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """SHA-256 of a header but its signature, and of arrays in the order of their names; however a file lays
    them out."""
    said = {key: value for key, value in header.items() if key != FIELD}
    total = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, array in arrays:
        plain = np.ascontiguousarray(array)
        about = json.dumps([name, plain.dtype.str, list(plain.shape)]).encode()
        total.update(len(about).to_bytes(4, "big") + about)
        total.update(plain.data)
    return total.hexdigest()


def check_signature(
    header: Mapping[str, Any], arrays: Iterable[tuple[str, NDArray[Any]]]
) -> Signature | None:
    """The signature of a file as it was read, or None where it has none.

    Raises SignatureError where the file is not what was signed.
    """
    stored = header.get(FIELD)
    if stored is None:
        return None
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature = _read(stored)
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key)).verify(
            bytes.fromhex(signature.value), signature.message(header, arrays)
        )
    except (InvalidSignature, ValueError):
        raise SignatureError(
            f"its signature is broken: it was changed after {signature.signer} signed it; get it from them "
            "again, or sign it yourself with `visavis avatar sign`"
        ) from None
    return signature


def _read(stored: Any) -> Signature:
    kinds = {"signer": str, "signed": str, "key": str, "copies": bool, "value": str}
    if not isinstance(stored, dict) or stored.keys() != kinds.keys():
        raise SignatureError("its signature is of another kind; update visavis")
    if not all(isinstance(stored[name], kind) for name, kind in kinds.items()):
        raise SignatureError("its signature is of another kind; update visavis")
    return Signature(
        **{**stored, "signer": _one_line(stored["signer"]), "signed": _one_line(stored["signed"])}
    )


def is_name(signer: str) -> bool:
    """Whether somebody may be called that: something to read, on one line."""
    return bool(signer.strip()) and signer == _one_line(signer)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_MOST_NAME_CHARS]


def sign(
    header: Mapping[str, Any],
    arrays: Iterable[tuple[str, NDArray[Any]]],
    key: Ed25519PrivateKey,
    signer: str,
    *,
    copies: bool = True,
) -> Signature:
    """Sign a file's content now. Raises ValueError where the signer's name is none."""
    if not is_name(signer):
        raise ValueError(f"a name of 1 to {_MOST_NAME_CHARS} printable characters is needed")
    draft = Signature(
        signer,
        datetime.now(UTC).isoformat(timespec="seconds"),
        key.public_key().public_bytes_raw().hex(),
        copies,
        "",
    )
    value = key.sign(draft.message(header, arrays)).hex()
    return Signature(draft.signer, draft.signed, draft.key, draft.copies, value)


def open_key(path: Path) -> Ed25519PrivateKey:
    """A private key's PEM file. Raises AvatarError where it is none that signs avatars."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise AvatarError(f"cannot read the key {path}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise AvatarError(
            f"{path} is no private key without a password; name another file, and one is made"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise AvatarError(
            f"{path} holds a key of another kind; Ed25519 is needed: `openssl genpkey -algorithm ed25519`"
        )
    return key


def make_key(path: Path) -> Ed25519PrivateKey:
    """A new private key in a file that its owner alone can read. Raises AvatarError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise AvatarError(f"cannot write the key {path}: {error.strerror or error}") from error
    return key


def default_key_path() -> Path:
    """Where one's own key is kept."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "visavis" / "signing_key.pem"
