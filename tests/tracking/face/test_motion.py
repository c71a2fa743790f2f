"""Rotations, the One-Euro filter, prediction, and a lost face; all in the time the caller gives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from render import axis_angle
from render.motion import Motion, blend
from tracking.face.filters import FaceFilter, FaceFilterConfig, OneEuroConfig, OneEuroFilter, RotationFilter
from tracking.face.prediction import MotionPredictor, PredictionConfig
from tracking.face.presence import Presence, PresenceConfig, blink_weight

FRAME_S = 1 / 30
NAMES = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft")
BLINK = np.array([0.0, 1.0, 1.0, 0.0])


def motion(weight: float = 0.0, yaw: float = 0.0, shift: float = 0.0) -> Motion:
    return Motion(NAMES, np.full(len(NAMES), weight), np.array([0.0, yaw, 0.0]), np.array([shift, 0.0, 0.0]))


# --- rotations


def test_rotations_survive_the_way_to_a_matrix_and_back():
    generator = np.random.default_rng(0)
    for _ in range(200):
        axis = generator.normal(size=3)
        for angle in (0.0, 1e-9, 1e-4, 1.0, 3.0):
            rotation = angle * axis / np.linalg.norm(axis)
            matrix = axis_angle.to_matrix(rotation)
            # double rounding; the angle of a matrix is known to about its square root near 0
            np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
            np.testing.assert_allclose(axis_angle.from_matrix(matrix), rotation, atol=1e-9)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0.6, 0, 0.8), (-0.48, 0.6, 0.64)])
def test_half_a_turn_is_recovered(axis):
    matrix = axis_angle.to_matrix(math.pi * np.array(axis, float))
    back = axis_angle.to_matrix(axis_angle.from_matrix(matrix))  # the axis' sign is free at half a turn
    np.testing.assert_allclose(back, matrix, atol=1e-9)


def test_composition_and_difference_undo_each_other():
    first, then = np.array([0.3, -0.2, 0.1]), np.array([0.1, 0.9, -0.4])
    both = axis_angle.compose(first, then)
    np.testing.assert_allclose(axis_angle.difference(first, both), then, atol=1e-12)
    np.testing.assert_allclose(axis_angle.interpolate(first, both, 0.0), first, atol=1e-12)
    np.testing.assert_allclose(axis_angle.interpolate(first, both, 1.0), both, atol=1e-12)


# --- filter


def still_face(num_frames: int, seed: int) -> list[Motion]:
    generator = np.random.default_rng(seed)
    return [
        Motion(
            NAMES,
            0.5 + generator.normal(0, 0.01, len(NAMES)),
            np.array([0.1, 0.3, 0.0]) + generator.normal(0, math.radians(0.1), 3),
            generator.normal(0, 2e-4, 3),
        )
        for _ in range(num_frames)
    ]


def step_size(motions: list[Motion], part: str) -> float:
    values = np.array([getattr(item, part) for item in motions])
    return float(np.abs(np.diff(values, axis=0)).mean())


@pytest.mark.parametrize("part", ["weights", "head_rotation", "head_translation"])
def test_a_still_face_is_calmer_by_a_third_to_two_thirds(part):
    raw = still_face(300, seed=1)
    face_filter = FaceFilter()
    filtered = [face_filter(item, index * FRAME_S) for index, item in enumerate(raw)]
    ratio = step_size(filtered, part) / step_size(raw, part)
    assert 1 / 3 < ratio < 2 / 3  # below a third it would no longer be light


def test_a_fast_nod_is_late_by_less_than_ten_milliseconds():
    speed = math.radians(60)
    face_filter = RotationFilter(FaceFilterConfig().rotation)
    for index in range(30):
        time_s = index * FRAME_S
        filtered = face_filter(np.array([speed * time_s, 0.0, 0.0]), time_s)
    lag_s = time_s - filtered[0] / speed
    assert 0 <= lag_s < 0.010


def test_a_fast_smile_is_late_by_less_than_a_third_of_a_frame():
    value_filter = OneEuroFilter(FaceFilterConfig().weights)
    for index in range(10):
        time_s = index * FRAME_S
        filtered = value_filter(np.array([4.0 * time_s]), time_s)  # from 0 to 1 in a quarter of a second
    assert time_s - filtered[0] / 4.0 < FRAME_S / 3


def test_the_filter_follows_the_authors_formula():
    # min cut-off 1 Hz, no speed term, 10 Hz samples: alpha = 1 / (1 + 1 / (2 pi 0.1)) = 0.385870
    value_filter = OneEuroFilter(OneEuroConfig(min_cutoff_hz=1.0, beta=0.0))
    value_filter(np.array([0.0]), 0.0)
    assert value_filter(np.array([1.0]), 0.1)[0] == pytest.approx(0.385870, abs=1e-6)


def test_rotations_and_vectors_are_filtered_alike_about_one_axis():
    config = OneEuroConfig(min_cutoff_hz=2.0, beta=5.0)
    rotation_filter, value_filter = RotationFilter(config), OneEuroFilter(config)
    for index in range(40):
        angle = 0.5 * math.sin(index / 5)
        time_s = index * FRAME_S
        turned = rotation_filter(np.array([0.0, angle, 0.0]), time_s)
        np.testing.assert_allclose(turned[1], value_filter(np.array([angle]), time_s)[0], atol=1e-12)


def test_a_repeated_time_changes_nothing_and_reset_forgets():
    face_filter = FaceFilter()
    first = face_filter(motion(0.2), 1.0)
    assert face_filter(motion(0.9), 1.0).weights[0] == first.weights[0] == 0.2
    face_filter.reset()
    assert face_filter(motion(0.9), 1.0).weights[0] == 0.9


def test_the_callers_arrays_are_left_alone():
    value_filter = OneEuroFilter(OneEuroConfig(1.0, 0.0))
    value = np.array([1.0])
    value_filter(value, 0.0)
    value[0] = 5.0
    assert value_filter(np.array([1.0]), 1.0)[0] == 1.0


# --- prediction


def test_a_steady_turn_is_predicted_with_the_pose_gain():
    predictor = MotionPredictor()
    for index in range(10):
        predictor.update(motion(yaw=0.02 * index), index * FRAME_S)
    ahead = predictor.predict(10 * FRAME_S)
    assert ahead.head_rotation[1] == pytest.approx(0.18 + 0.8 * 0.02)


def test_it_never_looks_beyond_two_frames_nor_back():
    predictor = MotionPredictor()
    for index in range(10):
        predictor.update(motion(weight=0.01 * index, shift=0.001 * index), index * FRAME_S)
    two, ten = predictor.predict(11 * FRAME_S), predictor.predict(19 * FRAME_S)
    np.testing.assert_allclose(ten.head_translation, two.head_translation, atol=1e-12)
    np.testing.assert_allclose(two.head_translation[0], 0.009 + 2 * 0.8 * 0.001)
    np.testing.assert_allclose(two.weights, 0.09 + 2 * 0.5 * 0.01)
    np.testing.assert_array_equal(predictor.predict(0.0).weights, motion(weight=0.09).weights)


def test_units_stay_within_their_range():
    predictor = MotionPredictor(PredictionConfig(expression_gain=1.0))
    for index, weight in enumerate((0.5, 0.7, 0.95)):
        predictor.update(motion(weight=weight), index * FRAME_S)
    assert predictor.predict(4 * FRAME_S).weights.max() == 1.0
    predictor.update(motion(weight=1.4), 3 * FRAME_S)  # a calibrated brow may exceed 1 and stays there
    assert predictor.predict(4 * FRAME_S).weights.max() == 1.4


def test_prediction_beats_standing_still_on_smooth_motion():
    predictor = MotionPredictor()
    held, predicted = [], []
    last = None
    for index in range(120):
        swing = math.sin(2 * math.pi * index * FRAME_S / 2)  # a shake of the head every two seconds
        measured = motion(0.5 + 0.4 * swing, 0.4 * swing, 0.02 * swing)
        if index > 1:
            held.append(off(last, measured))
            predicted.append(off(predictor.predict(index * FRAME_S), measured))
        predictor.update(measured, index * FRAME_S)
        last = measured
    weights, turn, shift = np.sqrt(np.mean(np.square(predicted), 0) / np.mean(np.square(held), 0))
    # 0.8 of the velocity leaves a fifth of the error, plus the change of velocity in a frame and a half
    assert turn < 0.35
    assert shift < 0.35
    assert weights < 0.65


def off(guess, measured):
    """How far a guess is off: weights, turn, shift."""
    return [
        np.abs(guess.weights - measured.weights).max(),
        np.linalg.norm(axis_angle.difference(guess.head_rotation, measured.head_rotation)),
        np.linalg.norm(guess.head_translation - measured.head_translation),
    ]


def test_before_any_measurement_there_is_nothing_to_predict():
    predictor = MotionPredictor()
    with pytest.raises(RuntimeError):
        predictor.predict(0.0)
    predictor.update(motion(0.3), 0.0)
    assert predictor.predict(1.0).weights[0] == 0.3
    predictor.reset()
    with pytest.raises(RuntimeError):
        predictor.predict(1.0)


# --- presence


def test_a_seen_driver_passes_unchanged():
    presence = Presence(NAMES, BLINK)
    for index in range(10):
        driver = motion(weight=0.1 * index)
        presence.update(driver, index * FRAME_S)
    assert presence.update(driver, 10 * FRAME_S) is driver


def test_a_lost_face_holds_then_eases_to_neutral():
    config = PresenceConfig()
    presence = Presence(NAMES, BLINK, config)
    driver = motion(weight=0.8, yaw=0.5, shift=0.03)
    presence.update(driver, 0.0)
    held = presence.update(None, config.hold_s)
    np.testing.assert_allclose(held.weights, driver.weights)
    np.testing.assert_allclose(held.head_rotation, driver.head_rotation)
    half = presence.update(None, config.hold_s + config.ease_s / 2)
    assert half.head_rotation[1] == pytest.approx(0.25, abs=0.01)  # breathing adds up to half a degree
    gone = presence.update(None, config.hold_s + config.ease_s)
    assert gone.weights[0] == 0.0
    assert np.abs(gone.head_rotation).max() <= config.breath_nod_rad
    assert np.abs(gone.head_translation).max() <= config.breath_lift_m


def test_a_gap_shorter_than_the_hold_costs_nothing():
    presence = Presence(NAMES, BLINK)
    presence.update(motion(weight=0.2), 0.0)
    presence.update(None, FRAME_S)
    back = motion(weight=0.3)
    assert presence.update(back, 2 * FRAME_S) is back


def test_the_return_is_a_quick_blend():
    config = PresenceConfig()
    presence = Presence(NAMES, BLINK, config)
    presence.update(motion(weight=1.0, yaw=0.4), 0.0)
    for index in range(1, 91):
        presence.update(None, index * FRAME_S)
    back = motion(weight=1.0, yaw=0.4)
    times = [91 * FRAME_S + index * FRAME_S for index in range(5)]
    yaws = [presence.update(back, time_s).head_rotation[1] for time_s in times]
    assert 0.0 < yaws[0] < yaws[1] < yaws[2] < 0.4
    assert yaws[3] == 0.4  # four frames of 33 ms are more than 120 ms


def test_nothing_jumps_however_the_face_comes_and_goes():
    """A face that flickers for ten seconds: no step may exceed the blend's steepest one."""
    config = PresenceConfig()
    presence = Presence(NAMES, BLINK, config)
    generator = np.random.default_rng(3)
    seen, shown = False, []
    driver = motion(weight=0.6, yaw=0.5)
    for index in range(300):
        if generator.random() < 0.15:
            seen = not seen
        shown.append(presence.update(driver if seen else None, index * FRAME_S))
    steps = [
        abs(after.head_rotation[1] - before.head_rotation[1]) for before, after in itertools.pairwise(shown)
    ]
    # smoothstep rises at most 1.5 times as fast as a straight line
    assert max(steps) <= 0.5 * 1.5 * FRAME_S / config.return_s + 1e-9
    assert max(steps) > 0.1  # the blends did happen


def test_without_any_driver_it_breathes_and_blinks():
    presence = Presence(NAMES, BLINK)
    shown = [presence.update(None, index * FRAME_S) for index in range(900)]
    blinks = np.array([item.weights[1] for item in shown])
    lift = np.array([item.head_translation[1] for item in shown])
    starts = np.flatnonzero((blinks[1:] > 0) & (blinks[:-1] == 0))
    assert 7 <= len(starts) <= 9  # one in 3.7 s during 30 s
    assert blinks.max() > 0.9
    assert np.array_equal(blinks, [item.weights[2] for item in shown])
    assert np.diff(starts).std() > 10  # frames: the moments are irregular
    assert lift.min() == 0.0
    assert lift.max() == pytest.approx(PresenceConfig().breath_lift_m, rel=0.01)
    assert all(item.weights[0] == 0.0 for item in shown)


def test_a_rig_without_lids_does_not_blink():
    presence = Presence(("a", "b"), np.zeros(2))
    assert all(not presence.update(None, index * FRAME_S).weights.any() for index in range(300))


def test_a_blink_shuts_and_opens_within_its_time():
    times = np.arange(0, 3.7, 0.001)
    weights = np.array([blink_weight(time, 3.7, 0.25) for time in times])
    assert weights.max() == pytest.approx(1.0, abs=1e-3)
    assert np.count_nonzero(weights) == pytest.approx(250, abs=2)


def test_blending_turns_the_head_the_shortest_way():
    start, end = motion(yaw=3.0), motion(yaw=-3.0)
    middle = axis_angle.to_matrix(blend(start, end, 0.5).head_rotation)
    np.testing.assert_allclose(middle, axis_angle.to_matrix(np.array([0.0, math.pi, 0.0])), atol=1e-9)
