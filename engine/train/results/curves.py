"""Curves as inline SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

_COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#db2777")
_CURVE_POINTS = 300
_WIDTH, _LEAST_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 250, 62, 150, 14, 40
_LEGEND_ROW = 17


def thinned(values: Sequence[float]) -> list[tuple[float, float]]:
    """Means over equal stretches of steps; stretches without a finite value are left out."""
    stretch = max(1, math.ceil(len(values) / _CURVE_POINTS))
    points = []
    for start in range(0, len(values), stretch):
        finite = [v for v in values[start : start + stretch] if math.isfinite(v)]
        if finite:
            points.append((start + stretch / 2, sum(finite) / len(finite)))
    return points


def svg(lines: Mapping[str, list[tuple[float, float]]], axis: str, *, logarithmic: bool) -> str:
    """Curves with a legend; a logarithmic scale leaves out what is not positive."""
    if logarithmic:
        lines = {n: [(x, math.log10(y)) for x, y in points if y > 0] for n, points in lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return "<p class=lead>No positive value to draw.</p>"
    height = max(_LEAST_HEIGHT, _TOP + _LEGEND_ROW * (len(lines) + 1))
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x0, x1 = min(0.0, *xs), max(*xs, 1.0)
    y0, y1 = min(ys), max(ys)
    margin = max(0.05 * (y1 - y0), 0.02)
    y0, y1 = y0 - margin, y1 + margin

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT),
            height - _BOTTOM - (y - y0) / (y1 - y0) * (height - _TOP - _BOTTOM),
        )

    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role=img>']
    for number in range(5):
        y = y0 + (y1 - y0) * number / 4
        px, py = place(x0, y)
        label = f"{10**y:.2g}" if logarithmic else f"{y:.2f}"
        parts.append(
            f'<line x1="{px:.0f}" x2="{_WIDTH - _RIGHT}" y1="{py:.1f}" y2="{py:.1f}" stroke="var(--line)"/>'
            f'<text x="{px - 6:.0f}" y="{py + 4:.1f}" text-anchor="end">{label}</text>'
        )
        x = x0 + (x1 - x0) * number / 4
        px, _ = place(x, y0)
        parts.append(f'<text x="{px:.0f}" y="{height - 22}" text-anchor="middle">{x:.4g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{height - 6}" text-anchor="middle">{axis}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dashes = ' stroke-dasharray="5 3"' if number >= len(_COLOURS) else ""
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(x, y) for x, y in points))
        dot = f'<circle cx="{path.split(",")[0]}" cy="{path.split(",")[1]}" r="3" fill="{colour}"/>'
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>'
            + (dot if len(points) == 1 else "")
        )
        y_px = _TOP + 10 + _LEGEND_ROW * number
        parts.append(
            f'<line x1="{_WIDTH - _RIGHT + 14}" x2="{_WIDTH - _RIGHT + 32}" y1="{y_px}" y2="{y_px}" '
            f'stroke="{colour}" stroke-width="3"{dashes}/>'
            f'<text x="{_WIDTH - _RIGHT + 38}" y="{y_px + 4}">{html.escape(name)}</text>'
        )
    return "".join(parts) + "</svg>"
