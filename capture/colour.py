"""From the colours a film is coded in to those of an ordinary screen (BT.709), as a player shows them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import cast

import av.filter
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

Array = NDArray[np.float64]

_UNSPECIFIED = 2  # in all of H.273's tables
# Larger than either, a film that does not say its matrix is high definition, BT.709; else BT.601.
_SD_WIDTH, _SD_HEIGHT = 1279, 576

_GRID = 49  # steps along each side of the table of colours: half a 255th off in the mean
# BT.2408: the white of paper in an HDR film, which is what full white means on an ordinary screen.
_PAPER_NITS = 203.0
_HLG_NITS = 1000.0  # of the screen that BT.2100 thinks of for HLG, which gives it its gamma of 1.2
_HLG_GAMMA = 1.2
_SCREEN_GAMMA = 2.4  # BT.1886
# Up to here (linear, 1 is paper white) colours stay as they are; brighter ones are rolled off towards 1.
_KNEE = 0.8

# From linear colours of these primaries, all with D65 as white, to linear BT.709. Source: BT.2087, EG 432-1.
_TO_709 = {
    ColorPrimaries.BT2020: np.array(
        [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
    ),
    ColorPrimaries.SMPTE432: np.array(
        [[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]]
    ),
}
_LUMA_709 = np.array([0.2126, 0.7152, 0.0722])
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def assumed_matrix(frame: VideoFrame) -> Colorspace | None:
    """The matrix of a frame that does not say its own, where that is not what FFmpeg would take (BT.601)."""
    if frame.colorspace != _UNSPECIFIED or frame.format.is_rgb:
        return None
    if _primaries(frame) == ColorPrimaries.BT2020:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.width > _SD_WIDTH or frame.height > _SD_HEIGHT else None


class ScreenColours:
    """Turns frames of high dynamic range or of a wide gamut into such as an ordinary screen shows.

    HLG and PQ (HDR10, and the base layer of Dolby Vision) become BT.709: what is as bright as paper or darker
    keeps its brightness, brighter light is rolled off, colours outside BT.709 lose saturation.
    """

    def __init__(self, frame: VideoFrame) -> None:
        """Prepare for frames of this one's size, format and colours."""
        self._kind = _kind(frame)
        matrix = assumed_matrix(frame)
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        scale = f"in_range={'full' if full else 'limited'}:threads=1"
        if matrix is not None:
            scale += f":in_color_matrix={'bt2020' if matrix == Colorspace.BT2020 else 'bt709'}"
        with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
            table = Path(folder) / "colours.cube"
            table.write_text(_cube(frame))
            self._graph = av.filter.Graph()
            source = self._graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            )
            for step in (  # lut3d is three times as fast in floats as in whole numbers
                self._graph.add("scale", scale),
                self._graph.add("format", "pix_fmts=gbrpf32le"),
                self._graph.add("lut3d", f"file='{table}'"),
                self._graph.add("buffersink"),
            ):
                source.link_to(step)
                source = step
            self._graph.configure()

    @staticmethod
    def needed(frame: VideoFrame) -> bool:
        """Whether an ordinary screen would show this frame wrong as it is."""
        return frame.color_trc in _HDR or _primaries(frame) in _TO_709

    def fits(self, frame: VideoFrame) -> bool:
        """Whether this was made for frames of that kind."""
        return self._kind == _kind(frame)

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The frame in RGB, a float a channel."""
        self._graph.push(frame)
        return cast(VideoFrame, self._graph.pull())


def screen_colours(code: Array, transfer: int, primaries: int) -> Array:
    """BT.709 codes [..., 3] in 0..1 for R'G'B' codes [..., 3] in 0..1 of these H.273 transfer and primaries.

    Source: BT.2100 for PQ and HLG, BT.2408 for paper white, BT.1886 for the screen.
    """
    if transfer == ColorTrc.SMPTE2084:
        light = _pq_nits(code) / _PAPER_NITS
    elif transfer == ColorTrc.ARIB_STD_B67:
        scene = _hlg_scene(code)
        luma = np.maximum(scene @ _LUMA_2020, 1e-9)[..., None]
        light = scene * luma ** (_HLG_GAMMA - 1) * (_HLG_NITS / _PAPER_NITS)
    else:
        light = code**_SCREEN_GAMMA
    if primaries in _TO_709:
        light = _within(light @ _TO_709[ColorPrimaries(primaries)].T)
    brightest = np.maximum(light.max(-1, keepdims=True), 1e-9)
    if transfer in _HDR:
        over = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
        light = light * np.where(over > 0, _KNEE + (1 - _KNEE) * (1 - np.exp(-over)), brightest) / brightest
    return np.asarray(np.clip(light, 0, 1) ** (1 / _SCREEN_GAMMA))


def _pq_nits(code: Array) -> Array:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = code ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1))


def _hlg_scene(code: Array) -> Array:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def _within(light: Array) -> Array:
    """Linear colours with as much grey mixed in as it takes that no channel is below 0."""
    grey = np.maximum(light @ _LUMA_709, 0)[..., None]
    lowest = light.min(-1, keepdims=True)
    share = np.where(lowest < 0, grey / np.maximum(grey - lowest, 1e-9), 1)
    return np.asarray(grey + (light - grey) * share)


def _primaries(frame: VideoFrame) -> int:
    """HDR without a word on primaries is BT.2020, as its standard says."""
    given = int(frame.color_primaries)
    return int(ColorPrimaries.BT2020) if given == _UNSPECIFIED and frame.color_trc in _HDR else given


def _kind(frame: VideoFrame) -> tuple[object, ...]:
    tags = (int(frame.colorspace), int(frame.color_range), int(frame.color_trc), int(frame.color_primaries))
    return frame.width, frame.height, frame.format.name, tags


def _cube(frame: VideoFrame) -> str:
    """The table of colours in the format that FFmpeg's lut3d reads."""
    side = np.linspace(0, 1, _GRID)
    blue, green, red = np.meshgrid(side, side, side, indexing="ij")  # red changes fastest in the file
    codes = np.stack([red, green, blue], -1).reshape(-1, 3)
    shown = screen_colours(codes, int(frame.color_trc), _primaries(frame))
    rows = "%.5f %.5f %.5f\n" * len(shown) % tuple(shown.ravel())
    return f"LUT_3D_SIZE {_GRID}\n{rows}"
