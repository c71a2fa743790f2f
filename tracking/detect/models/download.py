"""A checked download that resumes where an earlier try stopped."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 15.0


class DownloadError(Exception):
    """Why a file could not be had; one line, without the address."""


def download(url: str, path: Path, sha256: str, progress: Progress | None = None) -> None:
    """Fetch `url` to `path` by way of `path.part`, which stays for the next try when the connection breaks.

    A file of another hash is deleted, never left under `path`. Raises DownloadError.
    """
    part = path.with_name(path.name + ".part")
    try:
        _fetch(url, part, progress)
        found = file_sha256(part)
        if found != sha256:
            part.unlink()
            raise DownloadError(f"got another file, sha256 {found[:12]}... instead of {sha256[:12]}...")
        os.replace(part, path)
    except OSError as error:  # URLError, time-outs and resets are OSErrors, and so is a full disk
        raise DownloadError(_reason(error)) from error


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, part: Path, progress: Progress | None) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if (
            error.code != 416
        ):  # "range not satisfiable": the part is whole already, or wrong; the hash decides
            raise
        return
    with response:
        if response.status != 206:
            start = 0  # the server sends the whole file again
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else 0
        done = start
        with part.open("ab" if start else "wb") as out:
            while chunk := response.read(_CHUNK_BYTES):
                out.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, max(total, done))
    if done < total:
        raise OSError(f"the connection ended at {done} of {total} bytes")


def _reason(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        inner = error.reason
        return str(getattr(inner, "strerror", None) or inner)
    return str(error.strerror or error)
