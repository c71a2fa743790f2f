"""Detections of a whole clip, kept in a few large blocks of memory."""

from __future__ import annotations

import numpy as np

from tracking.detect.detection import NUM_LANDMARKS, NUM_SCORES, Detection

_BLOCK = 1024  # frames

_ROW = np.dtype(
    [
        ("landmarks", np.float32, (NUM_LANDMARKS, 3)),
        ("scores", np.float32, (NUM_SCORES,)),
        ("head_matrix", np.float32, (4, 4)),
        ("found", np.bool_),
        ("capture_ns", np.int64),
        ("index", np.int64),
        ("width", np.int32),
        ("height", np.int32),
        ("turn", np.int32),
        ("person", np.int32),
        ("run", np.int32),
        ("people", np.int32),
    ]
)


class DetectionLog:
    """Collects detections while frames are read, and gives them back as a list afterwards.

    Keeping the detections themselves would scatter small arrays over the heap between the decoded frames, and
    the gaps would be too small for the next ones: 0.75 MB a frame at 512x512, 13 GB for ten minutes.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, detection: Detection) -> None:
        """Copy one detection."""
        place = self._count % _BLOCK
        if place == 0:
            self._blocks.append(np.empty(_BLOCK, _ROW))
        row = self._blocks[-1][place]
        for name in _ROW.names or ():
            row[name] = getattr(detection, name)
        self._count += 1

    def detections(self) -> list[Detection]:
        """All of them, in order; their arrays are views of the blocks."""
        rows = (self._blocks[i // _BLOCK][i % _BLOCK] for i in range(self._count))
        return [
            Detection(
                landmarks=row["landmarks"],
                scores=row["scores"],
                head_matrix=row["head_matrix"],
                found=bool(row["found"]),
                capture_ns=int(row["capture_ns"]),
                index=int(row["index"]),
                width=int(row["width"]),
                height=int(row["height"]),
                turn=int(row["turn"]),
                person=int(row["person"]),
                run=int(row["run"]),
                people=int(row["people"]),
            )
            for row in rows
        ]
