"""From a film, pictures or a capture to a dataset: `visavis train prepare`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from capture.images import PICTURE_SUFFIXES, ImageFolder
from capture.media import HEIC_SUFFIXES
from engine.errors import UsageError
from engine.model_fetch import ensure_model
from engine.progress import Bars
from engine.train.data.dataset import DatasetWriter, check_new_folder
from engine.train.data.pictures import KeptPicture
from engine.train.data.views import Split
from engine.train.prepare.footage import Shot, Thinning, look_at_film, look_at_pictures
from tracking.detect.person_choice import PersonChoice

_LEAST_FOR_TEST = 10  # pictures; of fewer none is held out


@dataclass(frozen=True)
class PrepareOptions:
    """What of the input becomes which pictures."""

    size: int = 512  # pixels along a side
    every: int = 1  # of a film's frames, each n-th
    fps: float | None = None  # at most this many frames a second; wins over `every`
    test_fraction: float = 0.2  # of a clip's end, held out
    max_frames: int | None = None
    person: PersonChoice | None = None  # whom of several; None: nobody else may be there

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 2048:
            raise UsageError(f"--size {self.size}: give 32 to 2048 pixels, usually 256 or 512")
        if self.every < 1:
            raise UsageError(f"--every {self.every}: give 1 for every frame, 2 for every other")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UsageError(f"--fps {self.fps}: give frames a second, such as 10")
        if not 0 <= self.test_fraction < 1:
            raise UsageError(
                f"--test-fraction {self.test_fraction}: give a share from 0 to below 1, such as 0.2"
            )
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"--max-frames {self.max_frames}: give 1 or more")


@dataclass(frozen=True)
class Prepared:
    """What was written, in words."""

    summary: str
    warnings: tuple[str, ...]


def prepare(
    inputs: Sequence[str | Path], out: str | Path, options: PrepareOptions, progress: Bars
) -> Prepared:
    """Write the dataset `out` from one film, one or several pictures or folders of them, or one capture.

    A capture is a folder with transforms.json and known cameras (`engine.train.prepare.layouts`). Raises
    UsageError, SourceError, TrackingError, AvatarError or OutputError, one line each; nothing half-written
    stays.
    """
    folder = check_new_folder(out)
    paths = [Path(path) for path in inputs]
    if not paths:
        raise UsageError("nothing to prepare: name a film, pictures or a capture's folder")
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"{path} does not exist: check the path")
    if len(paths) == 1 and paths[0].is_dir() and any(paths[0].glob("transforms*.json")):
        if options.person is not None:
            raise UsageError(
                f"--person {options.person}: {paths[0]} is a capture, of one person; leave it out"
            )
        return _prepare_capture(paths[0], folder, options, progress)
    shot = _look(paths, options, progress)
    return _prepare_shot(shot, folder, options, progress)


def _look(paths: Sequence[Path], options: PrepareOptions, progress: Bars) -> Shot:
    ensure_model("face_landmarker")
    ensure_model("selfie_segmenter")
    pictures: list[Path] = []
    notes: tuple[str, ...] = ()
    for path in paths:
        if path.is_dir():
            with ImageFolder(path) as folder:
                pictures += folder.paths
                notes += folder.notes
        elif path.suffix.lower() in PICTURE_SUFFIXES | HEIC_SUFFIXES:
            pictures.append(path)
        elif len(paths) > 1:
            raise UsageError(f"{path} is no picture: give one film, or pictures only")
    if pictures:
        if options.max_frames is not None:
            pictures = pictures[: options.max_frames]
        shot = look_at_pictures(pictures, progress, options.person)
        return replace(shot, notes=(*notes, *shot.notes))
    thinning = Thinning(options.every, options.fps)
    return look_at_film(paths[0], thinning, options.max_frames, progress, options.person)


def _prepare_shot(shot: Shot, folder: Path, options: PrepareOptions, progress: Bars) -> Prepared:
    from engine.train.prepare import placement
    from engine.train.prepare.alignment import LEAST_FRAMES, WORKING_PX, aligned
    from engine.train.prepare.clip_fit import fit_clip
    from engine.train.prepare.masks import person_colours, person_masks
    from engine.train.prepare.quality import measure
    from engine.train.prepare.quality_page import Samples, quality_page
    from tracking.detect.segmenter import PersonSegmenter

    fit = fit_clip(
        shot.detections, video=shot.film, progress=lambda items, n: progress.over(items, "fitting", n)
    )
    rest = placement.rest_pose(fit.fits)
    whole = placement.whole_camera(fit.intrinsics, placement.world_to_camera(fit.rig, rest), shot.size)
    params = [placement.rig_params(fit.rig, frame, rest) for frame in fit.fits]
    crop = placement.find_crop(fit.rig, params, whole)
    camera = placement.cropped_camera(whole, crop, options.size)
    count = len(params)
    num_train = count if count < _LEAST_FOR_TEST else round(count * (1 - options.test_fraction))
    samples = Samples.of(np.median(fit.residual_px(), 1))
    name = shot.paths[0].stem
    covered = np.zeros(count)
    small: list[KeptPicture] = []
    agreement_db = None
    with (
        DatasetWriter(folder, fit.rig, fit.reference, name) as writer,
        PersonSegmenter() as segmenter,
    ):
        cropped = (crop.of(frame.rgb, options.size) for frame in shot.frames())
        masked = person_masks(cropped, segmenter, film=shot.film)
        for row, (rgb, mask) in enumerate(progress.over(masked, "writing", count)):
            detection = shot.detections[row]
            kept = KeptPicture(person_colours(rgb, mask), np.rint(255 * mask).astype(np.uint8))
            split: Split = "train" if row < num_train else "test"
            index = detection.index if shot.film else row
            writer.add(f"frame_{detection.index:06d}", camera, params[row], index, split, kept)
            points = (detection.landmarks[:, :2] - [crop.left, crop.top]) * (options.size / crop.side)
            covered[row] = _covered(mask, points)
            samples.offer(row, rgb, mask)
            small.append(kept.shrunk(WORKING_PX))
        if num_train >= LEAST_FRAMES:
            seen_small = camera.resized(small[0].rgb.shape[1], small[0].rgb.shape[0])
            result = aligned(
                fit.rig,
                params,
                seen_small,
                small,
                num_train,
                lambda items, n: progress.over(items, "aligning", n),
            )
            params, agreement_db = result.params, result.agreement_db
            writer.repose(params)
        quality = measure(shot, fit, options.size / crop.side, num_train, covered, agreement_db)
        writer.attach("quality.json", json.dumps(quality.as_json(), indent=1).encode())
        page = quality_page(quality, samples, fit.rig, params, camera, name)
        writer.attach("quality.html", page.encode())
    kind = "frames" if shot.film else "pictures"
    summary = (
        f"{folder}: {count} {kind} at {options.size}x{options.size}, {num_train} to train on, "
        f"{count - num_train} held out; the rig lies {quality.alignment_px['face']:.1f} px from the face; "
        f"look at {folder / 'quality.html'}"
    )
    return Prepared(summary, tuple(quality.warnings))


def _covered(mask: np.ndarray, points: np.ndarray) -> float:
    """Share of the face's landmarks that the mask holds."""
    size = mask.shape[0]
    inside = ((points >= 0) & (points < size)).all(1)
    at = points[inside].astype(int)
    return float((mask[at[:, 1], at[:, 0]] > 0.5).mean()) if inside.any() else 0.0


def _prepare_capture(path: Path, folder: Path, options: PrepareOptions, progress: Bars) -> Prepared:
    from engine.train.prepare.capture_fit import fit_capture
    from engine.train.prepare.flame_capture import on_flame
    from engine.train.prepare.layouts import read_capture, scaled
    from engine.train.prepare.masks import person_colours, person_masks
    from tracking.detect.segmenter import PersonSegmenter

    capture = read_capture(path, options.test_fraction, options.max_frames)
    count = len(capture.views)
    train = sum(view.split == "train" for view in capture.views)
    summary = [f"{folder}: {count} views, {train} to train on, {count - train} held out"]
    warnings = []
    if capture.has_flame:
        rigged = on_flame(capture)
    else:
        fit = fit_capture(capture, progress)
        rigged = fit.rigged
        first = rigged.cameras[0]
        off_px = fit.off_px * options.size / max(first.width, first.height)
        summary += [f"the rig lies {off_px:.1f} px from the face", *([fit.scaled] if fit.scaled else [])]
        if fit.num_without_face:
            warnings.append(
                f"{fit.num_without_face} of {count} pictures show no face: they are kept, the others place it"
            )
    with DatasetWriter(folder, rigged.rig, rigged.reference, path.name) as writer, ExitStack() as opened:
        segmenter: PersonSegmenter | None = None
        posed = zip(capture.views, rigged.cameras, rigged.params, strict=True)
        for view, camera, params in progress.over(posed, "writing", count):
            rgb, mask = view.pixels(options.size)
            if mask is None:
                if segmenter is None:
                    ensure_model("selfie_segmenter")
                    segmenter = opened.enter_context(PersonSegmenter())
                ((rgb, share),) = person_masks([rgb], segmenter, film=False)
                rgb, mask = person_colours(rgb, share), np.rint(255 * share).astype(np.uint8)
            kept = KeptPicture(rgb, mask)
            writer.add(view.name, scaled(camera, options.size), params, view.moment, view.split, kept)
    return Prepared("; ".join(summary), tuple(warnings))
