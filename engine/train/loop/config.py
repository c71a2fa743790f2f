"""Configuration: frozen dataclasses, filled from a TOML file and `key=value` texts."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from engine.errors import UsageError

Value = bool | int | float | str | None | tuple[Any, ...]


def flatten(sections: Mapping[str, Any]) -> dict[str, Value]:
    """Named (nested) dataclasses as dotted keys and plain values, in order."""
    flat: dict[str, Value] = {}
    for name, value in sections.items():
        if is_dataclass(value):
            inner = flatten({field.name: getattr(value, field.name) for field in fields(value)})
            flat.update({f"{name}.{key}": item for key, item in inner.items()})
        else:
            flat[name] = value
    return flat


def read_toml(path: Path) -> dict[str, Any]:
    """The dotted keys of a TOML file. Raises UsageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return dict(_dotted(tomllib.load(file)))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as dotted keys; values as in TOML, a bare word is a text. Raises UsageError."""
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {text}: write key=value, such as trainer.seed=1")
        try:
            changes[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key.strip()] = value.strip()
    return changes


def changed(sections: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of named dataclasses with some dotted keys set, such as `trainer.seed`.

    Raises UsageError for an unknown key, naming the nearest, and for a value of another type.
    """
    known = flatten(sections)
    for key in changes:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            leaf = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
            hint = f", did you mean {(leaf or near)[0]}?" if leaf or near else ""
            raise UsageError(f"there is no setting {key!r}{hint}")
    return {name: _changed(config, changes, f"{name}.") for name, config in sections.items()}


def refuse_other_config(where: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise UsageError naming the first key in which a resumed training would differ from its beginning."""
    for key in sorted(stored.keys() | wanted.keys()):
        before, now = (_plain(values[key]) if key in values else "(nothing)" for values in (stored, wanted))
        if before != now:
            raise UsageError(
                f"{where} was trained with {key} = {before}, now it is {now}; "
                "resume with the same, or start without --resume"
            )


def to_toml(sections: Mapping[str, Any]) -> str:
    """Named dataclasses as a TOML file that gives it again; a setting without a value is left out."""
    lines = []
    section = ""
    for key, value in sorted(flatten(sections).items(), key=lambda item: item[0].rpartition(".")[0]):
        table, _, name = key.rpartition(".")
        if table != section:
            lines.append(f"\n[{table}]")
            section = table
        if value is not None:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join(lines).strip() + "\n"


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _changed(config: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    hints = get_type_hints(type(config))
    values = {}
    for field in fields(config):
        key = prefix + field.name
        current = getattr(config, field.name)
        if is_dataclass(current):
            values[field.name] = _changed(current, changes, key + ".")
        elif key in changes:
            values[field.name] = _checked(key, changes[key], hints[field.name])
    try:
        return replace(config, **values)
    except ValueError as error:  # of a __post_init__ that names what is wrong
        raise UsageError(f"{prefix.rstrip('.') or 'configuration'}: {error}") from error


def _checked(key: str, value: Any, wanted: Any) -> Any:
    """The value as the field's type wants it; TOML's lists become tuples, whole numbers do for real ones."""
    options = get_args(wanted) or (wanted,)
    origin = getattr(wanted, "__origin__", None)
    if origin is tuple:
        inner = get_args(wanted)[0]
        if isinstance(value, (list, tuple)):
            return tuple(_checked(key, item, inner) for item in value)
        raise UsageError(f"{key} = {value!r}: give a list, such as [1, 2]")
    elif str(origin) == "typing.Literal":
        if value in options:
            return value
        raise UsageError(f"{key} = {value!r}: choose one of {', '.join(map(str, options))}")
    else:
        for option in options:
            if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
            if option in (int, bool, str) and type(value) is option:
                return value
        if str in options:
            return str(value)
    names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise UsageError(f"{key} = {value!r}: give a value of type {names}")


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return repr(value)
