"""LPIPS, as a figure and as a loss, with the backbone's weights from a file of the user's; else none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import UsageError

# Layers of torchvision's `features`: a number is a convolution's channels, and what it is tapped behind.
_VGG16 = "64 64 tap pool 128 128 tap pool 256 256 256 tap pool 512 512 512 tap pool 512 512 512 tap"
_ALEX_CONVOLUTIONS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, for colours in -1..1
_SMALLEST_PX = 64


class Lpips:
    """Learned perceptual distance; 0 for equal pictures.

    `weights`: torchvision's `vgg16` or `alexnet` state dict (.pth or .safetensors). The linear layers are
    the published ones, which come with torchmetrics. Raises UsageError when the file is none of these.
    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.
    """

    def __init__(self, weights: Path) -> None:
        stored = _read(weights)
        first = stored.get("features.0.weight")
        shape = () if first is None else tuple(first.shape)
        if shape == (64, 3, 3, 3):
            self.backbone, layers, self._taps = "vgg", *_vgg16()
        elif shape == (64, 3, 11, 11):
            self.backbone, layers, self._taps = "alex", *_alexnet()
        else:
            raise UsageError(
                f"--lpips {weights}: no VGG-16 or AlexNet of torchvision; give vgg16-*.pth or alexnet-*.pth"
            )
        own = {key.removeprefix("features."): v for key, v in stored.items() if key.startswith("features.")}
        try:
            layers.load_state_dict(own)
        except RuntimeError as error:
            raise UsageError(f"--lpips {weights}: does not hold the {self.backbone} layers whole") from error
        self._layers = layers.eval().requires_grad_(False)
        self._linear = _linear_layers(self.backbone)

    def to(self, device: torch.device | str) -> Lpips:
        """This one, computing on `device`."""
        self._layers = self._layers.to(device)
        self._linear = [weight.to(device) for weight in self._linear]
        return self

    def __call__(self, rgb: Tensor, truth: Tensor) -> Tensor:
        """Of [H, W, 3] pictures in 0..1, differentiable by both. Raises ValueError below 64 pixels a side."""
        if min(rgb.shape[:2]) < _SMALLEST_PX:
            raise ValueError(f"LPIPS needs {_SMALLEST_PX} pixels a side, got {tuple(rgb.shape[:2])}")
        pair = torch.stack([rgb, truth]).to(self._linear[0])
        shift, scale = pair.new_tensor(_SHIFT), pair.new_tensor(_SCALE)
        features = ((2 * pair - 1 - shift) / scale).permute(0, 3, 1, 2)
        distances = []
        linear = iter(self._linear)
        for index, layer in enumerate(self._layers):
            features = layer(features)
            if index in self._taps:
                unit = features / (features.square().sum(1, keepdim=True) + 1e-8).sqrt()
                distances.append(((unit[0] - unit[1]).square().mean((1, 2)) * next(linear)).sum())
        return torch.stack(distances).sum()


def _vgg16() -> tuple[nn.Sequential, set[int]]:
    layers: list[nn.Module] = []
    taps, channels = set(), 3
    for word in _VGG16.split():
        if word == "tap":
            taps.add(len(layers) - 1)
        elif word == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, int(word), 3, padding=1), nn.ReLU()]
            channels = int(word)
    return nn.Sequential(*layers), taps


def _alexnet() -> tuple[nn.Sequential, set[int]]:
    layers: list[nn.Module] = []
    taps, channels = set(), 3
    for number, (width, kernel, stride, padding) in enumerate(_ALEX_CONVOLUTIONS):
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU()]
        taps.add(len(layers) - 1)
        channels = width
        if number < 2:
            layers.append(nn.MaxPool2d(3, 2))
    return nn.Sequential(*layers), taps


def _linear_layers(backbone: str) -> list[Tensor]:
    """The learned weight of each channel, [C] a tapped layer."""
    import torchmetrics

    folder = Path(torchmetrics.__file__).parent / "functional/image/lpips_models"
    stored = torch.load(folder / f"{backbone}.pth", map_location="cpu", weights_only=True)
    return [stored[f"lin{number}.model.1.weight"].flatten() for number in range(5)]


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UsageError(f"--lpips {path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged bytes both raise whatever they are led to
        raise UsageError(f"--lpips {path}: not a file of weights") from error
    if not isinstance(stored, Mapping):
        raise UsageError(f"--lpips {path}: not a file of weights")
    return stored
