"""Video files through PyAV: as the player shows them, with their own presentation times."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition

from capture.closing import Closing
from capture.errors import SourceError
from capture.frame import Frame
from capture.frame_rate import frame_rate
from capture.media import open_media, reason
from capture.upright import Upright, side_data

# A file without a frame count is called cut when its last frame comes before this share of its stated
# duration.
_CUT_SHARE = 0.8
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails  # a cover makes a song no film
_CUT_STEPS = 1.5  # with one: when it ends this many frames before its stated duration
# Packets read ahead, undecoded, to measure the frame rate: 8 s at 30 frames a second.
_AHEAD_PACKETS = 240
_AHEAD_BYTES = 64 << 20


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
        self._last_s = 0.0  # where the packets so far end
        self._first_pts: int | None = None
        self._container = open_media(self._path)
        try:
            # FFmpeg's choice, not simply the first: a cover picture may come before the film.
            stream = self._container.streams.best("video")
            if not isinstance(stream, av.VideoStream) or (stream.disposition & _STILLS and self.has_audio):
                raise SourceError(f"{self._path} has no picture, only sound: give a video")
            self._stream = stream
            self._stream.thread_type = "AUTO"
            self._time_base = self._stream.time_base or Fraction(1, 90_000)
            self._packets = _Ahead(self._container.demux(stream))
            self._fps = _frame_rate(stream, self._packets.waiting)
            self._decoded = self._decode()
            # The first frame is decoded here: only it tells the size shown, and an undecodable file must fail
            # now.
            self._next = next(self._decoded, None)
            if self._next is None:
                raise SourceError(f"{self._path} is damaged, not one frame of it decodes: give another file")
            first_pts = self._next.pts
            self._first_pts = int(first_pts) if first_pts is not None else None
            aspect = stream.sample_aspect_ratio
            self._upright = Upright(self._next, float(aspect) if aspect else 1.0)
            self._notes = _notes(self._path, self._container, stream, self._next)
        except BaseException:
            self._container.close()
            raise

    @property
    def path(self) -> Path:
        return self._path

    @property
    def fps(self) -> float:
        """Usual frames per second, measured on the first frames' times."""
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
        # Matroska states when a film ends on its own clock, which need not begin at 0.
        begin_s = max(self.start_s, 0.0) if "matroska" in self._container.format.name else 0.0
        if (end_s := self._tagged_end_s()) is not None:
            return end_s - begin_s
        if self._container.duration is not None:
            return float(self._container.duration / av.time_base) - begin_s
        return None

    @property
    def start_s(self) -> float:
        """The first frame's time on the file's own clock: take it off the sound's times when copying it."""
        return float((self._first_pts or 0) * self._time_base)

    @property
    def problem(self) -> str | None:
        """After the end: what was damaged, in one line; None when every frame decoded."""
        if self._cut_short is None and not self._num_bad_packets:
            return None
        expected = f" of about {self.num_frames}" if self.num_frames else ""
        lost = self._cut_short or f"{self._num_bad_packets} damaged packets were left out"
        return f"{self._path} is damaged ({lost}): read {self._num_read}{expected} frames"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the file, a line each; with its damage, if any, after the end."""
        return self._notes + ((self.problem,) if self.problem else ())

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

    def _tagged_end_s(self) -> float | None:
        """When the picture alone ends, as most programs that write Matroska note it in a tag."""
        tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", ""))
        if tag is None:
            return None
        hours, minutes, seconds = (float(part) for part in tag.groups())
        return 3600 * hours + 60 * minutes + seconds

    def _presentation_ns(self, decoded: av.VideoFrame) -> int:
        step_ns = round(1e9 / self._fps)
        if decoded.pts is None:
            time_ns = self._last_ns + step_ns if self._last_ns >= 0 else 0
        else:
            if self._first_pts is None:  # the frames before had no time: they came a step apart
                before = round(self._num_read / (Fraction(self._fps) * self._time_base))
                self._first_pts = int(decoded.pts) - before
            # In integers: 1/90000 s ticks of a long file do not fit a float's 53 bits at nanosecond
            # resolution.
            time_ns = round((decoded.pts - self._first_pts) * self._time_base * 1_000_000_000)
        if time_ns <= self._last_ns:
            time_ns = self._last_ns + step_ns
        self._last_ns = time_ns
        return time_ns

    def _decode(self) -> Generator[av.VideoFrame]:
        """Every frame that decodes; packets that do not are counted and left out."""
        while True:
            try:
                packet = next(self._packets, None)
            except av.FFmpegError as error:
                self._cut_short = reason(error)
                return
            if packet is None:
                self._cut_short = self._ends_early()
                return
            self._num_packets += packet.size > 0
            if packet.pts is not None and self._first_pts is not None:
                length = packet.pts + (packet.duration or 0) - self._first_pts
                self._last_s = max(self._last_s, float(length * self._time_base))
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self._num_bad_packets += 1

    def _ends_early(self) -> str | None:
        """FFmpeg ends a file that was cut off as if it were whole; the stated length gives it away."""
        # The sound's may be longer, so it must be the picture's own.
        own = self._stream.duration is not None or self._tagged_end_s() is not None
        stated = self.duration_s if own or not self.has_audio else None
        seconds = max(self._num_packets / self._fps, self._last_s)
        if self._stream.frames:
            # an AVI counts the frames that a camera dropped, which are not there to read
            short = stated is None or seconds < stated - _CUT_STEPS / self._fps
            return "it ends early" if short and self._num_packets < self._stream.frames else None
        return "it ends early" if stated is not None and seconds < _CUT_SHARE * stated else None


class _Ahead(Iterator[av.Packet]):
    """Packets in order, the first of which may be looked at before they are taken.

    An error on the way is raised when its place is reached.
    """

    def __init__(self, packets: Iterator[av.Packet]) -> None:
        self._packets = packets
        self._error: av.FFmpegError | None = None
        self.waiting: deque[av.Packet] = deque()
        num_bytes = 0
        try:
            while len(self.waiting) < _AHEAD_PACKETS and num_bytes < _AHEAD_BYTES:
                self.waiting.append(packet := next(packets))
                num_bytes += packet.size
        except StopIteration:
            pass
        except av.FFmpegError as error:
            self._error = error

    def __next__(self) -> av.Packet:
        if self.waiting:
            return self.waiting.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return next(self._packets)


def _frame_rate(stream: av.VideoStream, ahead: deque[av.Packet]) -> float:
    """The film's rate from its first packets: their times, else the durations that its coding gives them."""
    packets = [packet for packet in ahead if packet.size]
    tick_s = stream.time_base or Fraction(1, 90_000)
    stated = [stream.average_rate, stream.codec_context.framerate, stream.guessed_rate]
    ticks = [packet.pts for packet in packets]
    if sum(tick is not None for tick in ticks) < 2:
        ticks = [packet.dts for packet in packets]
    if sum(tick is not None for tick in ticks) < 2:
        # A raw stream has no times; its average rate is a constant of FFmpeg's.
        durations = sorted(packet.duration for packet in packets if packet.duration)
        if durations:
            stated.insert(0, 1 / (durations[len(durations) // 2] * tick_s))
    return frame_rate(ticks, tick_s, stated)


def _notes(
    path: Path, container: av.container.InputContainer, chosen: av.VideoStream, first: av.VideoFrame
) -> tuple[str, ...]:
    films = [stream for stream in container.streams.video if not stream.disposition & _STILLS]
    notes = []
    if len(films) > 1:
        notes.append(f"{path} holds {len(films)} films: number {films.index(chosen) + 1} is used")
    dolby = side_data(first, "DOVI_METADATA") is not None
    if dolby and first.color_trc == 2 and first.color_primaries == 2:  # unspecified: only Dolby can read it
        notes.append(
            f"{path} is Dolby Vision without a picture for other players (profile 5): its colours are wrong "
            "here, export it as HDR10, HLG or SDR"
        )
    return tuple(notes)
