"""Which avatars a stream offers, and by what names."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.live.casting import Casting
from render.avatars.file import save_avatar
from render.errors import AvatarError
from tests.engine.live.fakes import small_avatar
from tracking.calibration.stored import response_of


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "vera.avatar"
    save_avatar(small_avatar(), path)
    return path


def test_visitors_do_not_learn_where_a_file_lies(file: Path) -> None:
    casting = Casting(str(file), driven=False)
    assert casting.first == "vera (file)"  # not the built-in one, which is offered too
    assert casting.cast("vera (file)").avatar.name == "small"
    assert casting.cast("vera").avatar.name == "vera"
    other = file.with_name("me.avatar")
    other.write_bytes(file.read_bytes())
    assert Casting(str(other), driven=False).first == "me"


def test_the_built_in_people_need_no_calibration_before_they_are_driven() -> None:
    casting = Casting("elias", driven=True)
    cast = casting.cast(casting.first)
    assert cast.driver is not None
    assert response_of(cast.avatar) is not None
    again = casting.cast("elias")
    assert again.avatar is cast.avatar  # opened once
    assert again.driver is not cast.driver  # which knows the person from its own start


def test_what_is_no_avatar_is_refused() -> None:
    with pytest.raises(AvatarError, match="no avatar nobody"):
        Casting("nobody", driven=False).cast("nobody")
