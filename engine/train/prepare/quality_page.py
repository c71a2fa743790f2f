"""The quality report as one HTML file: pictures inline, nothing to fetch."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.train.prepare.placement import projected
from engine.train.prepare.quality import Quality
from engine.train.surface.raster import resolve, see
from render.camera import Camera
from render.normals import vertex_normals
from render.rigs.params import RigParams
from render.rigs.rig import Rig

Rgb = NDArray[np.uint8]

_NUM_SAMPLES = 8
_MOST_SIDE = 384  # pixels of a picture in the page
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1d2126}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:8px}
.grid figure{margin:0}.grid img{width:100%;display:block;border-radius:4px}
figcaption{font-size:12px;color:#667}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
li.bad{color:#9a3412}svg{background:#f6f7f9;border-radius:4px}
"""


@dataclass
class Samples:
    """A few frames kept for the page."""

    rows: frozenset[int]
    pictures: dict[int, tuple[Rgb, NDArray[np.float32]]] = field(default_factory=dict)

    @classmethod
    def of(cls, residuals: NDArray[np.float64]) -> Samples:
        """Frames spread over the clip, and the two that fit worst; `residuals` [T]."""
        spread = np.unique(np.round(np.linspace(0, len(residuals) - 1, _NUM_SAMPLES - 2)).astype(int))
        return cls(frozenset([*spread.tolist(), *np.argsort(residuals)[-2:].tolist()]))

    def offer(self, row: int, rgb: Rgb, mask: NDArray[np.float32]) -> None:
        """Keep the frame if it is wanted."""
        if row in self.rows:
            self.pictures[row] = (rgb, mask)


def quality_page(
    quality: Quality, samples: Samples, rig: Rig, params: Sequence[RigParams], camera: Camera, name: str
) -> str:
    """The page as HTML."""
    figures = []
    for row, (rgb, mask) in sorted(samples.pictures.items()):
        vertices = projected(rig, params[row], camera)
        split = "train" if row < quality.num_train else "held out"
        for picture, what in ((overlay(rgb, vertices, rig), "rig"), (_cut_out(rgb, mask), "mask")):
            figures.append(_figure(picture, f"{row}, {split}: {what}"))
    advice = "".join(f'<li class="bad">{html.escape(text)}</li>' for text in quality.warnings)
    expressions = "".join(f"<tr><td>{n}</td><td>{v:.2f}</td></tr>" for n, v in quality.expressions.items())
    curves = _curve(quality.sharpness, "sharpness") + _curve(quality.brightness, "brightness")
    alignment = ", ".join(f"{name} {value:.2f}" for name, value in quality.alignment_px.items())
    agreement = "not aligned" if quality.agreement_db is None else f"{quality.agreement_db:.1f} dB"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>Quality of {html.escape(name)}</title><style>{_STYLE}</style>
<h1>{html.escape(name)}: {quality.num_frames} pictures of {camera.width}x{camera.height}</h1>
<h2>What could be better</h2><ul>{advice or "<li>Nothing: this is good footage.</li>"}</ul>
<h2>Figures</h2><table>
<tr><td>to train on, held out</td><td>{quality.num_train}, {quality.num_frames - quality.num_train}</td></tr>
<tr><td>distance of the rig, pixels (median)</td><td>{alignment}</td></tr>
<tr><td>how alike the aligned frames are</td><td>{agreement}</td></tr>
<tr><td>shake of the tracked head, pixels</td><td>{quality.jitter_px:.2f}</td></tr>
<tr><td>blurred frames</td><td>{100 * quality.blurred_share:.0f} %</td></tr>
<tr><td>change of light</td><td>{100 * quality.exposure_change:.0f} %</td></tr>
<tr><td>face within the mask</td><td>{100 * quality.mask_share:.0f} %</td></tr></table>
<h2>How far the head turned</h2>{_coverage(quality)}
<h2>What the face did (0 to 1)</h2><table>{expressions}</table>
<h2>Sharpness and light, frame by frame</h2>{curves}
<h2>The rig on the face, and the person cut out</h2><div class="grid">{"".join(figures)}</div></html>"""


def overlay(rgb: Rgb, vertices: NDArray[np.float64], rig: Rig) -> Rgb:
    """The rig's surface over a picture, half transparent, its silhouette and features drawn."""
    import cv2

    height, width = rgb.shape[:2]
    faces = rig.faces.numpy().astype(np.int32)
    points = np.ascontiguousarray(vertices, np.float32)
    seen = see(points, faces, width, height, 2)
    pixels_per_metre = np.ptp(points[:, 0]) / float(np.ptp(rig.template[:, 0].numpy()))
    normals = vertex_normals(points * np.array([1, 1, pixels_per_metre], np.float32), faces)
    shade = (0.1 + 0.9 * np.abs(normals[:, 2:]) ** 2).astype(np.float32)
    mean, cover = resolve(seen, points, faces, shade)
    green = np.array([90, 235, 140], np.float32) * mean
    share = 0.45 * cover[..., None]
    mixed = rgb * (1 - share) + green * share
    edge = cv2.morphologyEx((cover > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    mixed[edge > 0] = (255, 60, 60)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _cut_out(rgb: Rgb, mask: NDArray[np.float32]) -> Rgb:
    square = (np.indices(mask.shape) // 16).sum(0) % 2
    board = np.where(square, 200, 235)[..., None]
    return np.clip(board + mask[..., None] * (rgb.astype(np.float32) - board), 0, 255).astype(np.uint8)


def _figure(picture: Rgb, caption: str) -> str:
    import cv2

    side = min(_MOST_SIDE, picture.shape[0])
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise RuntimeError(f"the JPEG encoder refused a picture of shape {small.shape}")
    encoded = base64.b64encode(data.tobytes()).decode()
    text = html.escape(caption)
    image = f'<img src="data:image/jpeg;base64,{encoded}" alt="{text}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _coverage(quality: Quality) -> str:
    """Yaw and pitch of every frame, as from above the shoulder of the camera."""
    dots = []
    for row, (yaw, pitch) in enumerate(zip(quality.yaw_deg, quality.pitch_deg, strict=True)):
        colour = "#2563eb" if row < quality.num_train else "#ea580c"
        x, y = 180 + 2.6 * max(-65, min(65, yaw)), 110 + 2.6 * max(-38, min(38, pitch))
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}" fill-opacity=".5"/>')
    rings = "".join(
        f'<ellipse cx="180" cy="110" rx="{2.6 * r}" ry="{2.6 * r}" fill="none" stroke="#c3c8d0"/>'
        f'<text x="{182 + 2.6 * r}" y="108" font-size="10" fill="#667">{r}°</text>'
        for r in (10, 20, 40)
    )
    return (
        f'<svg width="360" height="220" role="img">{rings}{"".join(dots)}</svg>'
        "<p>Blue frames are trained on, orange ones held out; right is your left, down is down.</p>"
    )


def _curve(values: Sequence[float], label: str) -> str:
    top = max(max(values), 1e-9)
    step = 540 / max(1, len(values) - 1)
    line = " ".join(f"{i * step:.1f},{70 - 64 * v / top:.1f}" for i, v in enumerate(values))
    return (
        f'<svg width="540" height="74" role="img"><polyline points="{line}" fill="none" stroke="#2563eb"/>'
        f'<text x="4" y="12" font-size="11" fill="#667">{label}</text></svg> '
    )
