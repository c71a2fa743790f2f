"""Settings: nothing unknown passes, types hold, and what is written gives the same again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from engine.errors import UsageError
from engine.train.loop.config import (
    changed,
    flatten,
    parse_assignments,
    read_toml,
    refuse_other_config,
    to_toml,
)


@dataclass(frozen=True)
class Field:
    levels: int = 14
    rate: float = 1e-4

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels = {self.levels}: give at least 1")


@dataclass(frozen=True)
class Paper:
    regime: Literal["multiview", "monocular"] = "monocular"
    weights: str | None = None
    colours: tuple[float, ...] = (0.0, 1.0)
    correction: bool = True
    field: Field = Field()


SECTIONS = {"paper": Paper()}


def test_nested_settings_change_by_dotted_keys() -> None:
    texts = [
        "paper.regime=multiview", "paper.field.rate=1", "paper.weights=a b.pth",
        "paper.colours=[0.5, 1]", "paper.correction=false",
    ]  # fmt: skip
    made = changed(SECTIONS, parse_assignments(texts))["paper"]
    assert made == Paper("multiview", "a b.pth", (0.5, 1.0), False, Field(rate=1.0))
    assert isinstance(made.field.rate, float)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("paper.field.rat=1", ["'paper.field.rat'", "did you mean paper.field.rate?"]),
        ("levels=3", ["'levels'", "did you mean paper.field.levels?"]),
        ("paper.regime=stereo", ["paper.regime = 'stereo'", "multiview, monocular"]),
        ("paper.field.levels=1.5", ["paper.field.levels = 1.5", "int"]),
        ("paper.field.levels=true", ["paper.field.levels = True", "int"]),
        ("paper.correction=1", ["paper.correction = 1", "bool"]),
        ("paper.colours=3", ["paper.colours = 3", "a list"]),
        ("paper.field.levels=0", ["levels = 0", "at least 1"]),
        ("paper.field=3", ["'paper.field'"]),
        ("nonsense", ["--set nonsense", "key=value"]),
    ],
)
def test_mistakes_are_named(text: str, parts: list[str]) -> None:
    with pytest.raises(UsageError) as refusal:
        changed(SECTIONS, parse_assignments([text]))
    assert "\n" not in str(refusal.value)
    assert all(part in str(refusal.value) for part in parts), refusal.value


def test_toml_round_trip(tmp_path: Path) -> None:
    made = changed(SECTIONS, {"paper.weights": 'say "a\\b"', "paper.field.rate": 3e-7})
    file = tmp_path / "settings.toml"
    file.write_text(to_toml(made))
    assert changed(SECTIONS, read_toml(file)) == made
    assert flatten(made)["paper.field.rate"] == 3e-7


def test_bad_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    with pytest.raises(UsageError, match=r"settings\.toml: No such file"):
        read_toml(file)
    file.write_text("[paper\n")
    with pytest.raises(UsageError, match=r"settings\.toml is not TOML"):
        read_toml(file)


def test_resume_names_the_differing_key() -> None:
    stored = flatten(SECTIONS)
    refuse_other_config(Path("a.checkpoint"), {**stored, "paper.colours": [0.0, 1.0]}, stored)
    for changes in ({"paper.field.levels": 12}, {"paper.new": 12}):
        with pytest.raises(UsageError, match=next(iter(changes))):
            refuse_other_config(Path("a.checkpoint"), stored, {**stored, **changes})
