"""People by name: a described one, one drawn at random, or one's own description in a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from render.making.people.builtin import CAST
from render.making.people.person import Person
from render.making.people.scene.anybody import anybody

NAMES = f"{', '.join(CAST)}, anybody-SEED or a description such as me.toml"


class DescriptionError(ValueError):
    """Nobody is called so, or a description cannot be read; the message says what to change."""


def person_called(text: str) -> Person:
    """The person that a command names. Raises DescriptionError.

    A file ending in .toml has the fields of `Person`; what it leaves out its `base` has, a built-in person.
    """
    if text in CAST:
        return CAST[text]
    stem, _, seed = text.partition("-")
    if stem == "anybody" and seed.isdigit():
        return anybody(int(seed))
    if text.endswith(".toml"):
        return _read(Path(text))
    raise DescriptionError(f"nobody is called {text}: use {NAMES}")


def _read(path: Path) -> Person:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DescriptionError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DescriptionError(f"{path} is no TOML: {error}") from error
    base = table.pop("base", None)
    if base is not None and base not in CAST:
        raise DescriptionError(f"{path}: base = {base!r}: the built-in people are {', '.join(CAST)}")
    table.setdefault("name", path.stem)
    try:
        return _filled(Person, table, None if base is None else CAST[base], "")
    except DescriptionError as error:
        raise DescriptionError(f"{path}: {error}") from None


def _filled(kind: Any, table: Mapping[str, Any], base: Any, where: str) -> Any:
    """A dataclass of that kind from a table of its fields; `base` has what is left out."""
    hints, known = get_type_hints(kind), {field.name: field for field in fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise DescriptionError(f"{where}{key} is not known{hint}")
        former = getattr(base, key) if base is not None else None
        values[key] = _value(hints[key], value, former, f"{where}{key}")
    if base is not None:
        return replace(base, **values)
    missing = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise DescriptionError(f"{where}{missing[0]} is missing; give it, or a base")
    return kind(**values)


def _value(hint: Any, value: Any, former: Any, where: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise DescriptionError(f"{where} = {value!r} is to be a table, [{where}]")
        return _filled(hint, value, former, f"{where}.")
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise DescriptionError(f"{where} = {value!r}: use {', '.join(arguments)}")
        return value
    if origin is tuple and isinstance(value, list):
        wanted = None if Ellipsis in arguments else len(arguments)
        if wanted in (None, len(value)) and all(_is_number(number) for number in value):
            return tuple(value)
        raise DescriptionError(f"{where} = {value!r}: give {wanted or 'some'} numbers")
    if isinstance(value, Mapping) and not isinstance(former, (int, float, str)):
        if all(_is_number(number) for number in value.values()):
            return dict(value)
        raise DescriptionError(f"{where}: every value is to be a number")
    plain = arguments or (hint,)
    if float in plain and _is_number(value) and int not in plain:
        return float(value)
    if not isinstance(value, bool if bool in plain else tuple(k for k in plain if isinstance(k, type))):
        raise DescriptionError(f"{where} = {value!r} is of the wrong kind")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
