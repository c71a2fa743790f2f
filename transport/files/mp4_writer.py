"""Writes pictures and a driver's sound to an H.264 mp4, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from capture.media import create_media, reason
from render.whole_file import temporary_name
from transport.errors import OutputError
from transport.files.sound import Sound

if TYPE_CHECKING:
    from av.video.stream import VideoStream

H264 = Literal["libx264", "h264_nvenc"]  # by the processor, by an NVIDIA card: FFmpeg's names

TIME_BASE = Fraction(1, 90_000)  # exact for 24, 25, 30, 50, 60 and 30000/1001 frames per second
NS_PER_TICK = 1e9 / 90_000
MAX_WAITING = 8  # pictures between the caller and the encoder: 3 MB at 512x512
SOUND_AHEAD_S = 0.5

# Measured on 150 frames of a talking head, 512x512, one core: ultrafast 1.6 ms, 1921 kb/s, 47.6 dB; superfast
# 1.8 ms, 1038 kb/s, 47.7 dB; veryfast 3.4 ms, 614 kb/s, 46.5 dB; faster 6.5 ms, 664 kb/s, 47.7 dB.
# NVENC's constant quality at the same number; not yet measured on a card that has the encoder.
ENCODER_OPTIONS: dict[H264, dict[str, str]] = {
    "libx264": {"preset": "superfast", "crf": "18"},
    "h264_nvenc": {"preset": "p5", "rc": "vbr", "cq": "18"},
}


class Mp4Writer:
    """An mp4 that appears under its name only when it is complete.

    The file is written under a temporary name in the same folder and renamed by `close`. Leaving the `with`
    block by an exception, Ctrl-C included, removes it. Encoding runs in a thread of its own behind a short
    queue; its error is raised by the next `write` or by `close`.

    Colours are tagged BT.709, limited range, and RGB pictures are converted with that matrix; I420 pictures
    must have been made with it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        width: int,
        height: int,
        frame_rate: Fraction,
        sound_from: str | os.PathLike[str] | None = None,
        sound_origin_s: float = 0.0,
        encoder: H264 = "libx264",
    ) -> None:
        """Open the file.

        Args:
            path: the mp4 to write; replaced when it exists.
            width, height: of every picture, pixels, both even.
            frame_rate: nominal frames per second: gives the last frame its duration.
            sound_from: media file whose sound is kept, the one that a player would play.
            sound_origin_s: that file's time which is time 0 of the pictures, seconds.
            encoder: what encodes the pictures; the caller knows that it works here.

        Raises:
            OutputError: the file cannot be written there.
        """
        self._path = Path(path)
        self.check(self._path, [sound_from] if sound_from is not None else [])
        if width % 2 or height % 2:
            raise OutputError(f"H.264 needs even picture sizes, got {width}x{height}; choose an even size")
        self._width, self._height = width, height
        self._temporary = temporary_name(self._path)
        self._last_pts = -1
        self._frame_ticks = max(1, round(1 / (TIME_BASE * frame_rate)))
        self._error: BaseException | None = None
        self._finished = False
        self._sound: Sound | None = None
        self.encode_ms: list[float] = []  # one entry per picture
        try:
            self._container = create_media(
                self._temporary,
                "mp4",
                # the fine movie time scale keeps a late first picture to the tick, not the millisecond
                {"movflags": "+faststart", "movie_timescale": str(TIME_BASE.denominator)},
            )
            self._stream = self._open_stream(frame_rate, encoder)
            if sound_from is not None:
                self._sound = Sound(Path(sound_from), self._container, sound_origin_s)
            self._container.start_encoding()  # writes the header: a full disk or a closed folder shows here
        except (av.error.FFmpegError, OSError) as error:
            self._discard()
            raise self._failed(error) from error
        except BaseException:
            self._discard()
            raise
        self._queue: queue.Queue[av.VideoFrame | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._encode_all, name="mp4-writer", daemon=True)
        self._thread.start()

    @staticmethod
    def check(path: str | os.PathLike[str], inputs: list[str | os.PathLike[str]] | None = None) -> None:
        """Raise OutputError when an mp4 at `path` cannot be written, or would overwrite one of `inputs`."""
        target = Path(path)
        if target.suffix.lower() != ".mp4":
            raise OutputError(
                f"cannot write {str(path)!r}: recordings are mp4, name the output something.mp4"
            )
        check_writable(target, inputs)

    @property
    def sound_broken(self) -> str | None:
        """Why the driver's sound ends early or has gaps, or None."""
        return self._sound.broken if self._sound is not None else None

    @property
    def sound_note(self) -> str | None:
        """What of the driver's sound and subtitles is not in the file as it was, in one line, or None."""
        return self._sound.note if self._sound is not None else None

    def write(self, picture: NDArray[np.uint8], presentation_ns: int) -> None:
        """Queue a copy of one picture: RGB [H, W, 3] or planar I420 [H * 3/2, W] (BT.709 limited range).

        `presentation_ns` must grow. Blocks while the encoder is behind.

        Raises:
            OutputError: the encoder or the disk failed on an earlier picture.
        """
        self._raise_error()
        is_rgb = picture.ndim == 3
        expected = (self._height, self._width, 3) if is_rgb else (self._height * 3 // 2, self._width)
        if picture.shape != expected:
            raise ValueError(f"picture of shape {picture.shape}, expected {expected}")
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if is_rgb else "yuv420p")
        pts = round(presentation_ns / NS_PER_TICK)
        if pts <= self._last_pts:
            raise ValueError(
                f"presentation time {presentation_ns} ns does not come after the picture before it"
            )
        frame.pts = self._last_pts = pts
        frame.time_base = TIME_BASE
        self._queue.put(frame)

    def close(self) -> None:
        """Finish the file and give it its name. Raises OutputError; the temporary file is gone then."""
        if self._finished:
            return
        self._finished = True
        self._queue.put(None)
        try:
            self._thread.join()
            self._raise_error()
            os.replace(self._temporary, self._path)
        except OutputError:
            self._discard()
            raise
        except OSError as error:
            self._discard()
            raise self._failed(error) from error
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Stop and remove what was written; safe after `close` and after an error."""
        self._finished = True
        if self._error is None:
            self._error = InterruptedError("recording aborted")  # the thread drops what is still queued
        self._queue.put(None)
        self._thread.join()
        self._discard()

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif not self._finished:
            self.abort()

    def _open_stream(self, frame_rate: Fraction, encoder: H264) -> VideoStream:
        stream = self._container.add_stream(encoder, rate=frame_rate, options=ENCODER_OPTIONS[encoder])
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        stream.time_base = TIME_BASE
        context = stream.codec_context
        context.time_base = TIME_BASE
        context.thread_count = 1  # pictures are small; the other core poses and renders meanwhile
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.color_range = ColorRange.MPEG
        return stream

    def _encode_all(self) -> None:
        while (frame := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._encode(frame)
                except BaseException as error:
                    self._error = error
        if self._error is None:
            try:
                self._mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.mux_until(self._container, float("inf"))
                self._container.close()
            except BaseException as error:
                self._error = error

    def _encode(self, frame: av.VideoFrame) -> None:
        start = time.perf_counter()
        if frame.format.name != "yuv420p":
            frame = frame.reformat(
                format="yuv420p",
                src_colorspace=Colorspace.ITU709,
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
        frame.colorspace = Colorspace.ITU709
        frame.color_range = ColorRange.MPEG
        self._mux(self._stream.encode(frame))
        self.encode_ms.append((time.perf_counter() - start) * 1e3)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.duration = self._frame_ticks
            if self._sound is not None and packet.dts is not None:
                self._sound.mux_until(self._container, float(packet.dts * TIME_BASE) + SOUND_AHEAD_S)
            self._container.mux(packet)

    def _raise_error(self) -> None:
        error = self._error
        if isinstance(error, (av.error.FFmpegError, OSError)):
            raise self._failed(error) from error
        if error is not None:
            raise error

    def _failed(self, error: BaseException) -> OutputError:
        return OutputError(
            f"cannot write {str(self._path)!r}: {reason(error)}; free some space or choose another -o"
        )

    def _discard(self) -> None:
        if self._sound is not None:
            self._sound.close()
        container = getattr(self, "_container", None)
        if container is not None:
            # the trailer of a file that is being thrown away may fail
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
                container.close()
        self._temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str], inputs: list[str | os.PathLike[str]] | None = None) -> None:
    """Raise OutputError, before any work starts, when `path` cannot be written or is one of `inputs`."""
    target = Path(path)
    folder = target.parent
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # a new file, or a folder that is looked at below
    except (OSError, ValueError) as error:  # a name that no file can have
        raise OutputError(f"cannot write {str(path)!r}: {reason(error)}; choose another -o") from error
    if target.is_dir():
        raise OutputError(f"cannot write {str(path)!r}: it is a folder; name a file in it")
    if not folder.is_dir():
        raise OutputError(
            f"cannot write {str(path)!r}: no folder {str(folder)!r}; make it or choose another -o"
        )
    if not os.access(folder, os.W_OK | os.X_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise OutputError(f"cannot write {str(path)!r}: permission denied; choose another -o")
    for source in inputs or []:
        if target.exists() and os.path.exists(source) and target.samefile(source):
            raise OutputError(f"cannot write {str(path)!r}: it is also the input; choose another -o")
