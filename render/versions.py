"""Packages of which private parts are used are known in some versions only, which is checked first."""

from __future__ import annotations

from importlib.metadata import version


def check_version(package: str, known: tuple[str, str], error: type[Exception]) -> None:
    """Raise `error` unless the installed version is one from the first of `known` to before the second."""
    found = version(package)
    least, below = known
    if not _numbers(least) <= _numbers(found) < _numbers(below):
        raise error(
            f"{package} {found} is installed, what is used of it is known from {least} to before {below}; "
            f"run: pip install '{package}>={least},<{below}'"
        )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])
