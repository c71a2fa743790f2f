"""How good the footage of a person is for training: figures, and what to do better, in plain words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.train.prepare.clip_fit import ClipFit
from engine.train.prepare.footage import Shot
from render import axis_angle

Array = NDArray[np.float64]

# Landmarks of MediaPipe by feature; the outline slides over the cheeks as the head turns.
_OUTLINE = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148,
            176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
_EYES = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
         263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)  # fmt: skip
_MOUTH = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
          78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80,
          191)  # fmt: skip
# What an avatar should have seen: name, the units that tell, and the advice.
_EXPRESSIONS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("mouth open", ("jawOpen",), "you never opened your mouth wide: the avatar will not know its inside"),
    ("smile", ("mouthSmileLeft", "mouthSmileRight"), "you never smiled broadly"),
    ("eyes shut", ("eyeBlinkLeft", "eyeBlinkRight"), "your eyes were never shut: blink a few times slowly"),
    ("brows up", ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), "you never raised your brows"),
    ("lips rounded", ("mouthPucker", "mouthFunnel"), "you never rounded your lips: say `oh` and `oo`"),
)
_SEEN_UNIT = 0.35
_SIDE_DEG, _UP_DEG = 20.0, 10.0
_FEW_FRAMES = 90
_ALIKE_DB = 25.0  # of aligned frames; 32 before a wall, 21 where a dark room is cut out with the person
_SOFT = 0.04  # sharpness, below that of any real clip we had


@dataclass(frozen=True)
class Quality:
    """Figures of one prepared clip; angles in degrees, lengths in output pixels."""

    num_frames: int
    num_train: int
    num_read: int
    alignment_px: dict[str, float]  # median distance of the rig from the landmarks, by feature
    alignment_p95_px: float
    agreement_db: float | None  # of the frames with each other, once their poses are aligned by the pictures
    jitter_px: float  # frame to frame, what motion does not explain
    yaw_deg: list[float]  # per frame; positive to the person's left
    pitch_deg: list[float]  # per frame; positive down
    held_out_beyond_deg: float  # how far held-out frames turn beyond what is trained on
    blurred_share: float
    sharpness: list[float]
    brightness: list[float]
    exposure_change: float  # of the face's brightness, relative
    expressions: dict[str, float]  # the most that each was shown, 0..1
    mask_share: float  # of the face's landmarks that the mask holds
    focal_px: float
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded to what they mean."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items()}
            if isinstance(value, list):
                return [plain(item) for item in value]
            return round(value, 4) if isinstance(value, float) else value

        return {key: plain(value) for key, value in asdict(self).items()}


def measure(
    shot: Shot,
    fit: ClipFit,
    scale: float,
    num_train: int,
    covered: Array,
    agreement_db: float | None = None,
) -> Quality:
    """Judge a prepared clip; `scale`: output pixels per pixel of footage, `covered` [T]: mask shares."""
    yaw, pitch = head_angles(fit)
    residual = fit.residual_px() * scale
    features = {
        "face": np.arange(468),
        "eyes": np.array(_EYES),
        "mouth": np.array(_MOUTH),
        "outline": np.array(_OUTLINE),
    }
    alignment = {name: float(np.median(residual[:, rows])) for name, rows in features.items()}
    units = np.array([f.units for f in fit.fits])
    names = fit.model.unit_names
    shown = {}
    for label, members, _ in _EXPRESSIONS:
        columns = [names.index(name) for name in members]
        shown[label] = float(np.quantile(units[:, columns].max(1), 0.99))
    brightness = shot.brightness
    exposure = float(np.ptp(np.quantile(brightness, [0.05, 0.95])) / max(float(np.median(brightness)), 1e-3))
    quality = Quality(
        num_frames=len(fit.fits),
        num_train=num_train,
        num_read=shot.num_read,
        alignment_px=alignment,
        alignment_p95_px=float(np.quantile(residual[:, :468], 0.95)),
        agreement_db=agreement_db,
        jitter_px=_jitter(fit) * scale if shot.film else 0.0,
        yaw_deg=yaw.tolist(),
        pitch_deg=pitch.tolist(),
        held_out_beyond_deg=_beyond(yaw, pitch, num_train),
        blurred_share=float(shot.blurred.mean()) if shot.film else 0.0,
        sharpness=shot.sharpness.tolist(),
        brightness=brightness.tolist(),
        exposure_change=exposure,
        expressions=shown,
        mask_share=float(np.median(covered)),
        focal_px=fit.intrinsics.focal_px * scale,
        warnings=[*shot.notes],
    )
    quality.warnings.extend(_advice(quality, shot, scale))
    return quality


def head_angles(fit: ClipFit) -> tuple[Array, Array]:
    """Yaw (positive to the person's left) and pitch (positive down) of every frame against the camera."""
    forward = np.array([f.rotation[:, 2] for f in fit.fits])  # the face's own z in camera axes
    towards = -np.array([f.translation for f in fit.fits])
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    yaw = np.arctan2(forward[:, 0], forward[:, 2]) - np.arctan2(towards[:, 0], towards[:, 2])
    pitch = np.arcsin(np.clip(towards[:, 1], -1, 1)) - np.arcsin(np.clip(forward[:, 1], -1, 1))
    return np.degrees(yaw), np.degrees(pitch)


def _jitter(fit: ClipFit) -> float:
    """Median second difference of the head's place and turn in the picture, px: motion hardly has any."""
    if len(fit.fits) < 5:
        return 0.0
    values = []
    for f in fit.fits:
        turn = axis_angle.from_matrix(f.rotation @ fit.fits[0].rotation.T)
        # A turn moves the nose, 0.1 m before the joint.
        values.append(np.r_[0.1 * turn, f.translation] * fit.intrinsics.focal_px / -f.translation[2])
    second = np.diff(np.array(values)[:, [0, 1, 3, 4]], 2, axis=0)
    return float(np.median(np.linalg.norm(second, axis=1)) / np.sqrt(6))


def _beyond(yaw: Array, pitch: Array, num_train: int) -> float:
    if num_train in (0, len(yaw)):
        return 0.0
    beyond = 0.0
    for angle in (yaw, pitch):
        low, high = angle[:num_train].min(), angle[:num_train].max()
        beyond = max(beyond, float(angle[num_train:].max() - high), float(low - angle[num_train:].min()))
    return max(0.0, beyond)


def _advice(quality: Quality, shot: Shot, scale: float) -> list[str]:
    out = []
    yaw, pitch = np.array(quality.yaw_deg), np.array(quality.pitch_deg)
    if shot.film:
        sides = {"left": yaw.max(), "right": -yaw.min()}
        for side, angle in sides.items():
            if angle < _SIDE_DEG:
                how = (
                    "you never turned your head to the" if angle < 8 else "you hardly turned your head to the"
                )
                out.append(f"{how} {side} ({max(0, angle):.0f} degrees, 40 is good): that side stays a guess")
        if np.ptp(pitch) < 2 * _UP_DEG:
            out.append(f"you hardly moved your head up and down ({np.ptp(pitch):.0f} degrees in all)")
        for label, _, advice in _EXPRESSIONS:
            if quality.expressions[label] < _SEEN_UNIT:
                out.append(advice)
        if quality.num_frames < _FEW_FRAMES:
            out.append(f"only {quality.num_frames} frames: 20 seconds of film give a better avatar")
    elif quality.num_frames == 1:
        out.append("one picture shows one side and one expression: all else will be guessed")
    if quality.blurred_share > 0.1:
        out.append(
            f"motion blur in {100 * quality.blurred_share:.0f} % of the frames: move slower, use more light"
        )
    sharp = float(np.median(quality.sharpness))
    if sharp < _SOFT:
        out.append(
            f"the face is out of focus (sharpness {sharp:.3f}, usual is 0.05 to 0.35): clean the lens, "
            "wait for its focus, use more light"
        )
    if quality.exposure_change > 0.25:
        out.append(
            f"the light on the face changes by {100 * quality.exposure_change:.0f} %: "
            "lock the camera's exposure, keep away from screens and windows"
        )
    if np.median(quality.brightness) < 0.2:
        out.append("the face is dark: use more light")
    if quality.mask_share < 0.9:
        out.append(
            f"the person mask holds only {100 * quality.mask_share:.0f} % of the face: "
            "use a plain background that differs from you"
        )
    if quality.alignment_px["face"] > 3 * max(scale, 0.5):
        out.append(
            f"the rig lies {quality.alignment_px['face']:.1f} pixels off the face: "
            "is it a person's, and seen whole?"
        )
    if quality.agreement_db is not None and quality.agreement_db < _ALIKE_DB:
        out.append(
            f"the frames do not look like one person seen again and again ({quality.agreement_db:.0f} dB, "
            "good is 30): look at the cut-outs; use a plain background and steady light, and be alone there"
        )
    if quality.jitter_px > 1:
        out.append(f"the tracked head shakes by {quality.jitter_px:.1f} pixels: use more light")
    if scale > 1.3:
        out.append(
            f"the footage was enlarged {scale:.1f} times: film closer, or prepare with a smaller --size"
        )
    if quality.held_out_beyond_deg > 10:
        out.append(
            f"the held-out end turns {quality.held_out_beyond_deg:.0f} degrees further than the rest: "
            "its figures will be low"
        )
    return out
