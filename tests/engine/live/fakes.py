"""Stand-ins for the live loop's neighbours: clocks that tests move, detectors and sources that obey."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from capture.frame import Frame
from capture.latest import Latest
from engine.live.scene import Cast
from render.avatars.avatar import Avatar
from render.motion import FACE, Motion
from tracking.detect.detection import NUM_LANDMARKS, NUM_SCORES, Detection
from tracking.detect.process import DetectorLostError


class FakeClock:
    """Seconds and nanoseconds of one time line; waiting moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def ns(self) -> int:
        return round(self.now_s * 1e9)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now_s += seconds
        return event.is_set()


def frame(index: int = 0, capture_ns: int = 0) -> Frame:
    return Frame(np.zeros((48, 64, 3), np.uint8), capture_ns, index)


def found(capture_ns: int = 0, index: int = 0) -> Detection:
    return Detection(
        np.zeros((NUM_LANDMARKS, 3), np.float32),
        np.zeros(NUM_SCORES, np.float32),
        np.eye(4, dtype=np.float32),
        True,
        capture_ns,
        index,
        64,
        48,
    )


class FakeSource:
    """Frames that the test puts; `trouble` as the test says."""

    def __init__(self, fps: float = 30.0) -> None:
        self.fps = fps
        self.trouble: str | None = None
        self.latest: Latest[Frame] = Latest()
        self.closed = False

    @property
    def num_dropped(self) -> int:
        return self.latest.num_dropped

    def read(self, timeout_s: float | None = None) -> Frame | None:
        return self.latest.read(timeout_s)

    def close(self) -> None:
        self.closed = True
        self.latest.close()


class FakeDetector:
    """Finds a face in every frame, or does what the test says instead."""

    def __init__(self, script: Callable[[int], None] = lambda number: None) -> None:
        self._script = script
        self.num_asked = 0
        self.num_restarts = 0
        self.closed = False
        self.pid: int | None = None

    def detect(self, frame: Frame) -> Detection:
        self.num_asked += 1
        self._script(self.num_asked)
        return found(frame.capture_ns, frame.index)

    def restart(self) -> None:
        self.num_restarts += 1

    def close(self) -> None:
        self.closed = True


def dies(number: int) -> None:
    raise DetectorLostError("the face detector's process died (exit code -9)")


class FakeDriver:
    """Gives a face at rest and remembers what it was asked."""

    def __init__(self, avatar: Avatar) -> None:
        self.avatar = avatar
        self.seen: list[Detection] = []
        self.num_neutral_wishes = 0

    def update(self, detection: Detection) -> Motion:
        self.seen.append(detection)
        rest = Motion.neutral(self.avatar.rig.unit_names)
        return replace(rest, time_ns=detection.capture_ns, confidence={FACE: float(detection.found)})

    def remeasure_neutral(self) -> None:
        self.num_neutral_wishes += 1


def cast_of(avatar: Avatar, choice: str = "vera") -> Cast:
    driver: Any = FakeDriver(avatar)
    return Cast(choice, avatar, driver)


class FakeSink:
    """Keeps the pictures it is shown."""

    def __init__(self, watched: bool = True) -> None:
        self.watched = watched
        self.shown: list[tuple[NDArray[np.uint8], int]] = []
        self.closed = False

    def put(self, picture: NDArray[np.uint8], capture_ns: int) -> None:
        self.shown.append((picture, capture_ns))

    def close(self) -> None:
        self.closed = True


def small_avatar() -> Avatar:
    """The built-in head's rig with a few Gaussians bound to its vertices."""
    from render.avatars.avatar import AvatarInfo
    from render.avatars.bindings import VertexBinding
    from render.gaussians import Gaussians
    from render.rigs.head import load_head

    head = load_head()
    rig = head.with_shape(torch.zeros(head.shape_basis.shape[0])) if head.shape_basis is not None else head
    vertices = torch.arange(0, rig.num_vertices, 40)
    num = len(vertices)
    gaussians = Gaussians(
        means=torch.zeros(num, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(num, 1),
        log_scales=torch.full((num, 3), -4.5),
        logit_opacities=torch.full((num,), 2.0),
        sh=torch.rand(num, 1, 3, generator=torch.Generator().manual_seed(0)),
    )
    return Avatar(AvatarInfo("small"), rig, (VertexBinding(vertices),), gaussians)


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)
