"""The page before the avatar is ready."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine.live.opening import OpeningControls
from engine.live.settings import LiveSettings
from engine.look import Look
from transport.http.controls import ControlError

SETTINGS = LiveSettings(Look(400, 240, (0.2, 0.4, 0.6)), "motion")


class FakeControls:
    def __init__(self) -> None:
        self.wishes: list[Any] = []

    def state(self) -> str:
        return "the loop's"

    def avatars(self) -> list[str]:
        return ["one"]

    def figures(self) -> dict[str, float]:
        return {"fps": 30.0}

    def orbit(self, *view: float) -> None:
        self.wishes.append(view)

    def avatar_picture(self, name: str) -> bytes:
        return name.encode()


def test_the_state_says_what_is_being_done() -> None:
    opening = OpeningControls(SETTINGS, "me (file)", 30.0)
    opening.tell("compiling: 40%")
    state = opening.state()
    assert (state.avatar, state.source, state.width, state.height) == ("me (file)", "motion", 400, 240)
    assert state.message == "compiling: 40%"
    assert state.source_ok
    assert {"vera", "me (file)"} <= {choice.name for choice in opening.avatars()}
    assert opening.figures() == {}


def test_wishes_wait_for_the_loop_and_then_go_to_it() -> None:
    opening, controls = OpeningControls(SETTINGS, "vera", 30.0), FakeControls()
    waiting = threading.Thread(target=lambda: opening.orbit(1.0, 2.0, 3.0), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert controls.wishes == []
    opening.hand_over(controls)  # type: ignore[arg-type]
    waiting.join(10)
    assert controls.wishes == [(1.0, 2.0, 3.0)]
    assert opening.avatar_picture("x") == b"x"
    assert (opening.state(), opening.avatars(), opening.figures()) == ("the loop's", ["one"], {"fps": 30.0})


def test_wishes_that_wait_at_the_end_are_refused() -> None:
    opening = OpeningControls(SETTINGS, "vera", 30.0)
    refused: list[ControlError] = []

    def wish() -> None:
        try:
            opening.choose_avatar("elias")
        except ControlError as error:
            refused.append(error)

    waiting = threading.Thread(target=wish, daemon=True)
    waiting.start()
    opening.close()
    waiting.join(10)
    assert [str(error) for error in refused] == ["the server is stopping"]


def test_nothing_heavy_is_loaded_before_the_page_answers() -> None:
    import subprocess
    import sys

    code = (
        "import sys, engine.commands.demo, engine.commands.live, engine.live.casting, transport.http.server\n"
        "print(sorted({'torch', 'numba', 'mediapipe', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("driven", [False, True])
def test_a_bad_avatar_file_is_refused_before_anything_is_shown(tmp_path: Any, driven: bool) -> None:
    from engine.live.casting import Casting
    from render.errors import AvatarError

    (tmp_path / "bad.avatar").write_bytes(b"no avatar")
    with pytest.raises(AvatarError):
        Casting(str(tmp_path / "bad.avatar"), driven=driven).check()
    Casting("vera", driven=driven).check()
