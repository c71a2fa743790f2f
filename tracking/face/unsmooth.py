"""Takes back the smoothing of the detector's video mode, whose lag an offline solve need not suffer.

MediaPipe filters every landmark with a One-Euro filter: slow motion arrives several frames late. An avatar
that plays filtered landmarks moves late, and is filtered once more by whoever looks at it. The filter can be
inverted exactly; its noise comes back with the motion, and a short symmetric kernel takes most of that out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detect.detection import Detection

Array = NDArray[np.float64]

# Source: mediapipe/tasks/cc/vision/face_landmarker/face_landmarks_smoothing options; one_euro_filter.cc for
# the formula, where the speed is that of the raw values over the size of the face.
_MIN_CUTOFF_HZ = 0.05
_BETA = 80.0
_DERIVATIVE_CUTOFF_HZ = 1.0
_MAX_GAIN = 200.0  # of a step of the filtered value: the filter never holds back more at its lowest cut-off
_BISECTIONS = 16  # of a ratio of 200: to a relative error of 1e-4
_KERNEL_FRAMES = 0.5  # standard deviation of the symmetric kernel
# A mouth that a hand hides shakes: what the detector makes up changes from frame to frame. Of motion, second
# differences over first ones (squared, of two frames) are tan^2 of half its angle a frame: 0.3 at 5 Hz and 30
# frames a second, 1.2 at 8 Hz; of white noise they are 3. Seven clips of people who talk have 0.3-1.4.
_SHAKING = (1.5, 2.2)  # where smoothing begins, and is complete
_SHAKING_FRAMES, _CALM_FRAMES = 4.0, 3.0  # standard deviations of where it is measured, and of the smoothing


def unsmoothed(
    landmarks: Array, times_s: Array, shaken: Sequence[int] = (), steady: Sequence[int] = ()
) -> Array:
    """Landmarks [T, P, 3] pixels of consecutive frames of video mode, as they were before its filter.

    `times_s` [T] must rise. A light symmetric smoothing is applied; rows `shaken`, if any, are calmed against
    rows `steady`.
    """
    raw = _inverted(landmarks, times_s)
    return smoothed(calmed(raw, shaken, steady) if len(shaken) else raw, _KERNEL_FRAMES)


def calmed(landmarks: Array, shaken: Sequence[int], steady: Sequence[int]) -> Array:
    """Landmarks [T, P, 3] of consecutive frames where rows `shaken` are smoothed as far as they shake.

    They move with the middle of the rows `steady`, whose own motion is kept.
    """
    if len(landmarks) < 3:
        return landmarks
    middle = landmarks[:, list(steady)].mean(1, keepdims=True)
    moved = landmarks[:, list(shaken)] - middle
    bends = np.zeros(len(moved))
    steps = np.zeros(len(moved))
    bends[1:-1] = ((moved[2:] - 2 * moved[1:-1] + moved[:-2])[..., :2] ** 2).sum((1, 2))
    steps[1:-1] = ((moved[2:] - moved[:-2])[..., :2] ** 2).sum((1, 2))
    ratio = smoothed(bends, _SHAKING_FRAMES) / np.maximum(smoothed(steps, _SHAKING_FRAMES), 1e-9)
    share = np.clip((ratio - _SHAKING[0]) / (_SHAKING[1] - _SHAKING[0]), 0, 1)[:, None, None]
    calm = landmarks.copy()
    calm[:, list(shaken)] = middle + moved + share * (smoothed(moved, _CALM_FRAMES) - moved)
    return calm


def unsmoothed_clip(
    detections: Sequence[Detection],
    fps: float,
    points: Sequence[int],
    shaken: Sequence[int] = (),
    steady: Sequence[int] = (),
) -> Array:
    """Landmarks [T, P, 3] pixels of found frames of video mode, of each run of consecutive frames by itself.

    `fps` is that of the clip, for the time before a run's first frame. For rows `shaken` and `steady` of
    `points` see `unsmoothed`.
    """
    landmarks = np.array([d.landmarks[list(points)] for d in detections], np.float64)
    times_s = np.array([d.capture_ns for d in detections]) / 1e9
    for run in runs(detections):
        step = np.maximum(np.diff(times_s[run], prepend=times_s[run[0]] - 1 / fps), 1e-3)
        landmarks[run] = unsmoothed(landmarks[run], np.cumsum(step), shaken, steady)
    return landmarks


def runs(detections: Sequence[Detection]) -> list[NDArray[np.intp]]:
    """Rows of frames that follow each other without a gap, or a new start of the tracker."""
    index, started = np.array([d.index for d in detections]), np.array([d.run for d in detections])
    broken = (np.diff(index) != 1) | (np.diff(started) != 0)
    return np.split(np.arange(len(index)), np.flatnonzero(broken) + 1)


def _inverted(filtered: Array, times_s: Array) -> Array:
    raw = np.empty_like(filtered)
    raw[0] = filtered[0]
    speed = np.zeros_like(filtered[0])  # the filter's own estimate
    for i in range(1, len(filtered)):
        seconds = float(times_s[i] - times_s[i - 1])
        size = max(float(np.ptp(raw[i - 1, :, :2], axis=0).mean()), 1.0)
        # raw = before + gain * step, where the filter's share there must be 1 / gain. The filter's
        # speed at that raw value is offset + slope * gain.
        before, step = filtered[i - 1], filtered[i] - filtered[i - 1]
        share_of_new = _share(_DERIVATIVE_CUTOFF_HZ, seconds)
        offset = share_of_new * (before - raw[i - 1]) / (size * seconds) + (1 - share_of_new) * speed
        slope = share_of_new * step / (size * seconds)
        low, high = np.ones_like(step), np.full_like(step, _MAX_GAIN)
        for _ in range(_BISECTIONS):
            gain = np.sqrt(low * high)
            share = _share(_MIN_CUTOFF_HZ + _BETA * np.abs(offset + slope * gain), seconds)
            too_small = share * gain < 1
            low, high = np.where(too_small, gain, low), np.where(too_small, high, gain)
        gain = np.sqrt(low * high)
        raw[i], speed = before + gain * step, offset + slope * gain
    return raw


def _share(cutoff_hz: Any, seconds: float) -> Any:
    """The share of the new value in a first-order low-pass of that cut-off; for numbers and arrays."""
    rate = 2 * math.pi * cutoff_hz * seconds
    return rate / (rate + 1)


def smoothed(values: Array, frames: float) -> Array:
    """Values [T, ...] under a Gaussian of so many frames; the ends go on as they are."""
    radius = math.ceil(3 * frames)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / frames) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate([values[:1].repeat(radius, 0), values, values[-1:].repeat(radius, 0)])
    out = np.zeros_like(values)
    for shift, share in enumerate(kernel):
        out += share * padded[shift : shift + len(values)]
    return out
