"""The bookkeeping of SAGE's protocol."""

from __future__ import annotations

import pytest

from engine.train.methods.sage.protocol import ARMS, FIGURES, summary, table


def test_the_protocols_summary_pairs_people() -> None:
    base = dict.fromkeys(FIGURES, 20.0)
    people = []
    for person in range(3):
        rows = {arm: {figure: value + person for figure, value in base.items()} for arm in ARMS}
        rows["without phase two"]["reenactment_psnr"] -= 1.0 + 0.5 * person
        rows["bare phase one"]["reenactment_psnr"] -= 2.0
        people.append(rows)
    result = summary(people)
    gain = result["arms"]["without phase two"]["reenactment_psnr_gain"]
    assert gain["mean"] == pytest.approx(1.5)
    assert gain["spread"] == pytest.approx(0.5)  # of the differences, not of the people
    assert result["phase_two_gains_enough"]
    assert result["novel_view_loss_is_small"]
    assert "+1.50 ± 0.50 dB" in table(result)
    assert "bare phase one: +2.00 dB" in table(result)
