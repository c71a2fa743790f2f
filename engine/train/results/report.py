"""The report of a training: one HTML file that needs nothing else, and the same figures as JSON."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contact_sheet import png_bytes
from engine.train.data.views import View
from engine.train.loop.history import History
from engine.train.results.curves import svg, thinned
from engine.train.results.evaluate import WHITE, Draw, Frame, means
from render.avatars.file import write_atomically

_ERROR_FULL_SCALE = 0.25  # mean absolute difference of the colours that is drawn white
_FIGURES = {"masked_psnr": "PSNR, person (dB)", "psnr": "PSNR, picture (dB)", "masked_ssim": "SSIM, person"}
_FIGURES |= {"ssim": "SSIM, picture", "sharpness": "sharpness, person", "lpips": "LPIPS, picture"}
_STYLE = """
:root{color-scheme:light dark;--ink:#1f2430;--soft:#6b7280;--line:#e2e5ea;--paper:#fff;--card:#f7f8fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#9aa1ad;--line:#333946;
--paper:#14171d;--card:#1c2028}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:960px;
margin:2rem auto;padding:0 1rem}h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
p.lead{color:var(--soft);margin:.2rem 0 0}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft)}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
figure{margin:0 0 1.2rem;background:var(--card);border-radius:8px;padding:.7rem}
figure .row{display:grid;grid-template-columns:repeat(3,1fr);gap:.5rem}
figure img{width:100%;border-radius:4px;display:block}figcaption{color:var(--soft);margin:0 0 .5rem}
figure .row div{text-align:center;color:var(--soft);font-size:13px}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}code{font-size:13px}details summary{cursor:pointer}
.tiles{display:flex;gap:.6rem;flex-wrap:wrap;margin:1rem 0}
.tiles div{background:var(--card);border-radius:8px;padding:.6rem .9rem}
.tiles b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:13px}
"""


@dataclass(frozen=True)
class TrainingReport:
    """What a training was and what came of it."""

    title: str
    trained: Sequence[Frame]  # held-out, as trained; empty when nothing is held out
    played: Sequence[Frame]  # the same views of the baked avatar, drawn by the live renderer
    num_held_out: int  # of which these are a part
    history: History
    config: Mapping[str, Any]
    seconds: Mapping[str, float]  # wall clock by part of the work
    steps: Mapping[str, tuple[int, int]]  # phase -> done, at full length
    facts: Mapping[str, Any]  # anything else, such as the number of Gaussians, in words or figures

    def as_json(self) -> dict[str, Any]:
        """JSON values of everything but the pictures and curves."""
        return {
            "title": self.title,
            "held_out_views": self.num_held_out,
            "measured_views": len(self.trained),
            "trained": means(self.trained) if self.trained else None,
            "played": means(self.played) if self.played else None,
            "frames": [
                {"view": t.name, "trained": asdict(t.quality), "played": asdict(p.quality)}
                for t, p in zip(self.trained, self.played, strict=True)
            ],
            "steps": {name: {"done": done, "full": full} for name, (done, full) in self.steps.items()},
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "last_loss": {p: values[-1] for p, values in self.history.totals.items() if values},
            "config": dict(self.config),
            **self.facts,
        }


def write_html(path: Path, report: TrainingReport, views: Sequence[View], draw: Draw) -> None:
    """Write the page; `draw` gives the pictures of the best, median and worst of `report.played`.

    Raises AvatarError when the disk refuses.
    """
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        f"<p class=lead>{_text(_summary(report))}</p>",
        _tiles(report),
        _figures_table(report),
        _pictures(report, views, draw),
        *_curves(report.history),
        _two_columns("Time", {name: f"{s:.1f} s" for name, s in report.seconds.items()}),
        _two_columns("Steps", {n: f"{done} of {full}" for n, (done, full) in report.steps.items()}),
        _two_columns("About", {key.replace("_", " "): value for key, value in report.facts.items()}),
        _two_columns("Configuration", report.config, code=True),
    ]
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{_text(report.title)}</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )
    write_atomically(path, lambda temporary: Path(temporary).write_text(page, encoding="utf-8"))


def _summary(report: TrainingReport) -> str:
    if not report.trained:
        return "Nothing was held out, so nothing was measured."
    return (
        f"Measured on {len(report.trained)} of {report.num_held_out} held-out views that training never saw: "
        "the person, matted, over white."
    )


def _tiles(report: TrainingReport) -> str:
    if not report.played:
        return ""
    figures = means(report.played)
    tiles = {
        "PSNR of the person, played live": f"{figures['masked_psnr']:.2f} dB",
        "SSIM of the person": f"{figures['masked_ssim']:.3f}",
        "change by baking": f"{figures['masked_psnr'] - means(report.trained)['masked_psnr']:+.2f} dB",
        "minutes in all": f"{sum(report.seconds.values()) / 60:.1f}",
    }
    return (
        "<div class=tiles>"
        + "".join(f"<div><b>{v}</b><span>{_text(k)}</span></div>" for k, v in tiles.items())
        + "</div>"
    )


def _figures_table(report: TrainingReport) -> str:
    if not report.trained:
        return ""
    trained, played = means(report.trained), means(report.played)
    rows = "".join(
        f"<tr><td>{label}<td class=n>{trained[name]:.3f}<td class=n>{played[name]:.3f}"
        f"<td class=n>{played[name] - trained[name]:+.3f}"
        for name, label in _FIGURES.items()
        if name in trained
    )
    note = (
        ""
        if "lpips" in trained
        else "<p class=lead>LPIPS was not measured: no weights were given (--lpips).</p>"
    )
    return (
        "<h2>Held-out quality</h2><table><tr><th>figure<th class=n>as trained<th class=n>as played"
        f"<th class=n>difference</tr>{rows}</table>{note}"
    )


def _pictures(report: TrainingReport, views: Sequence[View], draw: Draw) -> str:
    if not report.played:
        return ""
    by_quality = sorted(report.played, key=lambda frame: frame.quality.masked_psnr)
    chosen: dict[str, tuple[str, Frame]] = {}  # by view: of few views, one may be two of the three
    for label, frame in zip(
        ("worst", "median", "best"),
        (by_quality[0], by_quality[len(by_quality) // 2], by_quality[-1]),
        strict=True,
    ):
        labels = f"{chosen[frame.name][0]}, {label}" if frame.name in chosen else label
        chosen[frame.name] = labels, frame
    by_name = {view.name: view for view in views}
    background = torch.tensor(WHITE)
    figures = []
    for label, frame in chosen.values():
        view = by_name[frame.name]
        truth = view.read().over(background)
        rgb = draw(view, background).clamp(0, 1)
        cells = {"truth": _bytes(truth), "avatar, as played": _bytes(rgb), "error": _heat(truth, rgb)}
        row = "".join(
            f'<div><img alt="{_text(label)} {_text(what)}" src="{_data_url(p)}">{_text(what)}</div>'
            for what, p in cells.items()
        )
        q = frame.quality
        figures.append(
            f"<figure><figcaption><b>{label}</b>: {_text(frame.name)}, PSNR {q.masked_psnr:.2f} dB, "
            f"SSIM {q.masked_ssim:.3f} (person)</figcaption><div class=row>{row}</div></figure>"
        )
    return f"<h2>Held-out frames</h2>{''.join(figures)}"


def _bytes(picture: Tensor) -> NDArray[np.uint8]:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _heat(truth: Tensor, rgb: Tensor) -> NDArray[np.uint8]:
    """The mean absolute difference of the colours, from black to white."""
    import cv2

    error = (truth - rgb).abs().mean(-1) / _ERROR_FULL_SCALE
    return np.ascontiguousarray(cv2.applyColorMap(_bytes(error), cv2.COLORMAP_INFERNO)[..., ::-1])


def _data_url(picture: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def _curves(history: History) -> list[str]:
    parts = []
    for phase, terms in history.losses.items():
        curves = {"total": history.totals[phase], **(terms if len(terms) > 1 else {})}
        lines = {name: thinned(values) for name, values in curves.items()}
        parts.append(f"<h2>Loss: {_text(phase)}</h2>" + svg(lines, "step", logarithmic=True))
    if len(history.held_out) > 1:
        lines = {"preview view": [(float(step), value) for step, value in history.held_out]}
        parts.append(
            "<h2>PSNR of the preview's held-out view, dB</h2>" + svg(lines, "step", logarithmic=False)
        )
    return parts


def _two_columns(title: str, rows: Mapping[str, Any], code: bool = False) -> str:
    if not rows:
        return ""

    def cell(value: Any) -> str:
        return f"<code>{_text(value)}</code>" if code else _text(value)

    body = "".join(f"<tr><td>{cell(key)}<td>{cell(value)}" for key, value in rows.items())
    return f"<h2>{_text(title)}</h2><table>{body}</table>"


def _text(value: Any) -> str:
    return html.escape(str(value))
