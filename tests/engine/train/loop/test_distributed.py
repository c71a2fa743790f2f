"""Two processes on gloo: equal to each other, and to one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.errors import UsageError
from engine.train.loop.checkpoint import read_checkpoint
from engine.train.loop.distributed import Ranks
from engine.train.loop.trainer import Trainer, TrainerConfig
from tests.engine.train.loop.bound_gaussians import BoundGaussians, Config, checkpoint_in, pictures_of_vera

_RANK = """
import sys, torch
from pathlib import Path
from engine.train.loop.distributed import joined_ranks
from engine.train.loop.trainer import Trainer, TrainerConfig
from tests.engine.train.loop.bound_gaussians import BoundGaussians, Config, pictures_of_vera
folder = Path(sys.argv[1])
cpu = torch.device("cpu")
with joined_ranks(cpu) as ranks:
    method = BoundGaussians(pictures_of_vera(), Config(steps=3, batch=2), cpu)
    if not ranks.first:
        method.values["sh"] += 1  # the first rank's start is the one that counts
    Trainer(method, TrainerConfig(), folder / "run.checkpoint", ranks=ranks).run()
    torch.save(method.state_dict(), folder / f"rank{ranks.rank}.pt")
"""


def test_two_ranks_equal_one_with_the_doubled_batch(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "OMP_NUM_THREADS": "1"}
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(script), str(tmp_path),
    ]  # fmt: skip
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for name, value in first["values"].items():
        assert torch.equal(value, second["values"][name]), name

    alone = BoundGaussians(pictures_of_vera(), Config(steps=3, batch=4), torch.device("cpu"))
    Trainer(alone, TrainerConfig(), tmp_path / "alone").run()
    for name, value in alone.values.items():
        # Sums in another order; Adam's division makes relative errors of tiny gradients whole steps of
        # their rate at worst, and none is that small here.
        torch.testing.assert_close(first["values"][name], value, rtol=1e-4, atol=1e-5, msg=name)

    state = read_checkpoint(checkpoint_in(tmp_path))
    assert len(state["random"]) == 2
    assert torch.equal(state["random"][0]["shared"], state["random"][1]["shared"])
    assert not torch.equal(state["random"][0]["own"], state["random"][1]["own"])
    one = Trainer(alone, TrainerConfig(), checkpoint_in(tmp_path))
    with pytest.raises(UsageError, match="written by 2 processes, this is 1"):
        one.resume()


def test_one_rank_needs_no_group() -> None:
    alone = Ranks()
    assert alone.share([1, 2, 3]) == [1, 2, 3]
    assert alone.average_gradients([torch.zeros(1)], [1, 0]) == [1.0, 0.0]
