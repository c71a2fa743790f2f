"""What of this machine a training takes."""

from __future__ import annotations

import os

import torch

from engine.errors import UsageError


def chosen_device(name: str) -> torch.device:
    """The device that `--device` names; of several GPUs this process's own. Raises UsageError."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: torch sees no GPU; use --device cpu, or install a CUDA build of torch"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def threads_per_process() -> int:
    """All cores: the one thread that the command line leaves to maths is for jobs that share them out."""
    from render.cpu.renderer import usable_cores

    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
