"""One encode for any number of viewers: pictures in from the render thread, packets out to everybody."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from capture.latest import Latest
from transport.webrtc.bitrate import BitrateLimits, Level, ViewerRate, share_out
from transport.webrtc.encoders import (
    CLOCK_RATE,
    ENCODERS,
    Codec,
    EncodedPicture,
    MakeEncoder,
    VideoEncoder,
    i420_size,
    to_i420,
)
from transport.webrtc.pacing import Pacer
from transport.webrtc.patches import PackedPicture, pack_picture

VIEWER_QUEUE = 8  # pictures waiting for one viewer's socket; beyond that they are dropped up to a key frame
KEY_INTERVAL_S = 0.4  # one key frame answers every wish that comes within this time
STATISTICS = 600  # encoded pictures kept for the figures
CLOCK_JUMP_TICKS = 10 * CLOCK_RATE  # a source whose clock jumps further is joined on without the gap


class Tap(Protocol):
    """Takes every packet of the full H.264 encode: to record it, say, without encoding once more."""

    def write(self, picture: EncodedPicture) -> None:
        """Called in the encoder's thread; must not block."""
        ...


@dataclass(slots=True)
class _Rung:
    """One running encode: a codec at a level."""

    codec: Codec
    level: Level
    bitrate: int
    wants_key: bool = True
    key_at_s: float = float("-inf")
    encoder: VideoEncoder | None = None
    num_pictures: int = 0
    num_keys: int = 0
    sizes: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=STATISTICS))


class Viewer:
    """One viewer's end of the broadcast; a `PictureOutlet`. Lives on the event loop.

    A viewer whose socket does not take pictures loses them: its queue holds VIEWER_QUEUE, then it is emptied
    and waits for a key frame. Nobody else notices.
    """

    def __init__(self, broadcast: Broadcast, codec: Codec, unlimited: bool) -> None:
        self.codec = codec
        self.rate = ViewerRate(unlimited=unlimited)
        self.num_sent = 0
        self.num_dropped = 0
        self.num_bytes = 0
        self._broadcast = broadcast
        self._queue: deque[PackedPicture] = deque()
        self._filled = asyncio.Event()
        self._needs_key = True
        self._joined = False
        self._closed = False

    @property
    def target_bitrate(self) -> int:
        """What the receiver says its link carries, bits per second; 0 before its first report."""
        return self.rate.estimate or 0

    @target_bitrate.setter
    def target_bitrate(self, value: int) -> None:
        self.rate.estimate = value
        self._broadcast.update_rates()

    @property
    def num_queued(self) -> int:
        """Pictures waiting for this viewer's socket."""
        return len(self._queue)

    def request_key_frame(self) -> None:
        """The receiver lost its picture and asks for a whole one."""
        self._broadcast.request_key_frame(self)

    def offer(self, packed: PackedPicture) -> None:
        """Queue a picture of this viewer's encode."""
        if self._needs_key and not packed.picture.is_key:
            self.num_dropped += 1
            return
        if packed.picture.is_key:
            self.num_dropped += len(self._queue)
            self._queue.clear()
            self._needs_key = False
        elif len(self._queue) >= VIEWER_QUEUE:
            self.num_dropped += len(self._queue) + 1
            self._queue.clear()
            self.restart()
            return
        self._queue.append(packed)
        self._filled.set()

    def restart(self) -> None:
        """Show nothing more until a key frame comes, and ask for one."""
        self._needs_key = True
        self._broadcast.request_key_frame(self)

    async def next_picture(self) -> PackedPicture:
        """The next picture to send. Raises MediaStreamError once the viewer was removed.

        The first call joins the broadcast: a connection still being made costs no encoding.
        """
        if not self._joined and not self._closed:
            self._joined = True
            self._broadcast.join(self)
        while not self._queue:
            if self._closed:
                raise MediaStreamError
            self._filled.clear()
            await self._filled.wait()
        packed = self._queue.popleft()
        self.num_sent += 1
        self.num_bytes += len(packed.picture.data)
        return packed

    def close(self) -> None:
        self._closed = True
        self._queue.clear()
        self._filled.set()


class Broadcast:
    """A `Sink` that encodes the newest picture once for everybody, and only while someone watches.

    It encodes in a thread of its own. `put` comes from any thread; viewers join and leave on the event loop
    that `start` was called on. Viewers with slow links share a second encode at a lower bitrate; VP8 viewers
    have encodes of their own.
    """

    def __init__(
        self,
        *,
        fps: float = 30.0,
        encoders: Mapping[Codec, MakeEncoder] = ENCODERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fps`: the usual rate of pictures; the real one may differ."""
        self._fps = fps
        self._encoders = encoders
        self._limits = BitrateLimits()  # until the first picture tells its size
        self._clock = clock
        self._slot: Latest[tuple[NDArray[np.uint8], int]] = Latest()
        self._last: tuple[NDArray[np.uint8], int] | None = None
        self._viewers: set[Viewer] = set()
        self._taps: tuple[Tap, ...] = ()
        self._rungs: tuple[_Rung, ...] = ()  # replaced whole, so that the encoder's thread may read it
        self._changing = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._ticks = 0
        self._origin_ns: int | None = None
        self._measured_fps = fps
        self._pacer = Pacer()
        self._held: deque[list[tuple[_Rung, PackedPicture]]] = deque()
        self._picture_id = 0
        self._encode_ms: deque[float] = deque(maxlen=STATISTICS)
        self._arrival_to_sent_ms: deque[float] = deque(maxlen=STATISTICS)

    def start(self) -> None:
        """Begin; call it on the event loop that serves the viewers."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._encode_all, name="encoder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop encoding and end every viewer; from any thread but the event loop's, twice does no harm."""
        self._slot.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._on_loop(self._end_viewers)

    @property
    def watched(self) -> bool:
        """Whether anyone takes pictures; rendering for nobody can be spared."""
        return bool(self._rungs)

    def encode_with(self, encoders: Mapping[Codec, MakeEncoder]) -> None:
        """Take these encoders instead; before the first picture."""
        self._encoders = encoders

    def put(self, picture: NDArray[np.uint8], capture_ns: int) -> None:
        """Show this picture next; any thread, never blocks. A picture not yet encoded is replaced.

        `picture`: RGB uint8 [H, W, 3] or I420 uint8 [H * 3/2, W] (BT.601 limited range), even sizes; it is
        not copied, so the caller must not change it later. `capture_ns`: Unix time of the frame behind it.

        Raises the encoder's error, if it had one.
        """
        if self._error is not None:
            raise self._error
        self._last = (picture, capture_ns)
        if self._rungs:
            self._slot.put(self._last)

    def add_viewer(self, codec: Codec, *, unlimited: bool = False) -> Viewer:
        """A new viewer; it joins when it asks for its first picture. `unlimited`: it sits on this machine."""
        return Viewer(self, codec, unlimited)

    def join(self, viewer: Viewer) -> None:
        """Begin to send to a viewer, with a key frame."""
        self._viewers.add(viewer)
        self.update_rates()
        self.request_key_frame(viewer)
        self._show_last()

    def remove_viewer(self, viewer: Viewer) -> None:
        """Forget a viewer; its sender ends. The encode stops with the last one."""
        viewer.close()
        self._viewers.discard(viewer)
        self.update_rates()

    def _end_viewers(self) -> None:
        for viewer in list(self._viewers):
            self.remove_viewer(viewer)

    def add_tap(self, tap: Tap) -> None:
        """Hand every full H.264 picture to `tap` as well, beginning with a key frame; any thread."""
        with self._changing:
            self._taps = (*self._taps, tap)
        self.update_rates()
        self.request_key_frame(None)
        self._show_last()

    def remove_tap(self, tap: Tap) -> None:
        with self._changing:
            self._taps = tuple(other for other in self._taps if other is not tap)
        self.update_rates()

    def request_key_frame(self, viewer: Viewer | None) -> None:
        """Make the next picture of this viewer's encode (None: the recorded one) a key frame, in time."""
        for rung in self._rungs:
            wanted = ("h264", "full") if viewer is None else (viewer.codec, viewer.rate.level)
            if (rung.codec, rung.level) == wanted:
                rung.wants_key = True

    def update_rates(self) -> None:
        """Share the encodes out anew: a viewer came, left, or reported its link."""
        with self._changing:
            now = self._clock()
            wanted: dict[tuple[Codec, Level], int] = {}
            for codec in ENCODERS:
                viewers = [viewer for viewer in self._viewers if viewer.codec == codec]
                levels = {viewer: viewer.rate.level for viewer in viewers}
                known: dict[object, ViewerRate] = {viewer: viewer.rate for viewer in viewers}
                if self._taps and codec == "h264":
                    known["recording"] = ViewerRate(unlimited=True)  # no slow link spoils a recording
                rates = share_out(known, self._limits, now)
                if rates.full is not None:
                    wanted[codec, "full"] = rates.full
                if rates.low is not None:
                    wanted[codec, "low"] = rates.low
                moved = [viewer for viewer in viewers if viewer.rate.level != levels[viewer]]
                for viewer in moved:
                    viewer._needs_key = True
                self._want_keys_for(moved)
            running = {(rung.codec, rung.level): rung for rung in self._rungs}
            rungs = []
            for key, bitrate in wanted.items():
                rung = running.get(key) or _Rung(*key, bitrate)
                rung.bitrate = bitrate
                rungs.append(rung)
            self._rungs = tuple(rungs)

    def _want_keys_for(self, viewers: list[Viewer]) -> None:
        for viewer in viewers:
            self.request_key_frame(viewer)

    def figures(self) -> dict[str, float]:
        """Encode time, time from the frame's arrival to its sending, pictures and bits per second."""
        now = self._clock()
        sizes = [entry for rung in self._rungs for entry in list(rung.sizes) if now - entry[0] <= 2.0]
        full = next((rung for rung in self._rungs if rung.level == "full"), None)
        recent = [] if full is None else [entry for entry in list(full.sizes) if now - entry[0] <= 2.0]
        figures = {
            "viewers": float(len(self._viewers)),
            "queued_pictures": float(max((viewer.num_queued for viewer in self._viewers), default=0)),
            "fps": len(recent) / 2.0,
            "encoded_bits_per_second": 8 * sum(size for _, size in sizes) / 2.0,
            "target_bits_per_second": float(full.bitrate) if full is not None else 0.0,
            "key_frames": float(sum(rung.num_keys for rung in self._rungs)),
            "hardware_encoding": float(self._encoders["h264"] is not ENCODERS["h264"]),
            "dropped_pictures": float(self._slot.num_dropped),
        }
        for name, values in (("encode", self._encode_ms), ("arrival_to_sent", self._arrival_to_sent_ms)):
            if values:
                p50, p95, p99 = np.percentile(list(values), [50, 95, 99])
                figures |= {f"{name}_p50_ms": p50, f"{name}_p95_ms": p95, f"{name}_p99_ms": p99}
        return {name: round(float(value), 2) for name, value in figures.items()}

    def _show_last(self) -> None:
        # a still source must not leave a newcomer without a picture
        if self._last is not None:
            self._slot.put(self._last)

    def _encode_all(self) -> None:
        try:
            while (newest := self._slot.read()) is not None:
                rungs = self._rungs
                if rungs:
                    picture, capture_ns = newest
                    self._encode(rungs, to_i420(picture), capture_ns)
        except BaseException as error:
            self._error = error

    def _encode(self, rungs: tuple[_Rung, ...], picture: NDArray[np.uint8], capture_ns: int) -> None:
        width, height = i420_size(picture)
        self._adopt_size(width, height)
        ticks = self._next_ticks(capture_ns)
        self._picture_id += 1
        ready, times_ms = [], []
        for rung in rungs:
            start = time.perf_counter()
            encoder = self._encoder_for(rung, width, height)
            now = self._clock()
            key = rung.num_pictures == 0 or (rung.wants_key and now - rung.key_at_s >= KEY_INTERVAL_S)
            if key:
                rung.wants_key = False
                rung.key_at_s = now
            # x264 counts pictures, not time: at twice the usual rate each may take half the bits
            bitrate = round(rung.bitrate * min(2.0, max(0.25, self._fps / self._measured_fps)))
            if abs(bitrate - encoder.bitrate) > 0.03 * encoder.bitrate:
                encoder.bitrate = bitrate
            encoded = encoder.encode(picture, ticks, key, capture_ns)
            times_ms.append((time.perf_counter() - start) * 1e3)
            if not encoded.data:
                continue  # the encoder chose to drop it
            rung.num_pictures += 1
            rung.num_keys += encoded.is_key
            rung.sizes.append((now, len(encoded.data)))
            if rung.codec == "h264" and rung.level == "full":
                for tap in self._taps:
                    tap.write(encoded)
            ready.append((rung, pack_picture(encoded, self._picture_id)))
        hold_s = self._pacer.hold_s((time.time_ns() - capture_ns) / 1e9, self._measured_fps)
        self._on_loop(self._distribute_later, hold_s, ready, times_ms)

    def _adopt_size(self, width: int, height: int) -> None:
        limits = BitrateLimits.for_size(width, height)
        if limits != self._limits:
            self._limits = limits
            self._on_loop(self.update_rates)

    def _on_loop(self, callback: Callable[..., None], *args: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop closed first: nobody is left to serve
            self._loop.call_soon_threadsafe(callback, *args)

    def _encoder_for(self, rung: _Rung, width: int, height: int) -> VideoEncoder:
        if rung.encoder is None or rung.encoder.size != (width, height):
            make = self._encoders[rung.codec]
            rung.encoder = make(
                width, height, fps=self._fps, bitrate=rung.bitrate, max_bitrate=self._limits.highest
            )
            rung.num_pictures = 0
        return rung.encoder

    def _next_ticks(self, capture_ns: int) -> int:
        if self._origin_ns is None:
            self._origin_ns = capture_ns
        ticks = (capture_ns - self._origin_ns) * CLOCK_RATE // 1_000_000_000
        step = ticks - self._ticks
        if not -CLOCK_JUMP_TICKS < step < CLOCK_JUMP_TICKS:
            step = round(CLOCK_RATE / self._fps)
            self._origin_ns = capture_ns - (self._ticks + step) * 1_000_000_000 // CLOCK_RATE
        step = max(1, step)
        if step < CLOCK_RATE:
            self._measured_fps += 0.05 * (min(CLOCK_RATE / step, 240.0) - self._measured_fps)
        self._ticks += step
        return self._ticks

    def _distribute_later(
        self, hold_s: float, ready: list[tuple[_Rung, PackedPicture]], times_ms: list[float]
    ) -> None:
        """After so long, and after the picture before."""
        assert self._loop is not None
        self._encode_ms.extend(times_ms)
        self._held.append(ready)
        if hold_s == 0 and len(self._held) == 1:
            self._distribute_next()
        else:
            self._loop.call_later(hold_s, self._distribute_next)

    def _distribute_next(self) -> None:
        for rung, packed in self._held.popleft():  # whichever timer rang first
            self._distribute(rung, packed)

    def _distribute(self, rung: _Rung, packed: PackedPicture) -> None:
        self._arrival_to_sent_ms.append((time.time_ns() - packed.picture.capture_ns) / 1e6)
        for viewer in self._viewers:
            if viewer.codec == rung.codec and viewer.rate.level == rung.level:
                viewer.offer(packed)
