"""Detections kept in blocks are the detections that went in."""

from __future__ import annotations

import dataclasses

import numpy as np

from engine.offline import detection_log
from engine.offline.detection_log import DetectionLog
from tracking.detect.detection import NUM_LANDMARKS, NUM_SCORES, Detection


def some_detection(index: int) -> Detection:
    random = np.random.default_rng(index)
    if index % 7 == 3:
        return Detection.lost(index * 33_333_333, index, 640, 480)
    return Detection(
        landmarks=random.normal(size=(NUM_LANDMARKS, 3)).astype(np.float32),
        scores=random.random(NUM_SCORES, np.float32),
        head_matrix=random.normal(size=(4, 4)).astype(np.float32),
        found=True,
        capture_ns=index * 33_333_333,
        index=index,
        width=640,
        height=480,
    )


def test_what_goes_in_comes_out(monkeypatch) -> None:
    monkeypatch.setattr(detection_log, "_BLOCK", 8)  # so that several blocks fill
    log = DetectionLog()
    for i in range(27):
        log.append(some_detection(i))
    kept = log.detections()
    assert len(log) == len(kept) == 27
    for i, detection in enumerate(kept):
        expected = some_detection(i)
        for field in dataclasses.fields(Detection):
            value = getattr(detection, field.name)
            np.testing.assert_array_equal(value, getattr(expected, field.name))
            assert type(value) is type(getattr(expected, field.name)), field.name
