"""The launches as the driver gets them: through NVIDIA's bindings, into a driver that runs the emulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cuda.bindings.driver", reason="pip install 'visavis[gpu]'")

from render.cuda import device
from render.cuda.device import available
from render.cuda.program import kernels_for
from tests.render.cuda.cuda_renderers import need_compiler
from tests.render.cuda.emulation.device import build

_FRAMES = """
import ctypes, threading
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch

zeros, empty = torch.zeros, torch.empty
handles = iter(range(100, 200))
stream = SimpleNamespace(cuda_stream=7)
torch.cuda = SimpleNamespace(
    is_available=lambda: True, current_device=lambda: 0, get_device_capability=lambda device: (9, 0),
    current_stream=lambda device: stream, Stream=lambda device: SimpleNamespace(cuda_stream=next(handles)),
    synchronize=lambda device: None,
    Event=lambda: SimpleNamespace(record=lambda stream: None, synchronize=lambda: None),
)
torch.backends.cuda.is_built = lambda: True
torch.zeros = lambda *size, device=None, **kind: zeros(*size, **kind)
torch.empty = lambda *size, pin_memory=False, **kind: empty(*size, **kind)

from bench.scenes import ellipsoid_head, head_camera
from render.camera import Camera
from render.cuda.device import available, open_device
from render.cuda.renderer import CudaRenderer
from render.cuda.avatar_renderer import AvatarRenderer
from tests.render.cuda.cuda_renderers import emulated_device
from tests.render.avatars.small_avatars import random_avatar

assert available() is None, available()
device = open_device("cuda")
assert open_device("cuda") is device
device.device = torch.device("cpu")  # where this driver's memory is

scene, camera = ellipsoid_head(500, surfel=True), head_camera(64, 48)
expected = CudaRenderer(64, 48, emulated_device()).render_rgb8(scene, camera, (0.1, 0.2, 0.3))
assert (CudaRenderer(64, 48).render_rgb8(scene, camera, (0.1, 0.2, 0.3)) == expected).all()

avatar = random_avatar(each=30)
params = avatar.rig.neutral_params()
camera = Camera.look_at((0, 0, 6), (0, 0, 0), width=64, height=64, vertical_fov_deg=40)
expected = AvatarRenderer(avatar, 64, 64, device=emulated_device()).draw([params], [camera], (0, 0, 0))
assert expected.any()
renderer = AvatarRenderer(avatar, 64, 64, capacity=64)
pictures = []

def play():
    for _ in range(3):
        pictures.append(renderer.draw([params], [camera], (0, 0, 0)).copy())

thread = threading.Thread(target=play)  # one without a context of its own
thread.start()
thread.join()
assert len(pictures) == 3 and all((picture == expected).all() for picture in pictures)
assert renderer.statistics.captures == 2, renderer.statistics
driver = ctypes.CDLL("libcuda.so.1")
assert driver.emulated_graphs() == 1  # recorded twice, the first given back
renderer.close()
assert driver.emulated_graphs() == 0
print("drawn")
"""


def test_frames_through_nvidias_bindings(tmp_path: Path) -> None:
    need_compiler()
    kernels_for("sm_90", tmp_path / "visavis" / "cuda")  # here: the compiler, too, asks a driver for much
    exported = f"-Wl,--version-script={Path(__file__).parent / 'emulation' / 'driver.map'}"
    library = build((exported,), "driver.cpp", "libcuda.so.1")
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{library.parent}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "PYTHONPATH": os.getcwd(),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    ran = subprocess.run([sys.executable, "-c", _FRAMES], capture_output=True, text=True, env=environment)
    assert "drawn" in ran.stdout, ran.stderr[-4000:]


def test_every_obstacle_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from cuda.bindings import driver

    status = driver.CUresult
    monkeypatch.setattr(driver, "cuInit", lambda flags: (status.CUDA_ERROR_NO_DEVICE,))
    assert "no usable device (CUDA_ERROR_NO_DEVICE)" in str(available())
    monkeypatch.setattr(driver, "cuInit", lambda flags: (status.CUDA_SUCCESS,))
    monkeypatch.setattr(driver, "cuDriverGetVersion", lambda: (status.CUDA_SUCCESS, 12_020))
    assert "CUDA 12.2, this needs 12.8" in str(available())
    monkeypatch.setattr(driver, "cuDriverGetVersion", lambda: (status.CUDA_SUCCESS, 13_000))
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert "built without CUDA" in str(available())
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no usable CUDA device" in str(available())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert available() is None


def test_a_missing_package_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert "cuda-python is missing" in str(available())


def test_an_answer_of_the_driver_is_an_error_by_its_name() -> None:
    from cuda.bindings import driver

    answer: tuple[Any, ...] = (driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
    with pytest.raises(RuntimeError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        device._checked(answer)
