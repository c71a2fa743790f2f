"""The built-in head's landmark embedding: `python -m tracking.making.make_embedding`.

The built-in people are rendered from several sides, the detector looks at every picture, and the rays through
its landmarks are cut with the posed mesh. The people differ in shape and share one mesh, so a point that all
of them agree on lies on the feature, not on one person's face.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from capture.frame import Frame
from render.avatars.avatar import Avatar
from render.avatars.library import builtin_names, open_avatar
from render.camera import Camera
from render.rigs.head import load_head, load_head_surface
from tracking.detect.face_detector import FaceDetector
from tracking.fit.embedding import (
    HEAD_LANDMARKS,
    RIGHT_IRIS,
    LandmarkEmbedding,
    fuse_hits,
    surface_hits,
    topology_of,
)

Array = NDArray[np.float64]

_SIZE = 640
_YAWS_DEG = (-30, -20, -10, 0, 10, 20, 30)
_PITCHES_DEG = (-12, 0, 12)
_BACKGROUND = (0.75, 0.77, 0.80)
_JAWS = (0.0, 0.4)
# Between shut lips a ray meets either: the inner lips are looked for with the mouth open only.
_INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]


def embed_head(names: tuple[str, ...], model: Path | None = None) -> LandmarkEmbedding:
    """The embedding on the built-in head's mesh from the built-in avatars `names`.

    Raises TrackingError when a landmark is seen too rarely, AvatarError for an unknown name.
    """
    head, surface = load_head(), load_head_surface()
    skin = surface.faces_of(head.faces, "body").nonzero()[:, 0].numpy()
    eyes = [surface.faces_of(head.faces, f"{side}_eye") for side in ("left", "right")]
    eyeballs = (eyes[0] | eyes[1]).nonzero()[:, 0].numpy()
    found: list[tuple[Array, Array, Array]] = []
    with torch.inference_mode(), FaceDetector(model, mode="image") as detector:
        for name in names:
            found += _look_at(open_avatar(name), detector, skin, eyeballs)
    triangles, barycentric, facing = (np.array(part) for part in zip(*found, strict=True))
    vertices = head.template.double().numpy()
    return fuse_hits(
        vertices, head.faces.numpy(), triangles.astype(np.int64), barycentric, facing, topology_of(head)
    )


def _look_at(
    avatar: Avatar, detector: FaceDetector, skin: NDArray[np.int64], eyeballs: NDArray[np.int64]
) -> list[tuple[Array, Array, Array]]:
    """Triangle, barycentric weights and cosine of the view of every landmark, for each view with a face."""
    from render.cpu.renderer import CpuRenderer

    renderer = CpuRenderer(_SIZE, _SIZE)
    faces = avatar.rig.faces.numpy()
    jaw = avatar.rig.expression_names.index("jawOpen")
    middle = avatar.rig.joints_template[4:6].mean(0)
    target = (0.0, float(middle[1]) - 0.03, float(middle[2]) - 0.04)
    found = []
    for opened, yaw, pitch in itertools.product(_JAWS, _YAWS_DEG, _PITCHES_DEG):
        params = avatar.rig.neutral_params()
        params.expression[jaw] = opened
        vertices = avatar.rig(params).vertices.double().numpy()
        camera = Camera.orbit(
            target,
            distance_m=0.7,
            yaw_deg=yaw,
            pitch_deg=pitch,
            width=_SIZE,
            height=_SIZE,
            vertical_fov_deg=28,
        )
        picture = renderer.render_rgb8(avatar.pose(params), camera, _BACKGROUND)
        detection = detector.detect(Frame(rgb=picture, capture_ns=0, index=0))
        if not detection.found:
            continue
        seen = camera.project(torch.from_numpy(vertices)).numpy()
        points = detection.landmarks[:, :2].astype(float)
        rows, weights = [], []
        # A ray through a gap between the lids or lips must not end on what lies behind them.
        for part, some in ((skin, points[: RIGHT_IRIS.start]), (eyeballs, points[RIGHT_IRIS.start :])):
            hit, bary = surface_hits(seen, faces[part], some)
            rows.append(np.where(hit >= 0, part[hit], -1))
            weights.append(bary)
        triangles = np.concatenate(rows)
        if not opened:
            triangles[_INNER_LIPS] = -1
        found.append((triangles, np.concatenate(weights), _facing(vertices, faces[triangles], camera)))
    renderer.close()
    return found


def _facing(vertices: Array, faces: NDArray[np.int64], camera: Camera) -> Array:
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    view = camera.position().double().numpy() - corners.mean(1)
    cosine = (normal * view).sum(1) / (np.linalg.norm(normal, axis=1) * np.linalg.norm(view, axis=1))
    return np.clip(cosine, 0.02, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="the detector's model file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    embedding = embed_head(builtin_names(), options.model)
    embedding.save(HEAD_LANDMARKS)
    median, most = np.percentile(embedding.spread_m * 1e3, [50, 90])
    print(f"{HEAD_LANDMARKS}: spread of the views {median:.2f} mm, 90th percentile {most:.2f} mm")


if __name__ == "__main__":
    main()
