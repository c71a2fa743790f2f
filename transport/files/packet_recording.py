"""Recording a live stream: the packets encoded for the viewers go into an mp4 as they are, 4 us a picture."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import av
from av.container import OutputContainer
from av.stream import Stream

from capture.media import create_media, reason
from render.whole_file import temporary_name
from transport.errors import OutputError
from transport.webrtc.encoders import CLOCK_RATE, TIME_BASE, EncodedPicture

MAX_WAITING = 600  # pictures between the encoder and the disk: 20 s of a stalled disk at 30 pictures a second
KEY_EVERY_TICKS = 4 * CLOCK_RATE  # players can jump to key frames only; viewers alone need almost none

# A fragment a second: what was recorded stays playable even if the program is killed.
CONTAINER_OPTIONS = {
    "movflags": "empty_moov+default_base_moof+frag_discont",
    "frag_duration": "1000000",
    "flush_packets": "1",
}


class PacketRecording:
    """An mp4 of the encoded pictures, from the next key frame to `close`. A `Tap` of the broadcast.

    It is written under a temporary name in the same folder and named `path` by `close`; a recording without
    a single picture leaves nothing. The disk is only touched in a thread of its own.
    """

    def __init__(self, path: str | os.PathLike[str], request_key_frame: Callable[[], None]) -> None:
        """Start the writing thread.

        Args:
            path: the mp4 to make; must not exist.
            request_key_frame: asks the encoder for a key frame; called from its thread.

        Raises:
            OutputError: nothing can be written there.
        """
        self._path = Path(path)
        if self._path.exists():
            raise OutputError(f"cannot record to {str(path)!r}: it exists; choose another name")
        self._temporary = temporary_name(self._path)
        try:
            self._temporary.touch()
        except OSError as error:
            raise self._failed(error) from error
        self._request_key_frame = request_key_frame
        self._queue: queue.Queue[EncodedPicture | None] = queue.Queue(MAX_WAITING)
        self._error: BaseException | None = None
        self._container: OutputContainer | None = None
        self._stream: Stream | None = None
        self._first_ticks = 0
        self._key_ticks: int | None = None
        self._size = (0, 0)
        self._frame_ticks = CLOCK_RATE // 30
        self._last_ticks = 0
        self._closed = False
        self.num_pictures = 0
        self.num_bytes = 0
        self._thread = threading.Thread(target=self._write_all, name="recording", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def seconds(self) -> float:
        """Length so far."""
        return (self._last_ticks - self._first_ticks) / CLOCK_RATE if self.num_pictures else 0.0

    @property
    def error(self) -> str | None:
        """Why the recording broke off, or None."""
        return None if self._error is None else str(self._error)

    def write(self, picture: EncodedPicture) -> None:
        """Queue one picture; never blocks. A disk that is 20 s behind ends the recording."""
        if self._error is not None or self._closed:
            return
        if picture.is_key:
            self._key_ticks = picture.ticks
        elif self._key_ticks is None or picture.ticks - self._key_ticks >= KEY_EVERY_TICKS:
            self._key_ticks = picture.ticks if self._key_ticks is not None else None
            self._request_key_frame()
        try:
            self._queue.put_nowait(picture)
        except queue.Full:
            self._error = OutputError(
                f"cannot record to {str(self._path)!r}: the disk is too slow; choose another folder"
            )

    def close(self) -> Path | None:
        """Finish the file and give it its name; None when not one picture came.

        Raises OutputError when the disk failed; what was written until then keeps the temporary name's
        content under the final name if it holds pictures.
        """
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
        if self.num_pictures == 0:
            self._temporary.unlink(missing_ok=True)
        elif self._temporary.exists():
            try:
                os.replace(self._temporary, self._path)
            except OSError as error:
                raise self._failed(error) from error
        if self._error is not None:
            if isinstance(self._error, OutputError):
                raise self._error
            raise self._failed(self._error) from self._error
        return self._path if self.num_pictures else None

    def _write_all(self) -> None:
        while (picture := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._mux(picture)
                except BaseException as error:
                    self._error = error
        if self._container is not None:
            try:
                self._container.close()
            except (av.error.FFmpegError, OSError) as error:
                self._error = self._error or error

    def _mux(self, picture: EncodedPicture) -> None:
        if self._stream is None:
            if not picture.is_key:
                return
            self._open(picture)
        if (picture.width, picture.height) != self._size:
            raise OutputError(
                f"recording {str(self._path)!r} ended: the picture changed its size from "
                f"{self._size[0]}x{self._size[1]} to {picture.width}x{picture.height}; start a new one"
            )
        packet = av.Packet(picture.data)
        packet.stream = self._stream  # type: ignore[assignment]
        packet.time_base = TIME_BASE
        packet.pts = packet.dts = picture.ticks - self._first_ticks
        packet.is_keyframe = picture.is_key
        if self.num_pictures:
            self._frame_ticks = picture.ticks - self._last_ticks
        packet.duration = self._frame_ticks
        assert self._container is not None
        self._container.mux(packet)
        self._last_ticks = picture.ticks
        self.num_pictures += 1
        self.num_bytes += len(picture.data)

    def _open(self, key: EncodedPicture) -> None:
        self._container = create_media(self._temporary, "mp4", CONTAINER_OPTIONS)
        # the key frame carries the parameter sets; reading it as a file yields the stream's description
        with av.open(io.BytesIO(key.data), format="h264") as source:
            self._stream = self._container.add_stream_from_template(source.streams.video[0])
        self._stream.time_base = TIME_BASE
        self._first_ticks = self._last_ticks = key.ticks
        self._size = (key.width, key.height)

    def _failed(self, error: BaseException) -> OutputError:
        return OutputError(f"cannot record to {str(self._path)!r}: {reason(error)}; choose another folder")


def discard(recording: PacketRecording) -> None:
    """End a recording that nobody wants any more, keeping its file; errors no longer matter."""
    with contextlib.suppress(OutputError):
        recording.close()
