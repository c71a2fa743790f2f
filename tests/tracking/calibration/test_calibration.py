from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from render.avatars.file import save_avatar
from render.avatars.library import builtin_names, open_avatar
from render.rigs.units import Unit
from tracking.calibration.measure import calibrate_avatar
from tracking.calibration.stored import response_of
from tracking.face.response import DetectorResponse
from tracking.face.signals import lid_gap, lip_gap
from tracking.face.units import crookedness, joint_units, one_sidedness, unit_coupling, unit_limits


@pytest.mark.parametrize("name", builtin_names())
def test_the_built_in_people_carry_their_calibration(name: str) -> None:
    avatar = open_avatar(name)
    response = response_of(avatar)
    assert response is not None, "run `python -m tracking.making.recalibrate`"
    _check_that_units_do_what_they_are_called(response, avatar.rig.expression_names)


def test_calibrating_gives_a_response_that_a_file_keeps(models_dir: Path, tmp_path: Path) -> None:
    avatar = open_avatar("vera")
    bare = avatar.replace(extras={}, extras_meta={})
    assert response_of(bare) is None
    # Few faces: the directions must be right, the sizes need not be.
    calibrated = calibrate_avatar(bare, num_faces=100)
    save_avatar(calibrated, tmp_path / "vera.avatar", compact=True)
    response = response_of(open_avatar(tmp_path / "vera.avatar"))
    assert response is not None
    _check_that_units_do_what_they_are_called(response, avatar.rig.expression_names)


def _check_that_units_do_what_they_are_called(response: DetectorResponse, names: tuple[str, ...]) -> None:
    def moved(**weights: float) -> np.ndarray:
        total = response.neutral_points.copy()
        for start, weight in weights.items():
            for row, name in enumerate(names):
                if name in (start, f"{start}Left", f"{start}Right"):
                    total += weight * response.unit_points[row]
        return total

    rest = response.neutral_points
    assert lip_gap(moved(jawOpen=0.6)) > lip_gap(rest) + 0.1
    assert lid_gap(moved(eyeBlink=0.5)) < 0.8 * lid_gap(rest)
    # A turn is measured between two thirds and one and a half of its size, and not as a nod.
    gain = response.pose_angles[:3] / 10
    assert (np.abs(np.diag(gain) - 1) < 0.4).all()
    assert np.abs(gain - np.diag(np.diag(gain))).max() < 0.2  # of Mei, a roll by .17 as a yaw
    assert 0.06 < response.eye_distance < 0.13  # metres between the outer corners of a person's eyes


def test_units_pair_as_faces_do() -> None:
    names = ("jawOpen", "jawLeft", "eyeLookInLeft", "eyeLookOutRight", "mouthSmileLeft", "mouthSmileRight")
    assert joint_units(names) == [(0,), (1,), (2, 3), (4, 5)]
    one_sided = one_sidedness(names) @ np.array([0.5, 0, 0.4, 0.4, 0.8, 0.2])
    np.testing.assert_allclose(one_sided, [0, 0, 0, 0, 0.3, -0.3], atol=1e-12)


def test_coupling_never_pays_for_an_expression() -> None:
    names = open_avatar("vera").rig.expression_names
    matrix = unit_coupling(names, np.ones(len(names)))
    assert np.linalg.eigvalsh(matrix).min() > -1e-12


def test_modes_of_a_face_model_go_both_ways() -> None:
    limits = unit_limits([Unit(f"expression_{i}", -2.5, 2.5) for i in range(100)])
    assert limits.lower[0] < 0 < limits.upper[0]
    assert not limits.used[60:].any()


def test_crooked_faces_cost_components_of_a_model_and_symmetric_ones_do_not() -> None:
    response = response_of(open_avatar("vera"))
    assert response is not None
    names = open_avatar("vera").rig.unit_names
    left, right = (response.unit_points[names.index(f"mouthSmile{side}")] for side in ("Left", "Right"))
    points = np.stack([left + right, left - right, left])
    modes = tuple(Unit(f"expression_{i}", -2.5, 2.5) for i in range(3))
    smile, crooked, one_sided = np.diag(crookedness(modes, points))
    assert smile < 0.05 * crooked  # the detector itself is a little lopsided
    assert smile < one_sided < crooked
    assert not crookedness(tuple(map(Unit, "abc")), points).any()
