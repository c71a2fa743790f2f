"""How many steps of each phase fit into the time there is."""

from __future__ import annotations

from collections.abc import Sequence


def fitted_steps(
    full: Sequence[int], step_seconds: Sequence[float], phase: int, done: int, seconds: float
) -> list[int]:
    """Steps of the phases from `phase` on when `done` of `phase` are behind us and `seconds` are left.

    They keep the proportions of `full` and never exceed it; each gets at least one step, and `phase` no
    fewer than it has done.
    """
    ahead = sum(n * s for n, s in zip(full[phase:], step_seconds[phase:], strict=True))
    share = (seconds + done * step_seconds[phase]) / ahead if ahead > 0 else 1.0
    share = min(1.0, max(0.0, share))
    fitted = [max(1, int(share * n)) for n in full[phase:]]
    fitted[0] = max(fitted[0], done)
    return fitted
