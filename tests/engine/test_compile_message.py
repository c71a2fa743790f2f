"""The one message before kernels are compiled, which takes a newcomer's first picture many seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ANNOUNCE = "from engine.backends import announce_compiling as a; a(); a()"
POSE = (
    "import torch; from render.cpu.rigs import CpuRig; from render.rigs.head import load_head; "
    "rig = load_head().with_shape(torch.zeros(1)); CpuRig(rig)(rig.neutral_params())"
)


def run(code: str, cache: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stderr


def test_it_is_said_once_and_not_again_when_the_kernels_are_on_disk(tmp_path: Path) -> None:
    assert run(ANNOUNCE, tmp_path).splitlines() == [
        "visavis: compiling the renderer for this processor, once: about 15 s"
    ]
    run(POSE, tmp_path)
    assert run(ANNOUNCE, tmp_path) == ""
