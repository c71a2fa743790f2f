"""The person apart from the background: soft masks, and the person's own colours at their edge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detect.segmenter import PersonSegmenter

Rgb = NDArray[np.uint8]
Array = NDArray[np.float32]

_GUIDED_RADIUS = 1 / 85  # of the picture's side: about the coarse mask's uncertainty
_GUIDED_EPS = 1e-3  # variance of colours, in units of white squared, that counts as an edge
_LOW, _HIGH = 0.12, 0.88  # shares below and above which a pixel is background or person entirely
_COLOUR_RADII = (1 / 6, 1 / 40)  # of the picture's side


def person_masks(
    pictures: Iterable[Rgb], segmenter: PersonSegmenter, *, film: bool
) -> Iterator[tuple[Rgb, Array]]:
    """Every picture [H, W, 3] with its refined mask [H, W] in 0..1, in order.

    In a film a pixel takes the median of three frames: the network's mask flickers at its edge.
    """
    window: list[tuple[Rgb, Array]] = []
    for rgb in pictures:
        window = [*window[-2:], (rgb, segmenter(rgb))]
        if not film:
            yield rgb, refined(rgb, window[-1][1])
        elif len(window) > 1:
            yield _steady(window, len(window) - 2)
    if film and window:
        yield _steady(window[-2:], len(window[-2:]) - 1)


def _steady(window: Sequence[tuple[Rgb, Array]], which: int) -> tuple[Rgb, Array]:
    rgb, mask = window[which]
    if len(window) == 3:
        mask = np.median([m for _, m in window], axis=0).astype(np.float32)
    return rgb, refined(rgb, mask)


def refined(rgb: Rgb, mask: Array) -> Array:
    """A coarse mask [H, W] drawn to the picture's own edges; holes closed, other people's limbs left out."""
    import cv2

    height, width = mask.shape
    radius = max(2, round(_GUIDED_RADIUS * max(height, width)))
    whole = _largest_part(mask)
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) / np.float32(255)
    soft = _guided(guide, whole, radius)
    # The filter's reach is short: what is deep inside or outside the coarse mask is certain.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    solid = cv2.erode((whole > 0.9).astype(np.uint8), kernel) > 0
    empty = cv2.dilate((whole > 0.1).astype(np.uint8), kernel) == 0
    sharp = np.clip((soft - _LOW) / (_HIGH - _LOW), 0, 1)
    return np.where(solid, 1, np.where(empty, 0, sharp)).astype(np.float32)


def _guided(guide: NDArray[Any], mask: Array, radius: int) -> Array:
    """The mask as a local linear function of the guide, [H, W] both.

    Source: K. He, J. Sun, X. Tang, "Guided image filtering", 2010, equations 5, 6 and 8.
    """
    import cv2

    size = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_mask = cv2.blur(guide, size), cv2.blur(mask, size)
    variance = cv2.blur(guide * guide, size) - mean_guide**2
    slope = (cv2.blur(guide * mask, size) - mean_guide * mean_mask) / (variance + _GUIDED_EPS)
    offset = mean_mask - slope * mean_guide
    return np.asarray(cv2.blur(slope, size) * guide + cv2.blur(offset, size), np.float32)


def _largest_part(mask: Array) -> Array:
    """The mask's largest connected part, its holes filled."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0.3).astype(np.uint8))
    if count < 2:
        return mask
    main = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    reach = cv2.dilate(main.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    out = np.where(reach, mask, 0).astype(np.float32)
    # Whatever the outside does not reach is person: glasses and dark collars leave holes.
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~main).astype(np.uint8))
    height, width = mask.shape
    outside = np.zeros(mask.shape, np.uint8)
    for part in range(1, count):
        x, y, w, h, _ = stats[part]
        if x == 0 or y == 0 or x + w == width or y + h == height:
            outside[labels == part] = 1
    edge = cv2.dilate(outside, np.ones((5, 5), np.uint8)) > 0
    return np.where(edge, out, 1).astype(np.float32)


def person_colours(rgb: Rgb, mask: Array) -> Rgb:
    """The person's own colours [H, W, 3]: at the soft edge the background's share is taken out.

    Outside, the nearest colours of the person go on a little, then fade to black where there are none.
    Source: M. Forte, "Approximate fast foreground colour estimation", 2021.
    """
    import cv2

    picture = rgb.astype(np.float32) / 255
    alpha = mask[..., None]
    front, back = picture, picture
    for share in _COLOUR_RADII:
        size = (2 * max(1, round(share * max(mask.shape) / 2)) + 1,) * 2
        weight = cv2.blur(mask, size)[..., None]
        mean_front = cv2.blur(front * alpha, size) / (weight + 1e-5)
        mean_back = cv2.blur(back * (1 - alpha), size) / (1 - weight + 1e-5)
        error = picture - alpha * mean_front - (1 - alpha) * mean_back
        front, back = np.clip(mean_front + alpha * error, 0, 1), np.clip(mean_back, 0, 1)
    known = np.where(alpha > 0.995, picture, front)
    return np.rint(255 * np.where(alpha > 0, known, 0)).astype(np.uint8)
