"""Turns MediaPipe's older attention mesh into the landmarks detector of the Tasks interface.

The older network gives a coarse mesh of 468 points and, apart from it, finer points of the lips, eyes and
irises. The Tasks interface expects one list of 478 points and the face's score. The merge, which used to be a
step of MediaPipe's graph, is added to the network itself.

Source: MediaPipe's tensors_to_face_landmarks_with_attention graph and landmarks refinement calculator
(Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence

from tracking.detect.detection import NUM_LANDMARKS
from tracking.detect.models.tflite_graph import TfliteGraph

_NUM_MESH = 468

# fmt: off
# Which landmark each refined point replaces (x and y; the depth stays the mesh's).
_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
)
_RIGHT_EYE = (  # the subject's; the network calls it left
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245,
    156, 70, 63, 105, 66, 107, 55, 193,
)
_LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
    359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413,
    265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417,
)
# fmt: on
_RIGHT_IRIS = tuple(range(468, 473))
_LEFT_IRIS = tuple(range(473, 478))
_NUM_LID_POINTS = 16  # the first points of an eye are its lids, whose mean depth the iris gets


def landmarks_detector(attention_mesh: bytes) -> bytes:
    """The model file of two outputs, 478 landmarks and the face's score, from the attention mesh's seven."""
    graph = TfliteGraph(attention_mesh)
    mesh, lips, right_eye, left_eye, right_iris, left_iris, face_score = graph.outputs
    parts = [mesh, lips, right_eye, left_eye, right_iris, left_iris]
    flat = [graph.reshape(part, [graph.shape(part)[-1]]) for part in parts]
    depths = [
        graph.mean(graph.gather(flat[0], [3 * point + 2 for point in eye[:_NUM_LID_POINTS]]), [0])
        for eye in (_RIGHT_EYE, _LEFT_EYE)
    ]
    everything = graph.concatenate([*flat, *depths])
    merged = graph.gather(everything, _merge_rows([graph.shape(part)[0] for part in flat]))
    landmarks = graph.reshape(merged, [1, 1, 1, 3 * NUM_LANDMARKS])
    return graph.to_bytes(graph.inputs, [landmarks, face_score])


def _merge_rows(lengths: Sequence[int]) -> list[int]:
    """For each coordinate of the 478 landmarks, where it lies in the network's outputs laid end to end."""
    rows = list(range(3 * _NUM_MESH)) + [0] * (3 * (NUM_LANDMARKS - _NUM_MESH))
    begin = lengths[0]
    for points, length in zip(
        (_LIPS, _RIGHT_EYE, _LEFT_EYE, _RIGHT_IRIS, _LEFT_IRIS), lengths[1:], strict=True
    ):
        if length != 2 * len(points):
            raise ValueError(f"the attention mesh has an output of {length} numbers, not {2 * len(points)}")
        for place, point in enumerate(points):
            rows[3 * point : 3 * point + 2] = [begin + 2 * place, begin + 2 * place + 1]
        begin += length
    for number, iris in enumerate((_RIGHT_IRIS, _LEFT_IRIS)):
        for point in iris:
            rows[3 * point + 2] = begin + number
    return rows
