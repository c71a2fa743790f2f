"""The loop: it learns, resumes bit by bit, keeps to a budget, survives divergence and interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.errors import TrainingError, UsageError
from engine.train.loop.checkpoint import read_checkpoint
from engine.train.loop.phase import Phase
from engine.train.loop.trainer import Progress, Trainer, TrainerConfig
from tests.child_process import started
from tests.engine.train.loop.bound_gaussians import (
    BoundGaussians,
    Config,
    NoisyBoundGaussians,
    checkpoint_in,
    pictures_of_vera,
)

CPU = torch.device("cpu")
EVERY_STEP = TrainerConfig(checkpoint_seconds=0.0)


class Halted(Exception):
    pass


def method(config: Config = Config(), kind: type[BoundGaussians] = BoundGaussians) -> BoundGaussians:  # noqa: B008
    return kind(pictures_of_vera(), config, CPU)


def halt_at(done: int) -> Callable[[Progress], None]:
    def observe(progress: Progress) -> None:
        if progress.done == done:
            raise Halted

    return observe


def test_loss_falls_phase_by_phase_and_frozen_groups_stay(tmp_path: Path) -> None:
    fitted = method(Config(steps=25))
    before = {name: value.clone() for name, value in fitted.values.items()}
    seen: list[dict[str, torch.Tensor]] = []

    def observe(progress: Progress) -> None:
        if progress.step == progress.steps:
            seen.append({name: value.detach().clone() for name, value in fitted.values.items()})

    trainer = Trainer(fitted, TrainerConfig(), checkpoint_in(tmp_path), observe=observe)
    history = trainer.run()
    for phase in ("colour", "shape"):
        totals = history.totals[phase]
        # Single steps see different views; five make a round. Without learning, rounds are equal.
        assert sum(totals[-5:]) < 0.95 * sum(totals[:5]), phase
    after_colour, after_shape = seen
    assert torch.equal(before["means"], after_colour["means"])
    assert not torch.equal(before["sh"], after_colour["sh"])
    assert torch.equal(after_colour["sh"], after_shape["sh"])
    assert not torch.equal(after_colour["means"], after_shape["means"])


@pytest.mark.parametrize("done", [3, 9])
def test_resume_is_bit_equal(tmp_path: Path, done: int) -> None:
    whole = method(kind=NoisyBoundGaussians)
    straight = Trainer(whole, EVERY_STEP, tmp_path / "whole")
    straight.run()

    halted = Trainer(
        method(kind=NoisyBoundGaussians), EVERY_STEP, checkpoint_in(tmp_path), observe=halt_at(done)
    )
    with pytest.raises(Halted):
        halted.run()
    torch.manual_seed(99)  # another process has another history of chance
    resumed_method = method(kind=NoisyBoundGaussians)
    resumed = Trainer(resumed_method, EVERY_STEP, checkpoint_in(tmp_path))
    resumed.resume()
    resumed.run()

    for name, value in whole.values.items():
        assert torch.equal(value, resumed_method.values[name]), name
    first, second = (read_checkpoint(path) for path in (tmp_path / "whole", checkpoint_in(tmp_path)))
    for name, states in first["optimiser"].items():
        for ours, theirs in zip(states, second["optimiser"][name], strict=True):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert first["random"][0]["python"] == second["random"][0]["python"]
    assert torch.equal(first["random"][0]["torch"], second["random"][0]["torch"])
    assert straight.history.totals == resumed.history.totals


def test_previews_do_not_change_training(tmp_path: Path) -> None:
    plain, watched = method(kind=NoisyBoundGaussians), method(kind=NoisyBoundGaussians)
    Trainer(plain, TrainerConfig(), tmp_path / "plain").run()

    def meddle(progress: Progress) -> None:
        torch.manual_seed(progress.done)

    Trainer(watched, TrainerConfig(), tmp_path / "watched", observe=meddle).run()
    assert all(torch.equal(plain.values[name], watched.values[name]) for name in plain.values)


def test_divergence_goes_back_and_halves_the_rate(tmp_path: Path) -> None:
    said: list[str] = []
    poisoned = method(Config(poison=4))
    trainer = Trainer(poisoned, EVERY_STEP, checkpoint_in(tmp_path), say=said.append)
    history = trainer.run()
    assert trainer.halvings == 1
    (line,) = [line for line in said if "loss rgb is nan" in line]
    assert "colour, step 5" in line
    assert "learning rates x 0.5" in line
    assert [len(history.totals[name]) for name in ("colour", "shape")] == [6, 6]
    assert all(value.isfinite().all() for value in poisoned.values.values())


def test_endless_divergence_is_an_error(tmp_path: Path) -> None:
    class Hopeless(BoundGaussians):
        def loss(self, views, step):  # type: ignore[no-untyped-def]
            return {"rgb": super().loss(views, step)["rgb"] / 0.0}

    trainer = Trainer(method(kind=Hopeless), TrainerConfig(halvings=2), checkpoint_in(tmp_path))
    with pytest.raises(TrainingError, match=r"colour, step 1: loss rgb is inf, after 2 halvings"):
        trainer.run()


def test_budget_plans_by_measured_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only steps move: 10 s each for one phase, 40 s for the other, 20 minutes in all."""
    now = [0.0]
    monkeypatch.setattr("engine.train.loop.trainer.time.perf_counter", lambda: now[0])

    class Slow(BoundGaussians):
        def phases(self):  # type: ignore[no-untyped-def]
            def slow(phase: Phase, seconds: float) -> Phase:
                def loss(views, step):  # type: ignore[no-untyped-def]
                    now[0] += seconds
                    return {"size": self.values["log_scales"].square().mean() + self.values["sh"].mean()}

                return replace(phase, loss=loss)

            return [
                slow(phase, seconds) for phase, seconds in zip(super().phases(), (10.0, 40.0), strict=True)
            ]

    said: list[str] = []
    trainer = Trainer(
        method(Config(steps=1000), Slow), TrainerConfig(), checkpoint_in(tmp_path),
        budget_s=1200.0, started=0.0, say=said.append,
    )  # fmt: skip
    trainer.run()
    # 1200 s less 12 % for what follows, less four steps of each phase to time them: 856 s of 50 s a pair.
    assert trainer.steps_by_phase == {"colour": (17, 1000), "shape": (17, 1000)}
    assert now[0] <= 1200 * 0.88
    assert said[0].startswith(
        "plan for 20 min (3.3 spent so far): colour 17 steps of 1000, shape 17 steps of 1000; 2.4 min kept"
    )
    assert "too little time" in said[1]


def test_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    Trainer(method(), TrainerConfig(), checkpoint_in(tmp_path), config_record={"a.rate": 1.0}).run()
    other = Trainer(method(), TrainerConfig(), checkpoint_in(tmp_path), config_record={"a.rate": 2.0})
    with pytest.raises(UsageError, match=r"trained with a\.rate = 1\.0, now it is 2\.0"):
        other.resume()


_RUN = """
import sys, time
from pathlib import Path
from engine.train.loop.trainer import Trainer, TrainerConfig
from tests.engine.train.loop.test_trainer import method
from tests.engine.train.loop.bound_gaussians import Config, NoisyBoundGaussians
def observe(progress):
    print(progress.done, flush=True)
    time.sleep(0.05)
trainer = Trainer(method(Config(steps=200), NoisyBoundGaussians), TrainerConfig(checkpoint_seconds=0.0),
    Path(sys.argv[1]), observe=observe, say=lambda line: print(line, file=sys.stderr))
trainer.run()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_killed_runs_keep_their_steps(tmp_path: Path, number: signal.Signals) -> None:
    checkpoint = checkpoint_in(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    with started(
        [sys.executable, "-c", _RUN, str(checkpoint)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = iter(process.stdout)
        while int(next(lines)) < 5:
            pass
        process.send_signal(number)
        rest, errors = process.communicate(timeout=300)
    done = max([5, *map(int, rest.split())])
    state = read_checkpoint(checkpoint)
    # Written before a step is told of; a kill may come behind that, but before the next is.
    assert done <= state["done"] <= done + 1
    assert [path.name for path in tmp_path.iterdir() if ".part" not in path.name] == [checkpoint.name]
    if number == signal.SIGINT:
        assert f"stopped at colour, step {state['done']} of 200" in errors
        assert "--resume" in errors
        assert "KeyboardInterrupt" in errors  # cli.main turns it into exit code 130
