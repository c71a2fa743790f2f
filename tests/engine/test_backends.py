"""`--backend`: what is chosen, said once, and refused; and that both back ends are used alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from engine import cli, encoding
from engine.backends import cuda_refusal, open_backend
from engine.demo_motion import demo_motion
from engine.encoding import choose_h264, live_encoders
from engine.errors import UsageError
from engine.live.painter import Painter
from engine.live.scene import View
from engine.look import Look
from engine.offline.play import pictures
from engine.report import StageTimes
from render.avatars.avatar import Avatar
from render.camera import Camera
from render.cpu.backend import CpuBackend
from render.cuda.avatar_renderer import AvatarRenderer
from render.cuda.backend import CudaBackend, CudaDrawer, first_picture_fails
from render.motion import Motion
from render.rigs.params import RigParams
from tests.engine.live.fakes import small_avatar
from tests.render.cuda.cuda_renderers import emulated_device
from transport.webrtc.encoders import ENCODERS
from transport.webrtc.nvenc import NvencEncoder

LOOK = Look(64, 64, (0.1, 0.2, 0.3))


class FakeRenderer:
    """Draws with the CPU what the graph would draw, into memory of its own as the real one does."""

    made: ClassVar[list[FakeRenderer]] = []

    def __init__(self, avatar: Avatar, width: int, height: int, *, layout: str, colorspace: str) -> None:
        self.avatar, self.layout, self.colorspace, self.closed = avatar, layout, colorspace, False
        self._renderer = CpuBackend().drawer(width, height)
        self._memory: np.ndarray | None = None
        FakeRenderer.made.append(self)

    def draw(self, params: list[RigParams], cameras: list[Camera], background: Any) -> np.ndarray:
        assert not self.closed
        posed = CpuBackend().pose(self.avatar, params[0])
        if self.layout == "rgb8":
            self._memory = self._renderer.render_rgb8(posed, cameras[0], background, self._memory)
        else:
            options: Any = {"colorspace": self.colorspace}
            self._memory = self._renderer.render_yuv420(
                posed, cameras[0], background, self._memory, **options
            )
        return self._memory[None]

    def close(self) -> None:
        self.closed = True
        self._renderer.close()


@pytest.fixture(autouse=True)
def _choose_anew() -> Iterator[None]:
    """Choices are kept for the life of a process; a test begins and ends without any."""
    for cached in (open_backend, cuda_refusal, encoding._choose):
        cached.cache_clear()
    yield
    for cached in (open_backend, cuda_refusal, encoding._choose):
        cached.cache_clear()


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.cuda.device.available", lambda: "no NVIDIA driver here")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> type[FakeRenderer]:
    """A machine whose CUDA back end works."""
    FakeRenderer.made = []
    monkeypatch.setattr("render.cuda.device.available", lambda: None)
    monkeypatch.setattr("render.cuda.backend.AvatarRenderer", FakeRenderer)
    return FakeRenderer


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return small_avatar()


def test_auto_goes_on_with_the_cpu_and_says_why_once(
    no_cuda: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_backend("auto").name == "cpu"
    assert open_backend("auto") is open_backend("auto")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "visavis: drawing on the processor, not with CUDA: no NVIDIA driver here\n"


def test_auto_takes_the_graphics_card_and_says_so_once(
    cuda: type[FakeRenderer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_backend("auto").name == "cuda"
    assert open_backend("auto").name == "cuda"
    assert capsys.readouterr().err == "visavis: drawing on the graphics card (CUDA)\n"
    assert len(cuda.made) == 1  # the first picture, which proved that it works
    assert cuda.made[0].closed


def test_a_named_back_end_works_or_fails_and_says_nothing_else(
    no_cuda: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_backend("cpu").name == "cpu"
    with pytest.raises(UsageError, match="--backend cuda: no NVIDIA driver here; use --backend cpu"):
        open_backend("cuda")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "words", ["the CUDA kernels do not compile for sm_52:\n error: x\n", "CUDA out of memory"]
)
def test_a_card_that_fails_at_its_first_picture_is_not_used(
    words: str,
    cuda: type[FakeRenderer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError(words)

    monkeypatch.setattr("render.cuda.backend.AvatarRenderer", fail)
    assert open_backend("auto").name == "cpu"
    (line,) = capsys.readouterr().err.splitlines()
    assert "a first picture failed" in line
    assert " ".join(words.split()) in line
    with pytest.raises(UsageError, match="a first picture failed"):
        open_backend("cuda")


def test_a_black_first_picture_is_a_failure(
    cuda: type[FakeRenderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_picture_fails() is None
    monkeypatch.setattr(FakeRenderer, "draw", lambda *args: np.zeros((1, 64, 64, 3), np.uint8))
    assert "black" in str(first_picture_fails())


@pytest.mark.parametrize(
    "command",
    [
        ["demo", "-o", "o.mp4"],
        ["demo", "--port", "0"],
        ["live", "--input", "a.mp4"],
        ["record", "a.mp4", "-o", "o.mp4"],
        ["avatar", "preview", "vera", "-o", "o.png"],
        ["bench", "render"],
        ["bench", "all"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_refuses_a_named_back_end_that_cannot_run(
    command: list[str],
    no_cuda: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--backend", "cuda"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert "--backend cuda: no NVIDIA driver here; use --backend cpu" in line
    assert list(tmp_path.iterdir()) == []


def test_both_back_ends_draw_a_motion_alike(cuda: type[FakeRenderer], avatar: Avatar) -> None:
    """With the stand-in for the graph the bytes are equal: camera, background, colours and order arrive."""
    motion = demo_motion(0.2)
    drawn = {
        name: [p.copy() for p in pictures(motion, avatar, Look(64, 48, (0.1, 0.2, 0.3), name), StageTimes())]
        for name in ("cpu", "cuda")
    }
    assert len(drawn["cpu"]) == len(motion) == 6
    for ours, theirs in zip(drawn["cuda"], drawn["cpu"], strict=True):
        assert np.array_equal(ours, theirs)
    assert all(stage.closed for stage in cuda.made)


@pytest.mark.parametrize("background", ["colour", "picture"])
def test_the_kernels_draw_what_the_cpu_draws_through_every_call(
    background: str, avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real renderer with its kernels run on the CPU: 8 bits of float32 in another order."""
    monkeypatch.setattr(
        "render.cuda.backend.AvatarRenderer", partial(AvatarRenderer, device=emulated_device())
    )
    random = np.random.default_rng(0)
    behind: Any = (0.1, 0.5, 0.9)
    if background == "picture":
        behind = random.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    camera = avatar.default_camera(64, 48, yaw_deg=20)
    params = avatar.rig.neutral_params().replace(translation=torch.tensor([0.01, 0.0, 0.0]))
    drawn: dict[str, list[np.ndarray]] = {}
    for backend in (CpuBackend(), CudaBackend()):
        one: Any = backend
        drawer, posed = one.drawer(64, 48), one.pose(avatar, params)
        drawn[one.name] = [
            drawer.render_rgb8(posed, camera, behind).copy(),
            drawer.render_yuv420(posed, camera, behind, colorspace="bt709").copy(),
            drawer.render_yuv420(posed, camera, behind, colorspace="bt601").copy(),
        ]
        drawer.close()
    assert not np.array_equal(drawn["cpu"][1], drawn["cpu"][2])
    for ours, theirs in zip(drawn["cuda"], drawn["cpu"], strict=True):
        assert ours.shape == theirs.shape
        assert np.mean((ours.astype(int) - theirs) ** 2) < 255**2 / 10**5  # 50 dB


def test_the_first_picture_is_drawn_by_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "render.cuda.backend.AvatarRenderer", partial(AvatarRenderer, device=emulated_device())
    )
    assert first_picture_fails() is None


def test_the_live_painter_draws_with_the_kernels(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "render.cuda.backend.AvatarRenderer", partial(AvatarRenderer, device=emulated_device())
    )
    view = View((0.2, 0.4, 0.6), mirror=True, yaw_deg=10)
    painted = []
    for backend in (CpuBackend(), CudaBackend()):
        painter = Painter(128, 96, backend)
        posed = painter.pose(avatar, Motion.neutral())
        painted.append([painter.paint(posed, avatar, view, scale) for scale in (1.0, 0.5, 1.0)])
        painter.close()
    for theirs, ours in zip(*painted, strict=True):
        assert np.mean((ours.astype(int) - theirs) ** 2) < 255**2 / 10**5  # 50 dB
    assert painted[1][0] is not painted[1][2]  # the broadcast keeps what it was given


def test_a_drawer_keeps_its_graph_and_frees_it_before_another(
    cuda: type[FakeRenderer], avatar: Avatar
) -> None:
    drawer, other = CudaDrawer(64, 64), avatar.replace()
    camera, neutral = avatar.default_camera(64, 64), avatar.rig.neutral_params()

    def draw(who: Avatar, **options: Any) -> np.ndarray:
        return drawer.render_yuv420(CudaBackend().pose(who, neutral), camera, (0.0, 0.0, 0.0), **options)

    first = draw(avatar)
    kept = first.copy()
    second = draw(avatar)
    assert second is not first
    second[:] = 0
    assert np.array_equal(first, kept)  # a picture is the caller's own, whatever is drawn later
    assert len(cuda.made) == 1
    draw(avatar, colorspace="bt601")
    draw(other, colorspace="bt601")
    assert [stage.closed for stage in cuda.made] == [True, True, False]
    assert [stage.colorspace for stage in cuda.made] == ["bt709", "bt601", "bt601"]
    out = np.zeros((96, 64), np.uint8)
    assert draw(other, out=out) is out
    assert out.any()
    assert len(cuda.made) == 4
    drawer.close()
    drawer.close()
    assert all(stage.closed for stage in cuda.made)


def test_the_encoder_of_the_card_is_chosen_once_and_named(
    cuda: type[FakeRenderer], capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, int]] = []

    def works(width: int, height: int) -> None:
        asked.append((width, height))

    look = Look(640, 480, (0.0, 0.0, 0.0), "cuda")
    assert choose_h264(look, works) == choose_h264(look, works) == "h264_nvenc"
    assert asked == [(640, 480)]
    assert capsys.readouterr().err == "visavis: encoding on the graphics card (h264_nvenc)\n"
    assert choose_h264(look, lambda width, height: "the card has no encoder") == "libx264"
    assert (
        capsys.readouterr().err == "visavis: encoding on the processor (libx264): the card has no encoder\n"
    )


def test_the_cpu_back_end_asks_no_card(capsys: pytest.CaptureFixture[str]) -> None:
    def never(width: int, height: int) -> str | None:
        raise AssertionError("asked")

    assert choose_h264(LOOK, never) == "libx264"
    assert live_encoders(LOOK) is ENCODERS
    assert capsys.readouterr().err == ""


def test_a_stream_is_encoded_by_what_was_chosen(
    cuda: type[FakeRenderer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transport.webrtc.nvenc.nvenc_refusal", lambda width, height: None)
    encoders = live_encoders(Look(64, 64, (0.0, 0.0, 0.0), "cuda"))
    assert encoders["h264"] is NvencEncoder
    assert encoders["vp8"] is ENCODERS["vp8"]


def test_choosing_needs_neither_torch_nor_numba() -> None:
    """The command line can check its options before anything heavy loads."""
    code = "import sys, engine.look; print(sorted({'torch', 'numba', 'av'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
