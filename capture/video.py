"""Video files through PyAV: as the player shows them, with their own presentation times."""

from __future__ import annotations

import math
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from capture.closing import Closing
from capture.errors import SourceError
from capture.frame import Frame

_FALLBACK_FPS = 30.0
# A file without a frame count is called cut when it holds less than this share of its stated duration; a
# frame rate that varies makes the estimate rough.
_CUT_SHARE = 0.8


class VideoFile(Closing):
    """Reads a video file frame by frame, turned upright, with square pixels and real presentation times.

    Times start at 0 with the first frame and strictly rise, whatever the file says: a missing or repeated
    time becomes the one before plus one frame. A damaged file gives what decodes; `problem` says then what
    was lost.

    Raises SourceError for a path that is missing, empty, unreadable or holds no picture.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._num_read = 0
        self._num_packets = 0
        self._num_bad_packets = 0
        self._cut_short: str | None = None
        self._last_ns = -1
        self._container = _open_container(self._path)
        try:
            # FFmpeg's choice, not simply the first: a cover picture may come before the film.
            stream = self._container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise SourceError(f"{self._path} has no picture, only sound: give a video")
            self._stream = stream
            self._stream.thread_type = "AUTO"
            self._time_base = self._stream.time_base or Fraction(1, 90_000)
            self._fps = _frame_rate(self._stream)
            self._decoded = self._decode()
            # The first frame is decoded here: only it tells the size shown, and an undecodable file must fail
            # now.
            self._next = next(self._decoded, None)
            if self._next is None:
                raise SourceError(f"{self._path} is damaged, not one frame of it decodes: give another file")
            first_pts = self._next.pts
            self._first_pts = int(first_pts) if first_pts is not None else 0
            self._upright = _Upright(self._next, self._stream)
        except BaseException:
            self._container.close()
            raise

    @property
    def path(self) -> Path:
        return self._path

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return self._fps

    @property
    def size(self) -> tuple[int, int]:
        return self._upright.size

    @property
    def has_audio(self) -> bool:
        return bool(self._container.streams.audio)

    @property
    def num_frames(self) -> int | None:
        if self._stream.frames:
            return int(self._stream.frames)
        duration_s = self.duration_s
        return max(1, round(duration_s * self._fps)) if duration_s is not None else None

    @property
    def duration_s(self) -> float | None:
        """Length in seconds as the file states it; None when it does not."""
        if self._stream.duration is not None:
            return float(self._stream.duration * self._time_base)
        if self._container.duration is not None:
            return float(self._container.duration / av.time_base)
        return None

    @property
    def start_s(self) -> float:
        """The first frame's time on the file's own clock: take it off the sound's times when copying it."""
        return float(self._first_pts * self._time_base)

    @property
    def problem(self) -> str | None:
        """After the end: what was damaged, in one line; None when every frame decoded."""
        if self._cut_short is None and not self._num_bad_packets:
            return None
        expected = f" of about {self.num_frames}" if self.num_frames else ""
        reason = self._cut_short or f"{self._num_bad_packets} damaged packets were left out"
        return f"{self._path} is damaged ({reason}): read {self._num_read}{expected} frames"

    def read(self) -> Frame | None:
        """The next frame; None at the end."""
        decoded = self._next
        if decoded is None:
            return None
        frame = Frame(self._upright(decoded), self._presentation_ns(decoded), self._num_read)
        self._num_read += 1
        self._next = next(self._decoded, None)
        return frame

    def close(self) -> None:
        self._next = None
        self._decoded.close()
        self._container.close()

    def _presentation_ns(self, decoded: av.VideoFrame) -> int:
        step_ns = round(1e9 / self._fps)
        if decoded.pts is None:
            time_ns = self._last_ns + step_ns if self._last_ns >= 0 else 0
        else:
            # In integers: 1/90000 s ticks of a long file do not fit a float's 53 bits at nanosecond
            # resolution.
            time_ns = round((decoded.pts - self._first_pts) * self._time_base * 1_000_000_000)
        if time_ns <= self._last_ns:
            time_ns = self._last_ns + step_ns
        self._last_ns = time_ns
        return time_ns

    def _decode(self) -> Generator[av.VideoFrame]:
        """Every frame that decodes; packets that do not are counted and left out."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._cut_short = _reason(error)
                return
            if packet is None:
                self._cut_short = self._ends_early()
                return
            self._num_packets += packet.size > 0
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self._num_bad_packets += 1

    def _ends_early(self) -> str | None:
        """FFmpeg ends a file that was cut off as if it were whole; the stated length gives it away."""
        if self._stream.frames:
            return "it ends early" if self._num_packets < self._stream.frames else None
        # Without a count, the stated duration: the sound's may be longer, so it must be the picture's own.
        if self._stream.duration is None and self.has_audio:
            return None
        seconds = self._num_packets / self._fps
        stated = self.duration_s
        return "it ends early" if stated is not None and seconds < _CUT_SHARE * stated else None


class _Upright:
    """Turns decoded frames into RGB pictures as a player shows them: rotated, with square pixels."""

    def __init__(self, first: av.VideoFrame, stream: av.VideoStream) -> None:
        aspect = stream.sample_aspect_ratio
        self._pixel_aspect = float(aspect) if aspect else 1.0
        self._quarter_turns = round((first.rotation or 0) / 90) % 4
        width, height = self._square_size(first)
        self.size = (height, width) if self._quarter_turns % 2 else (width, height)

    def _square_size(self, decoded: av.VideoFrame) -> tuple[int, int]:
        return max(1, round(decoded.width * self._pixel_aspect)), decoded.height

    def __call__(self, decoded: av.VideoFrame) -> NDArray[np.uint8]:
        width, height = self._square_size(decoded)
        # By itself swscale wakes dozens of threads for a picture, which costs more than converting it.
        rgb = decoded.to_ndarray(format="rgb24", width=width, height=height, threads=1)
        # FFmpeg's rotation, like np.rot90's, counts counter-clockwise.
        return np.ascontiguousarray(np.rot90(rgb, self._quarter_turns))


def _open_container(path: Path) -> av.container.InputContainer:
    try:
        if not path.exists():
            raise SourceError(f"{path} does not exist: check the path")
        if path.is_dir():
            raise SourceError(f"{path} is a folder: give a video file")
        if path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes): give another file")
        # A leading "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        return av.open(f"file:{path}", metadata_errors="replace")
    except SourceError:
        raise
    except PermissionError as error:
        raise SourceError(
            f"{path} cannot be read (permission denied): check the file's permissions"
        ) from error
    except (av.FFmpegError, OSError) as error:
        raise SourceError(
            f"{path} is no video FFmpeg can read ({_reason(error)}): give another file"
        ) from error


def _frame_rate(stream: av.VideoStream) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and math.isfinite(rate) and 0 < rate <= 1000:
            return float(rate)
    return _FALLBACK_FPS


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
