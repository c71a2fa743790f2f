"""From a dataset to an avatar file: train, measure, bake, measure again, calibrate, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.report import write_json
from engine.train.data.views import Dataset, View
from engine.train.loop.checkpoint import read_checkpoint
from engine.train.loop.distributed import Ranks
from engine.train.loop.phase import Method
from engine.train.loop.trainer import Trainer, TrainerConfig
from engine.train.losses.lpips import Lpips
from engine.train.results.evaluate import drawn_as_played, evaluate, means, spread_out
from engine.train.results.monitor import Monitor
from engine.train.results.preview import Preview
from engine.train.results.report import TrainingReport, write_html
from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.file import save_avatar


@dataclass(frozen=True)
class Output:
    """The avatar file, and what training keeps beside it under the same stem."""

    avatar: Path

    @property
    def checkpoint(self) -> Path:
        return self.avatar.with_suffix(".checkpoint")

    @property
    def preview(self) -> Path:
        return self.avatar.with_suffix(".preview.png")

    @property
    def html(self) -> Path:
        return self.avatar.with_suffix(".report.html")

    @property
    def json(self) -> Path:
        return self.avatar.with_suffix(".report.json")

    def is_unfinished(self) -> bool:
        """Whether the checkpoint holds work that no avatar file has. Raises UsageError when it is damaged."""
        if not self.checkpoint.exists():
            return False
        state = read_checkpoint(self.checkpoint)
        return state["phase"] < len(state["steps"]) or not self.avatar.exists()


@dataclass(frozen=True)
class Order:
    """What was asked for, beside the method and its data."""

    output: Output
    info: AvatarInfo
    config: TrainerConfig
    config_record: Mapping[str, Any]  # all settings, the method's too
    budget_s: float | None = None
    resume: bool = False
    calibrate: bool = True
    lpips: Lpips | None = None
    compact: bool = False  # the avatar file, see `save_avatar`
    finish: Callable[[Avatar], Avatar] | None = None  # what else the avatar is to have, once it is baked
    started: float = field(default_factory=time.perf_counter)


def train_avatar(method: Method, dataset: Dataset, order: Order, ranks: Ranks) -> str | None:
    """Train, write all files, and return the lines to print; None on every rank but the first.

    Raises what `Trainer.run` raises, and AvatarError or OutputError when a file cannot be written.
    """
    held_out, output = dataset.of("test"), order.output
    seconds = {"load": time.perf_counter() - order.started}
    monitor = Monitor(_preview(method, dataset, output, ranks), order.config.preview_seconds)
    trainer = Trainer(
        method,
        order.config,
        output.checkpoint,
        config_record=order.config_record,
        ranks=ranks,
        budget_s=order.budget_s,
        started=order.started,
        observe=monitor,
        say=monitor.say,
    )
    if order.resume:
        trainer.resume()
    monitor.history = trainer.history
    if ranks.first and held_out:
        monitor.say(f"preview: {output.preview}")
    with monitor:
        history = trainer.run()
    seconds["train"] = trainer.elapsed_s - seconds["load"]
    if not ranks.first:
        return None

    left = float("inf")
    if trainer.budget_s is not None:  # a resumed run may be late, and is measured all the same
        left = max(trainer.budget_s - trainer.elapsed_s, order.config.finish_reserve_s(trainer.budget_s))
    views = spread_out(held_out, order.config.evaluate_views)
    with _timed(seconds, "measure"), torch.no_grad():
        trained = evaluate(_drawn_by(method), views, order.lpips, left / 4)
    with _timed(seconds, "bake"), torch.no_grad():
        avatar = method.avatar()
        told = (order.info.provenance, _provenance(method, dataset, trainer))
        info = replace(order.info, provenance="; ".join(filter(None, told)))
        avatar = avatar.replace(info=info, rig_reference=dataset.rig_reference).to("cpu")
        if order.finish is not None:
            avatar = order.finish(avatar)
    played_as = drawn_as_played(avatar)
    with _timed(seconds, "measure as played"):
        played = evaluate(played_as, views[: len(trained)], order.lpips)
    if order.calibrate:
        with _timed(seconds, "calibrate"):
            from engine.calibrate import calibrated_if_seen

            avatar = calibrated_if_seen(avatar, "trained, but not calibrated to the face detector")
    save_avatar(avatar, output.avatar, compact=order.compact)
    report = TrainingReport(
        title=f"{info.name}: {method.name} training",
        trained=trained,
        played=played,
        num_held_out=len(held_out),
        history=history,
        config=order.config_record,
        seconds=seconds,
        steps=trainer.steps_by_phase,
        facts={
            "dataset": dataset.name,
            "training_views": len(dataset.of("train")),
            "gaussians": avatar.gaussians.num_gaussians,
            "rig": avatar.rig.kind,
            "device": str(next(iter(method.parameters().values())).tensors[0].device),
            "processes": ranks.size,
            "divergences": trainer.halvings,
            "consent": info.consent,
            "licence": info.licence or "not stated",
            "provenance": info.provenance,
        },
    )
    write_html(output.html, report, held_out, played_as)
    write_json(output.json, report.as_json())
    return _result(report, output)


def _preview(method: Method, dataset: Dataset, output: Output, ranks: Ranks) -> Preview | None:
    held_out = dataset.of("test")
    if not ranks.first or not held_out:
        return None
    return Preview(method, held_out[len(held_out) // 2], output.preview)


def _drawn_by(method: Method) -> Any:
    def draw(view: View, background: Tensor) -> Tensor:
        return method.render(view, background).rgb

    return draw


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[part] = time.perf_counter() - start


def release() -> str:
    """This program's version, for an avatar's provenance."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("visavis")
    except PackageNotFoundError:  # run in a checkout, as bench.gpu_session is where nothing is installed
        return "from a checkout"


def _provenance(method: Method, dataset: Dataset, trainer: Trainer) -> str:
    steps = ", ".join(f"{name} {done}" for name, (done, _) in trainer.steps_by_phase.items())
    return (
        f"trained by visavis {release()}, method {method.name}, on {len(dataset.of('train'))} "
        f"pictures of {dataset.name or 'a dataset without a name'} "
        f"(steps: {steps}; seed {trainer.config.seed})"
    )


def _result(report: TrainingReport, output: Output) -> str:
    lines = [f"{output.avatar}: {report.facts['gaussians']} Gaussians on a {report.facts['rig']} rig"]
    if report.trained:
        trained, played = means(report.trained), means(report.played)
        lines.append(
            f"{len(report.trained)} held-out views, person: as trained PSNR {trained['masked_psnr']:.2f} dB, "
            f"SSIM {trained['masked_ssim']:.3f}; baked and played PSNR {played['masked_psnr']:.2f} dB, "
            f"SSIM {played['masked_ssim']:.3f}"
        )
    else:
        lines.append("no views were held out, so nothing was measured")
    lines += [f"report: {output.html}", f"play it: visavis live --avatar {output.avatar}"]
    return "\n".join(lines)
