"""A film or pictures looked at once: faces, cuts, sharpness, light; what cannot be used is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.frame import Frame
from capture.images import read_picture
from capture.source import Source, open_input
from capture.upright import fitted
from engine.errors import UsageError
from engine.offline.detection_log import DetectionLog
from engine.person import Sightings
from engine.progress import Bars
from tracking.detect.detection import Detection
from tracking.detect.face_finder import FaceFinderFactory
from tracking.detect.person_choice import PersonChoice
from tracking.detect.picture_finder import PictureFinderFactory
from tracking.detect.process import DetectorProcess
from tracking.detect.quarter_turns import turned
from tracking.fit.face_fit import interocular

Array = NDArray[np.float64]

_THUMB = 32  # pixels of the grey pictures that cuts show in
_CUT_CORRELATION = 0.65  # of the frame before; people who move in front of their wall stay above 0.9
_CUT_JUMP = 0.9  # interocular distances within 40 ms: no head is that fast
_FACE_PX = 96  # side of the face's picture that sharpness and light are measured in
_LEAST_SECONDS = 3.0
_LONGEST_STEP = 5.0  # usual steps that a frame is shown at most, where a film's rate varies
_LEAST_INTEROCULAR_PX = 24
_SEVERAL_SHARE = 0.3  # a second face at least this large, beside the first, in over half of the samples
_NUM_FACE_SAMPLES = 7
# Variance of the Laplacian of a 96-pixel face over its own variance. Six real clips have 0.05 to 0.35; the
# same blurred until eyes are smears, 0.002 to 0.015.
LEAST_SHARPNESS = 0.015
_BLURRED = 0.35  # of the sharpness of the clip's sharp frames


@dataclass(frozen=True)
class Shot:
    """The frames that will be learnt from: all with a face, without a cut. T frames."""

    paths: tuple[Path, ...]  # the film, or one picture each
    detections: tuple[Detection, ...]  # T
    sharpness: Array  # [T] variance of the face's Laplacian, faces of one size
    brightness: Array  # [T] 0..1, of the face
    film: bool
    fps: float
    size: tuple[int, int]  # width and height
    num_read: int
    notes: tuple[str, ...]  # what was left out, in plain words

    @property
    def blurred(self) -> NDArray[np.bool_]:
        """Frames [T] that are much less sharp than this clip's sharp ones."""
        return np.asarray(self.sharpness < _BLURRED * np.quantile(self.sharpness, 0.9))

    def frames(self) -> Iterator[Frame]:
        """The pixels once more, frame by frame, turned upright."""
        if not self.film:
            for path, detection in zip(self.paths, self.detections, strict=True):
                picture = fitted(turned(read_picture(path), detection.turn), self.size)
                yield Frame(picture, detection.capture_ns, detection.index)
            return
        wanted = {d.index: d.turn for d in self.detections}
        last = max(wanted)
        with open_input(self.paths[0]) as source:
            while (frame := source.read()) is not None and frame.index <= last:
                if frame.index in wanted:
                    yield replace(frame, rgb=turned(frame.rgb, wanted[frame.index]))


@dataclass(frozen=True)
class Thinning:
    """Which frames of a film are looked at."""

    every: int = 1  # each n-th
    fps: float | None = None  # at most so many a second of the film's own time; wins over `every`

    def rate(self, source: Source) -> float:
        """Frames a second that are left."""
        return source.fps / self.every if self.fps is None else min(source.fps, self.fps)

    def thinned(self, source: Source) -> Iterator[tuple[Frame, bool]]:
        """Every frame, and whether it is one of them."""
        due_s = 0.0
        while (frame := source.read()) is not None:
            if self.fps is None:
                yield frame, frame.index % self.every == 0
                continue
            # a film's clock is rounded: a frame a little early is the one that was due
            now_s = frame.capture_ns * 1e-9
            taken = now_s > due_s - 0.2 / source.fps
            if taken:
                due_s = max(due_s, now_s - 1 / self.fps) + 1 / self.fps
            yield frame, taken


def look_at_film(
    path: Path, thinning: Thinning, most: int | None, bars: Bars, person: PersonChoice | None = None
) -> Shot:
    """The longest usable shot of a film, of `person` where several are in it.

    Raises SourceError and UsageError saying what is wrong with it.
    """
    sightings = Sightings(str(path), person)
    with open_input(path) as source:
        log, looks, count = _look(source, thinning, bars, person, sightings)
        fps, notes = thinning.rate(source), list(source.notes)
    detections = log.detections()
    sightings.check_choice()
    found = np.array([d.found for d in detections], bool)
    if not found.any():
        raise UsageError(f"no face was found in {path}: film your face from the front, in good light")
    rows, num_shots = _longest_shot(detections, looks)
    if num_shots > 1:
        first, last = (detections[rows[i]].capture_ns * 1e-9 for i in (0, -1))
        notes.append(
            f"the film is cut: of its {num_shots} shots only the longest was taken, "
            f"{first:.1f} s to {last:.1f} s"
        )
    faces = rows[found[rows]]
    if len(faces) < len(rows):
        notes.append(f"{len(rows) - len(faces)} of {len(rows)} frames show no face and were left out")
    seconds = _seconds(detections, faces)
    if seconds < _LEAST_SECONDS:
        where = "its longest shot shows" if num_shots > 1 else "it shows"
        raise UsageError(
            f"{path} is too short, {where} a face for {seconds:.1f} s: film {_LEAST_SECONDS:.0f} s at least, "
            "better 20 s, and turn your head while you do"
        )
    if most is not None and len(faces) > most:
        faces = faces[np.round(np.linspace(0, len(faces) - 1, most)).astype(int)]
    shot = Shot(
        (path,),
        tuple(detections[i] for i in faces),
        np.array([looks[i].sharpness for i in faces]),
        np.array([looks[i].brightness for i in faces]),
        True,
        fps,
        (detections[faces[0]].width, detections[faces[0]].height),
        count,
        (*sightings.notes, *notes),
    )
    _check(shot, str(path), person)
    return shot


def look_at_pictures(paths: Sequence[Path], bars: Bars, person: PersonChoice | None = None) -> Shot:
    """Pictures of one person, each on its own, all of one size; `person` where several are in them.

    Raises SourceError and UsageError.
    """
    size, num_fitted = _common_size([read_picture(path).shape for path in paths])
    detections: list[Detection] = []
    looks: list[_Look] = []
    notes: list[str] = []
    if num_fitted:
        notes.append(
            f"the pictures are of several sizes: {num_fitted} of {len(paths)} were fitted into "
            f"{size[0]}x{size[1]}, which holds for pictures of one camera that nobody has cropped"
        )
    used: list[Path] = []
    with DetectorProcess(PictureFinderFactory(person)) as detector:
        for index, path in enumerate(bars.over(paths, "looking", len(paths))):
            picture, turn = read_picture(path), 0
            frame = Frame(fitted(picture, size), index * 40_000_000, index)
            detection = detector.detect(frame)
            if detection.found and detection.turn:
                turn = detection.turn
                notes.append(f"{path.name} was turned upright by {90 * turn} degrees clockwise")
                frame = replace(frame, rgb=fitted(turned(picture, turn), size))
                detection = detector.detect(frame)
            if not detection.found or detection.turn:
                notes.append(f"{path.name} shows no face and was left out")
                continue
            used.append(path)
            looks.append(_Look.at(frame, detection))
            detections.append(replace(detection, turn=turn))
    if not detections:
        what = str(paths[0]) if len(paths) == 1 else f"any of the {len(paths)} pictures"
        raise UsageError(f"no face was found in {what}: give a picture of a face from the front")
    shot = Shot(
        tuple(used),
        tuple(detections),
        np.array([look.sharpness for look in looks]),
        np.array([look.brightness for look in looks]),
        False,
        1.0,
        size,
        len(paths),
        tuple(notes),
    )
    _check(shot, str(paths[0]) if len(paths) == 1 else "the pictures", person)
    return shot


def _common_size(shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, int], int]:
    """Width and height that hold pictures [H, W, 3] of these shapes, and how many of them it changes.

    All are scaled to the longer side of the largest. One camera turned on its side has then one focal length
    and one centre in all of them.
    """
    longest = max(max(shape[:2]) for shape in shapes)
    scaled = [[round(side * longest / max(shape[:2])) for side in shape[:2]] for shape in shapes]
    height, width = (max(sides) for sides in zip(*scaled, strict=True))
    return (width, height), sum(shape[:2] != (height, width) for shape in shapes)


@dataclass(frozen=True)
class _Look:
    """What is kept of a frame's pixels."""

    thumb: Array  # [_THUMB * _THUMB] grey, centred, of length 1
    sharpness: float
    brightness: float

    @classmethod
    def at(cls, frame: Frame, detection: Detection) -> _Look:
        import cv2

        grey = cv2.cvtColor(turned(frame.rgb, detection.turn), cv2.COLOR_RGB2GRAY)
        thumb = cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(float).ravel()
        thumb -= thumb.mean()
        thumb /= max(float(np.linalg.norm(thumb)), 1e-9)
        if not detection.found:
            return cls(thumb, 0.0, 0.0)
        centre, side = detection.landmarks[:, :2].mean(0), np.ptp(detection.landmarks[:, :2], axis=0).max()
        low = np.maximum(np.round(centre - side / 2).astype(int), 0)
        face = grey[low[1] : low[1] + int(side) + 1, low[0] : low[0] + int(side) + 1]
        if min(face.shape) < 4:
            return cls(thumb, 0.0, 0.0)
        area = cv2.INTER_AREA if side > _FACE_PX else cv2.INTER_CUBIC
        face = cv2.resize(face, (_FACE_PX, _FACE_PX), interpolation=area).astype(np.float32)
        sharp = float(cv2.Laplacian(face, cv2.CV_32F).var() / max(float(face.var()), 1.0))
        return cls(thumb, sharp, float(face.mean()) / 255)


def _look(
    source: Source, thinning: Thinning, bars: Bars, person: PersonChoice | None, sightings: Sightings
) -> tuple[DetectionLog, list[_Look], int]:
    log, looks, kept = DetectionLog(), [], []
    count = 0

    def chosen() -> Iterator[Frame]:
        nonlocal count
        for frame, taken in thinning.thinned(source):
            count += 1
            if taken:
                kept.append(frame)
                yield frame

    with DetectorProcess(FaceFinderFactory(person)) as detector:
        share = thinning.rate(source) / source.fps
        total = None if source.num_frames is None else math.ceil(source.num_frames * share)
        for detection in bars.over(detector.detect_all(chosen()), "tracking", total):
            log.append(detection)
            sightings.see(detection)
            looks.append(_Look.at(kept.pop(0), detection))
    return log, looks, count


def _longest_shot(detections: Sequence[Detection], looks: Sequence[_Look]) -> tuple[NDArray[np.intp], int]:
    """Rows of the shot with most faces, and how many shots there are."""
    step_s = _step_s(detections)
    cuts = []
    for i in range(1, len(looks)):
        before, now = detections[i - 1], detections[i]
        cut = float(looks[i].thumb @ looks[i - 1].thumb) < _CUT_CORRELATION
        cut |= (before.turn, before.person) != (now.turn, now.person)
        if before.found and now.found:
            moved = np.linalg.norm(np.median(now.landmarks - before.landmarks, 0)[:2])
            size = max(interocular(before.landmarks.astype(float)), 1.0)
            cut |= bool(moved / size > _CUT_JUMP * max(1.0, step_s / 0.04))
        if cut:
            cuts.append(i)
    shots = np.split(np.arange(len(looks)), cuts)
    faces = [sum(detections[i].found for i in shot) for shot in shots]
    num_real = sum(len(shot) * step_s > 0.2 for shot in shots)  # a flash is no shot
    return shots[int(np.argmax(faces))], max(1, num_real)


def _step_s(detections: Sequence[Detection]) -> float:
    """Usual seconds from one frame to the next."""
    steps = np.diff([detection.capture_ns for detection in detections])
    return float(np.median(steps)) * 1e-9 if len(steps) else 1 / 30


def _seconds(detections: Sequence[Detection], rows: NDArray[np.intp]) -> float:
    """How long these frames are shown together; a pause between them is not counted in."""
    times_ns = np.array([detection.capture_ns for detection in detections])
    usual_ns = _step_s(detections) * 1e9
    shown_ns = np.append(np.diff(times_ns), usual_ns)
    return float(np.minimum(shown_ns, _LONGEST_STEP * usual_ns)[rows].sum()) * 1e-9


def _check(shot: Shot, what: str, person: PersonChoice | None) -> None:
    """Raise UsageError when nothing good can come of it."""
    between = float(np.median([interocular(d.landmarks.astype(float)) for d in shot.detections]))
    if between < _LEAST_INTEROCULAR_PX:
        raise UsageError(
            f"the face in {what} is too small, {between:.0f} pixels between the eyes' corners: "
            f"come closer until there are {2 * _LEAST_INTEROCULAR_PX} at least"
        )
    sharp = float(np.quantile(shot.sharpness, 0.9))
    if sharp < LEAST_SHARPNESS:
        raise UsageError(
            f"the face in {what} is blurred throughout (sharpness {sharp:.3f}, needs {LEAST_SHARPNESS}): "
            "clean the lens, wait for its focus, use more light"
        )
    if person is not None:
        return
    from tracking.detect.face_count import FaceCounter

    rows = np.unique(np.linspace(0, len(shot.detections) - 1, _NUM_FACE_SAMPLES).astype(int))
    wanted = {shot.detections[i].index for i in rows}
    sampled = (frame.rgb for frame in shot.frames() if frame.index in wanted)
    with FaceCounter() as faces:
        heights = [faces.heights(picture) for picture in sampled]
    counts = [len(sizes) > 1 and sizes[1] > _SEVERAL_SHARE * sizes[0] for sizes in heights]
    if sum(counts) > len(counts) / 2:
        raise UsageError(
            f"several people are in {what}: an avatar is of one; film that person alone, or choose with "
            "--person left, right, largest or a number"
        )
