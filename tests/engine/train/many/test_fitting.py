"""A method trained on many people: through the command, on two processes, stopped and resumed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine import cli
from engine.errors import UsageError
from engine.train.data.dataset import write_dataset
from engine.train.loop.trainer import TrainerConfig
from engine.train.many.checkpoint import Shards
from engine.train.many.fitting import Fitting
from engine.train.methods import table
from render.avatars.file import load_avatar
from tests.engine.train.many.tints import Config, Halted, Tints, person_of

CPU = torch.device("cpu")


def tints(config: Config) -> Tints:
    torch.manual_seed(0)
    return Tints([person_of(seed) for seed in range(6)], config, CPU)


@pytest.fixture
def one_more_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(table.METHODS, "tints", "tests.engine.train.many.tints")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_command_fits_many_and_makes_an_avatar_of_another(
    one_more_line: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for seed in range(5):
        folders.append(str(tmp_path / f"{seed}.data"))
        write_dataset(person_of(seed), tmp_path / f"{seed}.data")
    network = tmp_path / "tints.network"
    settings = ["--set", "tints.steps=60", "--set", "tints.rate=0.05", "--device", "cpu"]
    assert cli.main(["train", "tints", "fit", *folders[:4], "-o", str(network), *settings]) == 0
    output = tmp_path / "stranger.avatar"
    stranger = [folders[4], "--network", str(network), "-o", str(output)]
    told = ["--consent", "nobody: made up", "--no-calibrate", "--device", "cpu"]
    assert cli.main(["train", "tints", "apply", *stranger, *told]) == 0
    assert f"visavis live --avatar {output}" in capfd.readouterr().out
    avatar = load_avatar(output)
    assert "method tints, to 4 people, applied to person4" in avatar.info.provenance
    colour = torch.rand(3, generator=torch.Generator().manual_seed(4))
    learned = avatar.gaussians.sh[0, 0] * 0.28209479177387814 + 0.5
    assert float((learned - colour).abs().mean()) < 0.6 * float((0.5 - colour).abs().mean())
    assert (
        cli.main(["train", "tints", "apply", folders[4], "--network", folders[0], *stranger[3:], *told]) == 2
    )


def test_resume_is_bit_equal(tmp_path: Path) -> None:
    every_step = TrainerConfig(checkpoint_seconds=0.0)
    whole = tints(Config(steps=8))
    straight = Fitting(whole, every_step, tmp_path / "whole").run()
    with pytest.raises(Halted):
        Fitting(tints(Config(steps=8, halt_at=5)), every_step, tmp_path / "halted").run()
    torch.manual_seed(99)
    resumed_method = Tints(whole._people, Config(steps=8), CPU)
    resumed = Fitting(resumed_method, every_step, tmp_path / "halted")
    resumed.resume()
    history = resumed.run()
    assert history.totals == straight.totals
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed_method.network.state_dict()[name]), name
    assert sorted(path.name for path in (tmp_path / "halted").iterdir()) == ["last"]


_RANK = """
import sys, torch
from pathlib import Path
from engine.train.loop.distributed import joined_ranks
from engine.train.loop.trainer import TrainerConfig
from engine.train.many.fitting import Fitting
from engine.train.many.network_file import save_network
from tests.engine.train.many.tints import Config, Halted, Tints, person_of
folder = Path(sys.argv[1])
cpu, every_step = torch.device("cpu"), TrainerConfig(checkpoint_seconds=0.0)
people = [person_of(seed) for seed in range(6)]
with joined_ranks(cpu) as ranks:
    def fitting(halt_at, how):
        torch.manual_seed(ranks.rank)  # the first rank's start is the one that counts
        method = Tints(people, Config(steps=8, batch=2, halt_at=halt_at), cpu)
        return method, Fitting(method, every_step, folder / how, shard=how == "shard", ranks=ranks)
    for how in ("replicate", "shard"):
        method, whole = fitting(-1, how)
        whole.run()
        save_network(folder / f"{how}.whole", "tints", {}, "", method.network, ranks)
        try:
            fitting(5, how)[1].run()
        except Halted:
            method, resumed = fitting(-1, how)
            resumed.resume()
            resumed.run()
            save_network(folder / f"{how}.resumed", "tints", {}, "", method.network, ranks)
"""


def test_two_ranks_equal_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """With whole copies and with shares of the network, straight through and resumed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "OMP_NUM_THREADS": "1"}
    (tmp_path / "rank.py").write_text(_RANK)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(tmp_path / "rank.py"), str(tmp_path),
    ]  # fmt: skip
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    alone = tints(Config(steps=8, batch=4))
    Fitting(alone, TrainerConfig(), tmp_path / "alone").run()
    for how in ("replicate", "shard"):
        whole, resumed = (load_file(tmp_path / f"{how}.{kind}") for kind in ("whole", "resumed"))
        for name, value in alone.network.state_dict().items():
            assert torch.equal(whole[name], resumed[name]), (how, name)
            # Sums in another order, divided by Adam.
            torch.testing.assert_close(whole[name], value, rtol=1e-4, atol=1e-5)
        one = Fitting(tints(Config(steps=8)), TrainerConfig(), tmp_path / how)
        with pytest.raises(UsageError, match="written by 2 processes, this is 1"):
            one.resume()


def test_a_checkpoint_that_names_other_code_is_refused(tmp_path: Path) -> None:
    Fitting(tints(Config(steps=4)), TrainerConfig(), tmp_path / "run").run()
    assert Shards(tmp_path / "run").names
    table_of_contents = tmp_path / "run" / "last" / ".metadata"
    table_of_contents.write_bytes(pickle.dumps(subprocess.Popen))
    with pytest.raises(UsageError, match=r"it names subprocess\.Popen"):
        Shards(tmp_path / "run")
    through_torch = b"\x80\x04\x8c\x27torch.distributed.checkpoint.filesystem\x94\x8c\x09os.system\x94\x93."
    table_of_contents.write_bytes(through_torch)
    with pytest.raises(UsageError, match=r"it names .*os\.system"):
        Shards(tmp_path / "run")
    with pytest.raises(UsageError, match="no checkpoint"):
        Shards(tmp_path / "none")
