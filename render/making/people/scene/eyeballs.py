"""Eyeballs: a clear shell that bulges over the iris, the iris set back behind it, and the pupil's well.

Both are surfaces of revolution about the axis of sight, in metres from the eye's centre: x to the person's
left, y up, z along the axis. The shell is the white of the eye and, within the limbus, the cornea: one closed
surface, so that no seam catches light; its shader turns it clear by the picture's radius.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# MakeHuman's pictures of eyes hold the ball twice; this is the middle of one, and its radii, in parts of the
# picture (origin bottom left). wet_shaders.py has the same numbers.
PICTURE_CENTRE = (0.2939, 0.2982)
PICTURE_IRIS = 0.1152
PICTURE_PUPIL = 0.0335  # and of its pupil; one picture's is wider
PICTURE_WIDE_PUPIL = {"brown_eye": 0.0425}
_PICTURE_BALL = 0.27  # where the ball's picture ends, used at 110 degrees from the axis

_BULGE = 0.074  # of the cornea over the ball, in its radii: 1.1 mm
_LIMBUS = 1.05  # radius at which cornea and ball meet, in the iris's
_BLEND_M = 0.12e-3  # how softly they meet
_SEGMENTS = 56


@dataclass(frozen=True)
class Revolution:
    """A mesh of V vertices and F polygons; the first ring is a point on the axis."""

    vertices: Array  # [V, 3] metres
    polygons: list[list[int]]
    uv: Array  # [V, 2]

    @property
    def corner_uv(self) -> Array:
        return self.uv[np.concatenate([np.array(p) for p in self.polygons])]


@dataclass(frozen=True)
class Eyeball:
    """Sizes of an eye, metres; `turn` degrees make its picture differ from its fellow's."""

    radius: float
    iris: float
    pupil: float  # radius, in the iris's
    turn_deg: float = 0.0

    def surface(self, angle: Array) -> Array:
        """Distance [...] of the shell from the centre at angles from the axis, radians."""
        rim = _LIMBUS * self.iris
        height = np.sqrt(self.radius**2 - rim**2)
        rise = self.radius * (1 + _BULGE) - height
        curvature = (rim**2 + rise**2) / (2 * rise)
        middle = height + rise - curvature  # of the cornea's sphere, on the axis
        inside = np.maximum(curvature**2 - (middle * np.sin(angle)) ** 2, 0)
        cornea = middle * np.cos(angle) + np.sqrt(inside)
        # Behind the equator the cornea's sphere says nothing.
        cornea = np.where(angle < 1.4, cornea, 0.0)
        return np.asarray(_smooth_max(cornea, np.full_like(cornea, self.radius), _BLEND_M))

    def clearance(self, points: Array, axis: Array) -> Array:
        """Metres [N] that points [N, 3] about the centre lie outside the shell of an eye looking along
        `axis` [3]."""
        distance = np.linalg.norm(points, axis=1)
        cosine = (points @ axis) / np.maximum(distance, 1e-9)
        return np.asarray(distance - self.surface(np.arccos(np.clip(cosine, -1, 1))))

    def shell(self) -> Revolution:
        """White and cornea."""
        limbus = np.arcsin(_LIMBUS * self.iris / self.radius)
        angle = np.concatenate(
            [
                np.linspace(0, 0.85 * limbus, 9),
                np.linspace(0.9 * limbus, 1.15 * limbus, 8),
                np.linspace(1.15 * limbus, np.pi, 16)[1:-1],
            ]
        )
        distance = self.surface(angle)
        from_axis = distance * np.sin(angle)
        at_limbus = np.arcsin(self.iris / self.radius)
        outwards = np.interp(angle, [at_limbus, np.radians(110)], [PICTURE_IRIS, _PICTURE_BALL])
        shown = np.where(angle < at_limbus, PICTURE_IRIS * from_axis / self.iris, outwards)
        return self._revolve(from_axis, distance * np.cos(angle), shown)

    def iris_disc(self, picture_pupil: float = PICTURE_PUPIL) -> Revolution:
        """The iris, a shallow bowl from the limbus to the pupil, and behind that a black well."""
        root = np.sqrt(self.radius**2 - (_LIMBUS * self.iris) ** 2)
        share = np.concatenate([[0.0, 0.6], np.linspace(1.0, 1.02, 2), np.linspace(1.06, 2.0, 10)])
        # 0 the axis, 1 the pupil's rim, 2 the limbus; inside the pupil the well goes back.
        outside = share >= 1.0
        outer = np.clip(share - 1, 0, 1)
        rim = self.pupil * self.iris
        from_axis = np.where(outside, rim + outer * (1.04 * self.iris - rim), share * rim)
        # Deepest inside: lit from one side it is brightest on the other, as where a cornea gathers light.
        depth = 0.042 * self.radius + 0.035 * self.radius * (1 - outer) ** 1.5
        depth = np.where(outside, depth, 0.2 * self.radius)
        shown = np.where(
            outside, picture_pupil + outer * (PICTURE_IRIS - picture_pupil), 0.5 * share * picture_pupil
        )
        return self._revolve(from_axis, root - depth, shown)

    def _revolve(self, from_axis: Array, z: Array, shown: Array) -> Revolution:
        around = np.arange(_SEGMENTS) * 2 * np.pi / _SEGMENTS
        ring = np.c_[np.cos(around), np.sin(around)]
        turned = around + np.radians(self.turn_deg)
        picture_ring = np.c_[np.cos(turned), np.sin(turned)]
        count = len(z) - 1
        rings = [np.c_[r * ring, np.full(_SEGMENTS, h)] for r, h in zip(from_axis[1:], z[1:], strict=True)]
        vertices = np.concatenate([[[0, 0, z[0]]], *rings])
        uv = np.concatenate([[PICTURE_CENTRE], *(PICTURE_CENTRE + r * picture_ring for r in shown[1:])])
        following = np.roll(np.arange(_SEGMENTS), -1)
        polygons = [[0, 1 + k, 1 + following[k]] for k in range(_SEGMENTS)]
        for row in range(count - 1):
            inner, outer = 1 + row * _SEGMENTS, 1 + (row + 1) * _SEGMENTS
            polygons += [
                [inner + k, outer + k, outer + following[k], inner + following[k]] for k in range(_SEGMENTS)
            ]
        return Revolution(vertices, [[int(i) for i in polygon] for polygon in polygons], uv)


def _smooth_max(a: Array, b: Array, width: float) -> Array:
    return 0.5 * (a + b + np.sqrt((a - b) ** 2 + width**2))
