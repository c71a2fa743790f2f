"""Own scores for the 52 face units, and an own canonical face, where MediaPipe's are not to be had.

The old MediaPipe wheel has the landmark network but neither the network that scores the units nor the
canonical face. `tracking.making.make_face_units` makes both from renders of the built-in avatars; this module
writes them in the form in which MediaPipe expects them inside a model bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.detect.detection import NUM_SCORES
from tracking.detect.models.face_geometry import geometry_metadata
from tracking.detect.models.tflite_graph import TfliteGraph
from tracking.errors import TrackingError

ASSET = Path(__file__).parents[2] / "assets" / "face_units.safetensors"

# fmt: off
# The landmarks that MediaPipe hands to the network, in its order. Source: face_blendshapes_graph.cc
# (Apache-2.0).
LANDMARKS: tuple[int, ...] = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67,
    70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146,
    148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181,
    185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293,
    295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361,
    362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398,
    400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)
# Points that hardly move with the expression: forehead, temples, bridge and sides of the nose, eye corners.
RIGID_LANDMARKS: tuple[int, ...] = (
    6, 10, 33, 54, 67, 103, 109, 122, 127, 129, 133, 162, 168, 188, 193, 197,
    263, 284, 297, 332, 338, 351, 356, 358, 362, 389, 412, 417,
)
# fmt: on


@dataclass(frozen=True, slots=True)
class FaceUnits:
    """The network's layers, inputs being 146 landmarks (x, y) of mean 0 and root mean square 1."""

    weights: tuple[NDArray[np.float32], ...]  # each [out, in]
    biases: tuple[NDArray[np.float32], ...]  # each [out]
    canonical: NDArray[np.float32]  # [468, 3] centimetres: x to the image's right, y up, z to the camera

    @classmethod
    def load(cls, path: Path = ASSET) -> FaceUnits:
        """Raises TrackingError when the file is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            count = sum(name.startswith("weight") for name in arrays)
            return cls(
                weights=tuple(arrays[f"weight{layer}"].astype(np.float32) for layer in range(count)),
                biases=tuple(arrays[f"bias{layer}"].astype(np.float32) for layer in range(count)),
                canonical=arrays["canonical"].astype(np.float32),
            )
        except (OSError, SafetensorError, KeyError) as error:
            raise TrackingError(f"{path} cannot be read ({error}): install visavis again") from error

    @classmethod
    def empty(cls) -> FaceUnits:
        """A network that scores every unit 0.5 and a flat face: enough for MediaPipe to run the landmarks."""
        generator = np.random.default_rng(0)
        return cls(
            weights=(np.zeros((NUM_SCORES, 2 * len(LANDMARKS)), np.float32),),
            biases=(np.zeros(NUM_SCORES, np.float32),),
            canonical=generator.normal(0, 5, (468, 3)).astype(np.float32),
        )

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Half precision: the scores move by less than 0.002."""
        from safetensors.numpy import save_file

        arrays: dict[str, np.ndarray] = {"canonical": self.canonical.astype(np.float32)}
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays[f"weight{layer}"] = weight.astype(np.float16)
            arrays[f"bias{layer}"] = bias.astype(np.float32)
        save_file(arrays, path, metadata)

    def __call__(self, landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores [N, 52] of landmarks [N, 146, 2] in pixels, as the model file gives them."""
        values = normalised(landmarks)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = np.maximum(values @ weight.T + bias, 0.0)
        return 1.0 / (1.0 + np.exp(-(values @ self.weights[-1].T + self.biases[-1])))

    def model(self) -> bytes:
        """The scoring network as a TFLite file of MediaPipe's face_blendshapes form."""
        graph = TfliteGraph()
        points = graph.placeholder("landmarks", [1, len(LANDMARKS), 2])
        centred = graph.subtract(points, graph.mean(points, [1]))
        scale = graph.reciprocal_root(graph.mean(graph.multiply(centred, centred), [1, 2]))
        values = graph.reshape(graph.multiply(centred, scale), [1, 2 * len(LANDMARKS)])
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = graph.dense(values, weight, bias, relu=layer < last)
        return graph.to_bytes([points], [graph.reshape(graph.logistic(values), [NUM_SCORES])])

    def geometry(self) -> bytes:
        """The canonical face as MediaPipe's geometry metadata."""
        return geometry_metadata(self.canonical, RIGID_LANDMARKS)


def normalised(landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """Landmarks [N, 146, 2] without position and size, as rows [N, 292]."""
    centred = landmarks - landmarks.mean(1, keepdims=True)
    size = np.sqrt((centred**2).mean((1, 2), keepdims=True))
    return (centred / size).reshape(len(landmarks), -1).astype(np.float32)
