"""What is shown of a motion that comes over a network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from render import axis_angle
from render.motion import Motion, shifted
from transport.motion.playout import Playout
from transport.motion.wire import FACE, JOINTS, Told

FRAME_NS = 33_333_333
PICTURE_NS = 16_666_667
CLOCK_NS = 3_600_000_000_000  # ours is an hour ahead


def moment(time_ns: int) -> Motion:
    """A mouth that opens and shuts within a second, and a head that turns with it."""
    phase = 2 * np.pi * time_ns / 1e9
    return Motion(
        ("jawOpen", "mouthSmileLeft"),
        np.array([0.5 - 0.5 * np.cos(phase), 0.3]),
        np.array([0.0, 0.4 * np.sin(phase), 0.0]),
        np.array([0.01 * np.sin(phase), 0.0, 0.0]),
        time_ns,
        {"face": 1.0},
    )


def told(time_ns: int, fps: float = 30.0) -> Told:
    return Told(FACE, 0, moment(time_ns), fps)


def play(
    arrivals: list[tuple[int, int]], playout: Playout, until_ns: int = 4_000_000_000
) -> list[tuple[int, Motion]]:
    """What is shown sixty times a second of moments that come at the times told; arrival, moment's time."""
    left = sorted(arrivals)
    shown = []
    for now in range(0, until_ns, PICTURE_NS):
        while left and left[0][0] <= now:
            arrival, time_ns = left.pop(0)
            playout.put(told(time_ns), CLOCK_NS + arrival)
        motion = playout.at(CLOCK_NS + now)
        if motion is not None:
            shown.append((now, motion))
    return shown


def greatest_step(shown: list[tuple[int, Motion]]) -> float:
    return max(
        float(np.abs(after.weights - before.weights).max())
        for (_, before), (_, after) in itertools.pairwise(shown)
    )


def stream(seconds: float = 4.0) -> list[int]:
    return [k * FRAME_NS for k in range(int(seconds * 30))]


def test_without_loss_it_is_what_was_sent_a_moment_later() -> None:
    playout = Playout()
    shown = play([(time + 5_000_000, time) for time in stream()], playout)
    assert playout.delay_s == pytest.approx(1 / 30, abs=1e-3)
    for now, motion in shown[5:-5]:
        assert motion.time_ns == pytest.approx(now - 5_000_000 - FRAME_NS, abs=2e6)
        wanted = moment(motion.time_ns)
        assert np.abs(motion.weights - wanted.weights).max() < 0.01, "a straight line between two moments"
        assert np.linalg.norm(axis_angle.difference(motion.head_rotation, wanted.head_rotation)) < 0.01


def test_a_loss_is_never_seen_as_a_jump() -> None:
    smooth = greatest_step(play([(time, time) for time in stream()], Playout()))
    rng = np.random.default_rng(0)
    for loss in (0.05, 0.2):
        kept = [(time, time) for time in stream() if rng.random() >= loss]
        shown = play(kept, Playout())
        assert greatest_step(shown) < 1.6 * smooth
        errors = [
            np.abs(motion.weights - moment(motion.time_ns).weights).max() for _, motion in shown[60:-10]
        ]
        assert np.mean(errors) < 0.05


def test_late_and_overtaking_messages_are_waited_for() -> None:
    rng = np.random.default_rng(1)
    playout = Playout()
    shown = play([(time + int(rng.uniform(0, 0.2e9)), time) for time in stream(8)], playout, 8_000_000_000)
    assert 0.15 < playout.delay_s < 0.25
    later = [(now, motion) for now, motion in shown if now > 4_000_000_000][:-15]
    errors = [np.abs(motion.weights - moment(motion.time_ns).weights).max() for _, motion in later]
    assert np.mean(errors) < 0.02
    times = [motion.time_ns for _, motion in shown]
    assert all(before <= after for before, after in itertools.pairwise(times)), "time never goes back"


def test_a_gap_is_held_and_left_gently() -> None:
    """Half a second of nothing, into a mouth that is as open as it was shut."""
    gap = (1_000_000_000, 1_500_000_000)
    sent = [time for time in stream() if not gap[0] < time < gap[1]]
    shown = play([(time, time) for time in sent], Playout())
    held = [motion for now, motion in shown if gap[0] + 200_000_000 < now < gap[1]]
    assert len(held) > 10
    assert max(float(motion.weights[0]) for motion in held) - min(float(m.weights[0]) for m in held) < 0.05
    assert all(0 <= motion.weights[0] <= 1 for _, motion in shown)
    before = float(held[-1].weights[0])
    assert abs(float(moment(gap[1]).weights[0]) - before) > 0.3, "the gap hides a real change"
    assert greatest_step(shown) < 0.3, "the first picture makes up for a third, the next for less"


def test_what_goes_on_by_guess_stays_within_what_units_can() -> None:
    """An eye that shuts fast is shut, and does not shut further while nothing comes."""
    playout = Playout(delay_s=0.0)
    for k, weight in enumerate((0.0, 0.5, 0.98)):
        motion = replace(moment(k * FRAME_NS), weights=np.array([weight, 0.0]))
        playout.put(Told(FACE, k, motion, 30.0), k * FRAME_NS)
    weights = [playout.at(2 * FRAME_NS + k * PICTURE_NS).weights[0] for k in range(20)]  # type: ignore[union-attr]
    assert max(weights) <= 1.0
    assert weights[-1] == pytest.approx(1.0)


def test_a_delay_that_is_asked_for_is_kept() -> None:
    playout = Playout(delay_s=0.12)
    shown = play([(time, time) for time in stream()], playout)
    assert playout.delay_s == 0.12
    assert shown[-30][1].time_ns == pytest.approx(shown[-30][0] - 120_000_000, abs=1e6)


def test_joints_have_a_time_of_their_own() -> None:
    playout = Playout(delay_s=0.1)
    for k in range(30):
        playout.put(told(k * FRAME_NS), k * FRAME_NS)
        if k % 3 == 0:
            turn = np.array([0.0, 0.0, 0.01 * k])
            joints = Motion((), np.zeros(0), np.zeros(3), np.zeros(3), k * FRAME_NS, {}, {"left_elbow": turn})
            playout.put(Told(JOINTS, k, joints, 30.0), k * FRAME_NS)
        shown = playout.at(k * FRAME_NS)
    assert shown is not None
    assert shown.joints["left_elbow"][2] == pytest.approx(0.26, abs=0.01)
    assert shown.weights == pytest.approx(moment(shown.time_ns).weights, abs=0.02)


def test_a_sender_that_starts_anew_is_followed_without_a_jump() -> None:
    """The same person with a clock from 0 again, as after a reload of the page."""
    playout = Playout()
    shown = []
    for k in range(120):
        time_ns = k * FRAME_NS
        playout.put(told(time_ns if k < 60 else (k - 60) * FRAME_NS), time_ns)
        motion = playout.at(time_ns)
        assert motion is not None
        shown.append((time_ns, motion))
    assert greatest_step(shown[2:]) < 0.2
    assert shown[-1][1].time_ns == pytest.approx(58 * FRAME_NS, abs=FRAME_NS)


def test_units_that_change_begin_anew_and_late_ones_are_dropped() -> None:
    playout = Playout(delay_s=0.0)
    playout.put(told(0), 0)
    other = replace(moment(FRAME_NS), unit_names=("cheekPuff",), weights=np.ones(1))
    playout.put(Told(FACE, 1, other, 30.0), FRAME_NS)
    playout.put(told(FRAME_NS // 2), FRAME_NS)
    shown = playout.at(FRAME_NS)
    assert shown is not None
    assert shown.unit_names == ("cheekPuff",)


def test_nothing_is_shown_before_a_face_came() -> None:
    playout = Playout()
    assert playout.at(0) is None
    joints = Motion((), np.zeros(0), np.zeros(3), np.zeros(3), 0, {}, {"neck": np.zeros(3)})
    playout.put(Told(JOINTS, 0, joints, 30.0), 0)
    assert playout.at(1) is None


def test_a_shift_is_the_way_from_one_motion_to_another() -> None:
    start, end = moment(0), replace(moment(250_000_000), joints={"neck": np.array([0.1, 0.0, 0.0])})
    whole = shifted(start, start, end, 1.0)
    np.testing.assert_allclose(whole.weights, end.weights)
    np.testing.assert_allclose(whole.head_rotation, end.head_rotation, atol=1e-12)
    assert shifted(end, start, end, 0.0).weights == pytest.approx(end.weights)
    assert shifted(end, start, end, 0.5).joints["neck"] == pytest.approx(end.joints["neck"])


def test_a_unit_that_goes_beyond_1_is_not_held_while_a_difference_fades() -> None:
    """An avatar that moves little is driven further than 1; here from below it, just after a loss."""
    playout = Playout()
    for k in range(15):
        if k != 7:
            going = replace(moment(k * FRAME_NS), weights=np.array([0.9 if k < 9 else 1.6, 0.02 * (k % 2)]))
            playout.put(Told(FACE, k, going, 30.0), k * FRAME_NS)
        shown = playout.at(k * FRAME_NS + PICTURE_NS)
    assert shown is not None
    assert shown.weights[0] == pytest.approx(1.6)
