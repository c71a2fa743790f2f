"""The training loop: phases in order, checkpoints, a time budget, and what to do when training diverges."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from engine.errors import TrainingError, UsageError
from engine.train.loop.checkpoint import read_checkpoint, write_checkpoint
from engine.train.loop.config import refuse_other_config
from engine.train.loop.distributed import Ranks
from engine.train.loop.history import History, LossWatch
from engine.train.loop.optimiser import Optimiser
from engine.train.loop.phase import Phase, Step, Trainable
from engine.train.loop.plan import fitted_steps
from engine.train.loop.random_state import RandomState

_PROBE_STEPS = 3  # timed, behind one that pays for what is made on first use
_FEWEST_STEPS = 20  # of a phase that is worth the name
_LOOKS_PER_PHASE = 100  # how often a budgeted phase looks at the clock


@dataclass(frozen=True)
class TrainerConfig:
    """How to train, whatever the method."""

    seed: int = 0
    checkpoint_seconds: float = 60.0  # a killed run loses at most this much
    preview_seconds: float = 5.0  # between two preview pictures
    finish_share: float = 0.12  # of a time budget, kept for held-out metrics, baking and the report,
    finish_seconds: float = 75.0  # but at least this, up to half of the budget
    evaluate_views: int = 100  # held-out views measured at the end, evenly spread; fewer if time is short
    window: int = 200  # steps over which a climbing loss is noticed
    halvings: int = 6  # of the learning rates after divergences, before giving up

    def finish_reserve_s(self, budget_s: float) -> float:
        """How much of a budget is kept for what follows training."""
        return min(max(self.finish_share * budget_s, self.finish_seconds), budget_s / 2)


@dataclass(frozen=True)
class Progress:
    """What a step ended with, for bars and previews."""

    phase: str
    step: int  # of the phase, done
    steps: int  # of the phase, planned
    done: int  # steps of all phases
    planned: int
    loss: float
    step_seconds: float


class Trainer:
    """Runs a method's phases to their end.

    `config_record` is the whole configuration as dotted keys; a checkpoint keeps it. `observe` is told of
    every step; it may take its time and draw random numbers, training goes on the same. `say` gets one line
    of text for people. `budget_s` counts from `started` (of `time.perf_counter`) and includes the share that
    is kept for what follows training.
    """

    def __init__(
        self,
        method: Trainable,
        config: TrainerConfig,
        checkpoint: Path,
        *,
        config_record: Mapping[str, Any] | None = None,
        ranks: Ranks | None = None,
        budget_s: float | None = None,
        started: float | None = None,
        observe: Callable[[Progress], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.method = method
        self.config = config
        self.checkpoint = checkpoint
        self.config_record = dict(config_record or {})
        self.ranks = ranks or Ranks()
        self.budget_s = budget_s
        self.history = History()
        self.halvings = 0  # how often a divergence halved the rates
        self._observe = observe
        self._say = say if say is not None and self.ranks.first else _quiet
        self._started = time.perf_counter() if started is None else started
        self._earlier_s = 0.0  # of runs before this one
        self._random = RandomState(config.seed, self.ranks.rank)
        self._phases: list[Phase[Any]] = list(method.phases())
        self._full = [phase.steps for phase in self._phases]
        self._steps = list(self._full)  # as planned
        self._step_seconds = [0.0] * len(self._phases)
        self._phase, self._done = 0, 0
        self._factor = 1.0  # of every rate
        self._optimiser = Optimiser(method.parameters())
        self._watch = LossWatch(config.window)
        self._saved_at = -math.inf
        self._stop_signal = 0
        self._resumed = False

    @property
    def elapsed_s(self) -> float:
        """Seconds so far, those of the runs before a resume too."""
        return self._earlier_s + time.perf_counter() - self._started

    @property
    def steps_by_phase(self) -> dict[str, tuple[int, int]]:
        """Phase -> steps as planned, steps at full length."""
        return {p.name: (n, p.steps) for p, n in zip(self._phases, self._steps, strict=True)}

    def resume(self) -> None:
        """Go on from the checkpoint. Raises UsageError when it is missing, damaged or of another training."""
        state = self._stored()
        if state["method_name"] != self.method.name:
            raise UsageError(
                f"{self.checkpoint} is of a {state['method_name']} training, not {self.method.name}"
            )
        if state["ranks"] != self.ranks.size:
            raise UsageError(
                f"{self.checkpoint} was written by {state['ranks']} processes, this is {self.ranks.size}; "
                "resume with as many"
            )
        refuse_other_config(self.checkpoint, state["config"], self.config_record)
        self._load(state)
        self._earlier_s = state["elapsed_s"]
        if self.budget_s is None:
            self.budget_s = state["budget_s"]
        self._resumed = True

    def run(self) -> History:
        """Train to the end of the last phase; the checkpoint then holds the finished state.

        Raises TrainingError when training diverges for good, OutputError when a checkpoint cannot be
        written; after Ctrl-C (SIGTERM) KeyboardInterrupt (SystemExit), with the last step in the checkpoint.
        """
        with self._stop_between_steps():
            if not self._resumed:
                self._start_alike()
                self._save()
                if self.budget_s is not None:
                    self._probe()
            if self.budget_s is not None and self._phase < len(self._phases):
                self._fit_to_budget(self._elapsed_of_first())
                self._announce_plan()
            while self._phase < len(self._phases):
                self._run_phase()
                self._phase, self._done = self._phase + 1, 0
                self._save()
        return self.history

    # -- steps -------------------------------------------------------------------------------------------

    def _run_phase(self) -> None:
        """The steps of the current phase that are still to do."""
        phase = self._phases[self._phase]
        self._enter(phase)
        self._watch.reset(self.history.totals.get(phase.name, [])[: self._done])
        clock: tuple[float, int] | None = None  # seconds and steps when the pace was last looked at
        look_every = max(1, self._full[self._phase] // _LOOKS_PER_PHASE)
        while self._done < self._steps[self._phase]:
            start = time.perf_counter()
            outcome = self._train_step(phase, self._step())
            if not outcome.finite:
                self._recover(phase, outcome.losses)
                clock = None
                continue
            self._done += 1
            self.history.add(phase.name, outcome.losses)
            if warning := self._watch.see(self.history.totals[phase.name][-1]):
                self._say(f"{phase.name}, step {self._done}: {warning}")
            if outcome.stop or outcome.save:
                self._save()
            if outcome.stop:
                self._leave(phase)
            self._tell(phase, outcome.losses, time.perf_counter() - start)
            if clock is None:
                clock = outcome.seconds, self._done
            elif self.budget_s is not None and self._done % look_every == 0:
                self._step_seconds[self._phase] = (outcome.seconds - clock[0]) / (self._done - clock[1])
                self._fit_to_budget(outcome.seconds)
                clock = outcome.seconds, self._done

    def _step(self, index: int | None = None) -> Step:
        index = self._done if index is None else index
        progress = min(1.0, index / self._steps[self._phase])
        return Step(index, progress, self._random.shared, self._random.own)

    def _train_step(self, phase: Phase[Any], step: Step) -> _Outcome:
        """One step; the parameters stay where they were when a loss or a gradient is not finite."""
        items = self.ranks.share(phase.sample(step, phase.batch * self.ranks.size))
        self._optimiser.zero_grad()
        terms = self._terms(phase, items, step)
        stacked = torch.stack(list(terms.values()))
        stacked.sum().backward()
        losses = dict(zip(terms, self.ranks.mean(stacked.detach()).tolist(), strict=True))
        # Every rank may be told to stop; the first one's clock and disk are the ones that count.
        save_due = time.perf_counter() - self._saved_at >= self.config.checkpoint_seconds
        signals = [float(self._stop_signal != 0), float(save_due), self.elapsed_s]
        if not self.ranks.first:
            signals[1:] = [0.0, 0.0]
        stop, save, seconds = self._agree(signals)
        norm = self._optimiser.clip()
        finite = math.isfinite(norm) and all(map(math.isfinite, losses.values()))
        if finite:
            self._optimiser.step(self._factor * phase.schedule(step.progress))
            rows = None if phase.after_step is None else phase.after_step(step)
            if rows is not None:
                self._optimiser = self._optimiser.reindexed(self.method.parameters(), rows)
                self._optimiser.freeze(phase.frozen)
        return _Outcome(losses, finite, stop > 0, save > 0, seconds)

    def _tell(self, phase: Phase[Any], losses: Mapping[str, float], seconds: float) -> None:
        if self._observe is None or not self.ranks.first:
            return
        before = sum(self._steps[: self._phase])
        progress = Progress(
            phase=phase.name,
            step=self._done,
            steps=self._steps[self._phase],
            done=before + self._done,
            planned=sum(self._steps),
            loss=sum(losses.values()),
            step_seconds=seconds,
        )
        with self._random.untouched():
            self._observe(progress)

    def _recover(self, phase: Phase[Any], losses: Mapping[str, float]) -> None:
        """Back to the checkpoint, at half the rate."""
        where = f"{phase.name}, step {self._done + 1}"
        culprits = [name for name, loss in losses.items() if not math.isfinite(loss)]
        what = f"loss {culprits[0]} is {losses[culprits[0]]}" if culprits else "the gradient is not finite"
        self.halvings += 1
        if self.halvings > self.config.halvings:
            raise TrainingError(
                f"training diverged at {where}: {what}, after {self.config.halvings} halvings of the "
                "learning rates; look at the data's quality report, or start again with lower rates"
            )
        halvings, factor = self.halvings, self._factor / 2
        self._load(self._stored())
        self.halvings, self._factor = halvings, factor
        self._enter(phase)
        self._watch.reset(self.history.totals.get(phase.name, [])[: self._done])
        self._say(f"{where}: {what}; back to step {self._done}, learning rates x {factor:g}")

    # -- what another way to share the work replaces (engine/train/many/fitting.py) ------------------------

    def _start_alike(self) -> None:
        """Give every rank the first one's values."""
        self.ranks.spread(self._optimiser.tensors())

    def _enter(self, phase: Phase[Any]) -> None:
        """Make ready for steps of a phase."""
        self._optimiser.freeze(phase.frozen)

    def _terms(self, phase: Phase[Any], items: Sequence[Any], step: Step) -> Mapping[str, torch.Tensor]:
        return phase.loss(items, step)

    def _agree(self, signals: Sequence[float]) -> list[float]:
        """After the backward pass: gradients averaged over the ranks, and the `signals` summed."""
        return self.ranks.average_gradients(self._optimiser.tensors(), signals)

    def _store(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; called on every rank."""
        if self.ranks.first:
            write_checkpoint(self.checkpoint, state)

    def _stored(self) -> dict[str, Any]:
        """The last checkpoint. Raises UsageError when it is missing or damaged."""
        return read_checkpoint(self.checkpoint)

    # -- time --------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Time a few steps of every phase, then take them back."""
        for index, phase in enumerate(self._phases):
            self._phase = index
            self._enter(phase)
            for number in range(1 + _PROBE_STEPS):
                if number == 1:
                    began = self._elapsed_of_first()
                self._train_step(phase, self._step(number))
            self._step_seconds[index] = (self._elapsed_of_first() - began) / _PROBE_STEPS
        measured = self._step_seconds
        self._load(self._stored())
        self._step_seconds = measured

    def _fit_to_budget(self, elapsed_s: float) -> None:
        assert self.budget_s is not None
        left = self.budget_s - self.config.finish_reserve_s(self.budget_s) - elapsed_s
        ahead = fitted_steps(self._full, self._step_seconds, self._phase, self._done, left)
        self._steps = self._steps[: self._phase] + ahead

    def _elapsed_of_first(self) -> float:
        """The first rank's clock: plans must be the same everywhere."""
        seconds = torch.tensor(
            [self.elapsed_s], dtype=torch.float64, device=self._optimiser.tensors()[0].device
        )
        self.ranks.spread([seconds])
        return float(seconds)

    def _announce_plan(self) -> None:
        assert self.budget_s is not None
        steps = ", ".join(
            f"{name} {planned} steps" + (f" of {full}" if planned < full else "")
            for name, (planned, full) in self.steps_by_phase.items()
        )
        self._say(
            f"plan for {self.budget_s / 60:g} min ({self.elapsed_s / 60:.1f} spent so far): {steps}; "
            f"{self.config.finish_reserve_s(self.budget_s) / 60:.1f} min kept for metrics, baking, the report"
        )
        if any(planned < min(full, _FEWEST_STEPS) for planned, full in self.steps_by_phase.values()):
            self._say("that is too little time for an avatar on this machine; give more with --budget")

    # -- state -------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Write the checkpoint; all ranks take part."""
        state = {
            "method_name": self.method.name,
            "method": dict(self.method.state_dict()),
            "config": self.config_record,
            "ranks": self.ranks.size,
            "random": self.ranks.gather(self._random.state_dict()),
            "optimiser": self._optimiser.state_dict(),
            "phase": self._phase,
            "done": self._done,
            "steps": list(self._steps),
            "step_seconds": list(self._step_seconds),
            "factor": self._factor,
            "halvings": self.halvings,
            "history": self.history.state_dict(),
            "elapsed_s": self.elapsed_s,
            "budget_s": self.budget_s,
        }
        self._store(state)
        self._saved_at = time.perf_counter()
        self.ranks.wait()

    def _load(self, state: Mapping[str, Any]) -> None:
        self.method.load_state_dict(state["method"])
        self._optimiser = Optimiser(self.method.parameters())
        self._optimiser.load_state_dict(state["optimiser"])
        self._random.load_state_dict(state["random"][self.ranks.rank])
        self.history.load_state_dict(state["history"])
        self._phase, self._done = state["phase"], state["done"]
        self._steps, self._step_seconds = list(state["steps"]), list(state["step_seconds"])
        self._factor, self.halvings = state["factor"], state["halvings"]

    @contextmanager
    def _stop_between_steps(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM lets the step end and the checkpoint be written, a second does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(signum: int, frame: FrameType | None) -> None:
            if self._stop_signal:
                _raise(signum)
            self._stop_signal = signum

        caught = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _leave(self, phase: Phase[Any]) -> None:
        self._say(
            f"stopped at {phase.name}, step {self._done} of {self._steps[self._phase]}, kept in "
            f"{self.checkpoint}; the same command with --resume goes on"
        )
        _raise(self._stop_signal or signal.SIGINT)


@dataclass(frozen=True)
class _Outcome:
    losses: Mapping[str, float]  # terms, means over the ranks
    finite: bool
    stop: bool  # what follows is agreed on by all ranks
    save: bool
    seconds: float  # elapsed on the first


def _raise(signum: int) -> None:
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + signum)


def _quiet(line: str) -> None:
    """Say nothing."""
