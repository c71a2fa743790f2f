"""Makes tracking/assets/face_units.safetensors: the 52 scores and the canonical face for the wheel's model.

    pip install ai-edge-litert
    python -m tracking.making.make_face_units --official face_landmarker.task --wheel mediapipe-0.10.21-...whl

The built-in avatars (CC0 data and own work) are rendered in random expressions and poses, and every picture
is shown to MediaPipe's official bundle and to the wheel's attention mesh. A small network learns the official
scores from the attention mesh's landmarks. Differences between pictures are added to each other to multiply
people by expressions; the official scoring network says what such mixtures score. The canonical face is the
mean of the attention mesh's landmarks in the official head's frame, made symmetric.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from capture.frame import Frame
from render.avatars.avatar import Avatar
from render.avatars.library import builtin_names, open_avatar
from render.cpu.renderer import CpuRenderer
from tracking.detect.detection import SCORE_NAMES
from tracking.detect.face_detector import FaceDetector
from tracking.detect.models.face_units import ASSET, LANDMARKS, FaceUnits, normalised
from tracking.detect.models.wheel_model import bundle_from_wheel

Array = NDArray[np.float64]

PICTURE_PX = 384
PICTURES_PER_AVATAR = 800
NUM_MIXTURES = 40_000
HIDDEN = 192
EPOCHS = 40
BATCH = 512
CANONICAL_EYES_CM = 8.9  # between the outer eye corners, so that distances come out in real centimetres


@dataclass(frozen=True)
class Pairs:
    """What both models say about the same pictures."""

    attention: Array  # [N, 478, 3] pixels
    official: Array  # [N, 478, 3] pixels
    scores: Array  # [N, 52] official
    rotations: Array  # [N, 3, 3] official head rotation

    @classmethod
    def join(cls, parts: list[Pairs]) -> Pairs:
        fields = ("attention", "official", "scores", "rotations")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def random_units(names: tuple[str, ...], generator: np.random.Generator) -> Array:
    """Weights [E] of a plausible face: a few units, mostly the same on both sides, and a gaze."""
    weights = np.zeros(len(names))
    index = {name: row for row, name in enumerate(names)}
    for row in generator.choice(len(names), generator.integers(0, 9), replace=False):
        weights[row] = generator.beta(1.2, 1.2)
    if generator.random() < 0.7:
        for name, row in index.items():
            if name.endswith("Left"):
                other = index[name.removesuffix("Left") + "Right"]
                weights[row] = weights[other] = max(weights[row], weights[other])
    if generator.random() < 0.35:
        weights[index["jawOpen"]] = 0.8 * generator.random()
    if generator.random() < 0.25:
        weights[index["eyeBlinkLeft"]] = weights[index["eyeBlinkRight"]] = generator.random()
    left, up = generator.normal(0, 0.45, 2)
    for side, outward in (("Left", left), ("Right", -left)):
        for direction, amount in (("Out", outward), ("In", -outward), ("Up", up), ("Down", -up)):
            weights[index[f"eyeLook{direction}{side}"]] = max(0.0, amount)
    return np.clip(weights, 0, 1)


def pictures(avatar: Avatar, count: int, generator: np.random.Generator) -> Iterator[Frame]:
    """Renders in random expressions, poses, colours and noise; every tenth with a neutral face."""
    renderer = CpuRenderer(PICTURE_PX, PICTURE_PX)
    camera = avatar.default_camera(PICTURE_PX, PICTURE_PX)
    for index in range(count):
        units = random_units(avatar.rig.expression_names, generator) * (index % 10 > 0)
        turn = np.radians(generator.normal(0, (12, 18, 7)))
        shift = generator.normal(0, (0.02, 0.02, 0.03))
        params = avatar.rig.params_from_units(
            *(torch.tensor(x, dtype=torch.float32) for x in (units, turn, shift))
        )
        background = tuple(generator.random(3).tolist())
        picture = renderer.render_rgb8(avatar.pose(params), camera, background).astype(float)
        noise = generator.normal(0, generator.uniform(0, 6), picture.shape)
        picture = np.clip(picture * generator.uniform(0.6, 1.15) + noise, 0, 255)
        yield Frame(picture.astype(np.uint8), 0, index)
    renderer.close()


def detect_pairs(avatar: Avatar, official: FaceDetector, attention: FaceDetector, seed: int) -> Pairs:
    rows = []
    for frame in pictures(avatar, PICTURES_PER_AVATAR, np.random.default_rng(seed)):
        one, other = official.detect(frame), attention.detect(frame)
        if one.found and other.found:
            rows.append((other.landmarks, one.landmarks, one.scores, one.head_matrix[:3, :3]))
    return Pairs(*(np.stack(column).astype(float) for column in zip(*rows, strict=True)))


class OfficialScores:
    """MediaPipe's scoring network by itself, for landmarks that no picture has."""

    def __init__(self, bundle: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with zipfile.ZipFile(bundle) as parts:
            self._network: Any = Interpreter(
                model_content=parts.read("face_blendshapes.tflite"), num_threads=1
            )
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        self._output = self._network.get_output_details()[0]["index"]

    def __call__(self, landmarks: Array) -> Array:
        """[N, 146, 2] to [N, 52]."""
        scores = np.empty((len(landmarks), len(SCORE_NAMES)))
        for row, points in enumerate(landmarks):
            self._network.set_tensor(self._input, points[None].astype(np.float32))
            self._network.invoke()
            scores[row] = self._network.get_tensor(self._output)
        return scores


def mixtures(pairs: Pairs, official: OfficialScores, seed: int = 0) -> tuple[Array, Array]:
    """Attention landmarks [N, 146, 2] and scores [N, 52] of faces mixed from three pictures each."""
    generator = np.random.default_rng(seed)
    columns = list(LANDMARKS)
    target = pairs.official[:, columns, :2]
    # Both in the official landmarks' frame, so that their difference on one picture is kept.
    centre = target.mean(1, keepdims=True)
    size = np.sqrt(((target - centre) ** 2).mean((1, 2), keepdims=True))
    target, source = (target - centre) / size, (pairs.attention[:, columns, :2] - centre) / size
    base, plus, minus = generator.integers(0, len(target), (3, NUM_MIXTURES))
    share = 0.7 * generator.random((NUM_MIXTURES, 1, 1)) * (generator.random((NUM_MIXTURES, 1, 1)) < 0.8)
    bend = np.eye(2) + generator.normal(0, 0.04, (NUM_MIXTURES, 2, 2))  # other proportions
    mixed = [(x[base] + share * (x[plus] - x[minus])) @ bend for x in (source, target)]
    return mixed[0], official(100 * mixed[1] + 200)  # any size and place: the official network ignores them


def train(landmarks: Array, scores: Array) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Weights and biases of a network of two hidden layers, from landmarks [N, 146, 2] and scores [N, 52]."""
    torch.manual_seed(0)
    inputs = torch.from_numpy(normalised(landmarks))
    targets = torch.from_numpy(scores).float()
    mean, spread = inputs.mean(0), inputs.std(0).clamp_min(1e-3)
    inputs = (inputs - mean) / spread
    layers = [torch.nn.Linear(a, b) for a, b in ((inputs.shape[1], HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 52))]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    steps = EPOCHS * (len(inputs) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(inputs), (BATCH,))
        logits = network(inputs[rows] + 0.02 * torch.randn(BATCH, inputs.shape[1]))
        # Cross entropy for the small scores, squares for the large ones that people see.
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[rows])
        loss = loss + 10 * (logits.sigmoid() - targets[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 500 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.4f}", flush=True)
    with torch.no_grad():  # the standardisation becomes part of the first layer
        first = layers[0].weight / spread
        weights = [first, *(layer.weight for layer in layers[1:])]
        biases = [layers[0].bias - first @ mean, *(layer.bias for layer in layers[1:])]
        return [w.numpy() for w in weights], [b.numpy() for b in biases]


def canonical_face(pairs: Pairs) -> NDArray[np.float32]:
    """The mean attention face [468, 3] in the official head's frame, symmetric, in centimetres."""
    upright = pairs.attention[:, :468] * (1, -1, -1)
    upright = upright @ pairs.rotations  # a row of coordinates times R is R's inverse applied
    upright -= upright.mean(1, keepdims=True)
    upright /= np.linalg.norm(upright[:, 33] - upright[:, 263], axis=1)[:, None, None]
    face = np.median(upright, axis=0)
    mirrored = face * (-1, 1, 1)
    partner = np.linalg.norm(face[:, None] - mirrored[None], axis=-1).argmin(1)
    face = 0.5 * (face + mirrored[partner])
    return (CANONICAL_EYES_CM * face).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--official", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--wheel", type=Path, required=True, help="MediaPipe's wheel 0.10.21")
    parser.add_argument("-o", "--output", type=Path, default=ASSET)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "attention.task"
        bundle.write_bytes(bundle_from_wheel(args.wheel, FaceUnits.empty()))
        with FaceDetector(args.official, "image") as official, FaceDetector(bundle, "image") as attention:
            pairs = Pairs.join(
                [
                    detect_pairs(open_avatar(name), official, attention, seed)
                    for seed, name in enumerate(builtin_names())
                ]
            )
    print(f"{len(pairs.scores)} pictures with a face")
    landmarks, scores = mixtures(pairs, OfficialScores(args.official))
    real = np.repeat(
        pairs.attention[:, list(LANDMARKS), :2], 5, axis=0
    )  # as much as an eighth of the mixtures
    weights, biases = train(
        np.concatenate([landmarks, real]), np.concatenate([scores, np.repeat(pairs.scores, 5, axis=0)])
    )
    units = FaceUnits(tuple(weights), tuple(biases), canonical_face(pairs))
    units.save(args.output, {"licence": "Apache-2.0", "source": "python -m tracking.making.make_face_units"})
    error = np.abs(units(pairs.attention[:, list(LANDMARKS), :2]) - pairs.scores).mean()
    print(f"{args.output}: mean difference from the official scores on the renders {error:.4f}")


if __name__ == "__main__":
    main()
