"""The sound of a media file, ready to be muxed beside new pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Disposition

from capture.errors import SourceError
from capture.media import open_media, reason

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

# Codecs that an mp4 file holds and players accept: their packets are copied untouched. Others become AAC.
COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
AAC_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_BITS_PER_SECOND = 160_000
PROBED_PACKETS = 25  # of a track, to see whether it can be decoded: half a second
# A gap or an overlap this long between decoded blocks is real, and no rounding of a file's clock.
OUT_OF_STEP_S = 0.05
SAID_EARLY_S = 0.1  # of sound before the first picture: less is an encoder's run-up
NEW_CLOCK_S = 1.0  # times that fall back by more are those of another recording, appended
_NOT_FOR_ALL = (
    Disposition.comment
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.descriptions
)


class Sound:
    """Packets of the sound that a player would play, in order of time, on the time line of the pictures.

    `origin_s` is the file's own time (seconds) that becomes 0; sound before it is dropped. A stream that
    breaks off ends the sound there and leaves the reason in `broken`: it must not cost the pictures.
    """

    def __init__(self, path: Path, output: OutputContainer, origin_s: float = 0.0) -> None:
        self.broken: str | None = None
        self._said: list[str] = []
        self._path = path
        self._early_s = 0.0
        self._container: InputContainer | None = None
        self._waiting: av.Packet | None = None
        try:
            chosen = _choice(path)
            self._container = open_media(path)
        except SourceError as error:
            self.broken = str(error)
            return
        changes = []
        source = None if chosen.index is None else self._container.streams[chosen.index]
        if isinstance(source, AudioStream):
            self._stream, self._packets, change = self._opened(source, output, origin_s)
            self._stream.metadata.update(_language(source))
            changes += [change] if change else []
        else:
            self.close()
        self._said = [*changes, *chosen.left_out]

    @property
    def note(self) -> str | None:
        """What of the file's sound and subtitles was not kept as it is, in one line; complete at the end."""
        said = list(self._said)
        if self._early_s > SAID_EARLY_S:
            said.append(f"its {self._early_s:.1f} s before the first picture are left out")
        return f"the sound of {self._path}: {'; '.join(said)}" if said else None

    def mux_until(self, output: OutputContainer, until_s: float) -> None:
        """Mux every packet that starts before `until_s`, so that sound and pictures lie interleaved."""
        while self._container is not None:
            packet = self._waiting or self._next()
            if packet is None:
                self.close()
                return
            if packet.dts is not None and packet.time_base and packet.dts * packet.time_base >= until_s:
                self._waiting = packet
                return
            self._waiting = None
            output.mux(packet)

    def close(self) -> None:
        """Release the source file; safe to call twice."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _opened(
        self, source: AudioStream, output: OutputContainer, origin_s: float
    ) -> tuple[AudioStream, Iterator[av.Packet], str | None]:
        """The stream in the output, its packets, and what had to be changed."""
        name = source.codec.canonical_name
        if name in COPIED_CODECS:
            stream = output.add_stream_from_template(source)
            return stream, self._copied(source, stream, origin_s), None
        stream = _aac_stream(output, source)
        mixed = f", {source.channels} channels mixed to 2" if source.channels > 2 else ""
        return stream, self._transcoded(source, stream, origin_s), f"{name} became AAC{mixed}"

    def _next(self) -> av.Packet | None:
        try:
            return next(self._packets, None)
        except (av.error.FFmpegError, OSError, ValueError) as error:  # the last: what PyAV cannot resample
            self.broken = reason(error)
            return None

    def _copied(self, source: AudioStream, stream: AudioStream, origin_s: float) -> Iterator[av.Packet]:
        assert self._container is not None
        time_base = source.time_base or Fraction(1, source.rate)
        origin = round(origin_s / time_base)
        last_dts: int | None = None
        next_dts = 0
        begins_anew = 0  # added to the times of what was appended to the file with a clock of its own
        for packet in self._container.demux(source):
            if not packet.size:
                continue  # the demuxer's end mark
            dts = packet.dts if packet.dts is not None else packet.pts if packet.pts is not None else next_dts
            pts = packet.pts if packet.pts is not None else dts
            if last_dts is not None and (dts + begins_anew - next_dts) * time_base < -NEW_CLOCK_S:
                begins_anew = next_dts - dts
            dts, pts = dts + begins_anew, pts + begins_anew
            next_dts = dts + (packet.duration or 0)
            if origin > 0 and pts + (packet.duration or 0) <= origin:
                self._early_s += float((packet.duration or 0) * time_base)
                continue
            packet.pts = pts - origin
            packet.dts = dts - origin
            if last_dts is not None and packet.dts <= last_dts:
                continue  # the muxer refuses time that runs backwards, as damaged files have it
            last_dts = packet.dts
            packet.stream = stream
            yield packet

    def _transcoded(self, source: AudioStream, stream: AudioStream, origin_s: float) -> Iterator[av.Packet]:
        rate = stream.rate
        position: int | None = None  # samples since the origin
        for begin_s, frame in self._resampled(source, stream):
            if position is None:
                position = round((begin_s - origin_s) * rate)
            start, position = position, position + frame.samples
            if position <= 0:
                self._early_s += frame.samples / rate
                continue
            frame.pts, frame.time_base = start, Fraction(1, rate)
            yield from stream.encode(frame)
        yield from stream.encode(None)

    def _resampled(self, source: AudioStream, stream: AudioStream) -> Iterator[tuple[float, av.AudioFrame]]:
        """The time of the first block (seconds) and every block; silence where the file has a gap."""
        resampler: av.AudioResampler | None = None
        kind: object = None
        begin_s: float | None = None
        heard_s = 0.0  # where the blocks so far end
        begins_anew_s = 0.0  # as in `_copied`
        for decoded in self._decoded(source):
            time_s = float(decoded.time) if decoded.time is not None else heard_s
            length_s = decoded.samples / decoded.sample_rate
            if begin_s is None:
                begin_s = heard_s = time_s
            if time_s + begins_anew_s < heard_s - NEW_CLOCK_S:
                begins_anew_s = heard_s - time_s
            time_s += begins_anew_s
            if time_s < heard_s - OUT_OF_STEP_S:
                continue  # a second time of what was heard already
            changed = (decoded.format.name, decoded.layout.name, decoded.sample_rate)
            gap_s = time_s - heard_s
            if resampler is not None and (changed != kind or gap_s > OUT_OF_STEP_S):
                yield from ((begin_s, frame) for frame in resampler.resample(None))
                resampler = None
            if gap_s > OUT_OF_STEP_S:
                yield from ((begin_s, frame) for frame in _silence(stream, gap_s))
                heard_s = time_s
            if resampler is None:
                resampler, kind = av.AudioResampler("fltp", stream.layout, stream.rate), changed
            yield from ((begin_s, frame) for frame in resampler.resample(decoded))
            heard_s += length_s
        if resampler is not None and begin_s is not None:
            yield from ((begin_s, frame) for frame in resampler.resample(None))

    def _decoded(self, source: AudioStream) -> Iterator[av.AudioFrame]:
        """Every block that decodes; a damaged packet is a gap."""
        assert self._container is not None
        for packet in self._container.demux(source):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError as error:
                self.broken = f"in places: {reason(error)}"


@dataclass(frozen=True)
class _Choice:
    """Which stream of a file is its sound, None: none; and what was passed over, in words."""

    index: int | None
    left_out: tuple[str, ...]


def _choice(path: Path) -> _Choice:
    """The default track, else the first that is for everybody and can be decoded. Raises SourceError."""
    with open_media(path) as container:
        tracks = list(container.streams.audio)
        subtitles = len(container.streams.subtitles)
        names = {track.index: _name(track, number) for number, track in enumerate(tracks, 1)}
        order = sorted(
            tracks,
            key=lambda track: (
                not track.disposition & Disposition.default,
                bool(track.disposition & _NOT_FOR_ALL),
                track.index,
            ),
        )
        wanted = [track.index for track in order]
    silent: dict[int, str] = {}
    kept = None
    for index in wanted:
        trouble = _trouble(path, index)
        if trouble is None:
            kept = index
            break
        silent[index] = trouble
    left_out = []
    if kept is not None and len(wanted) > 1:
        left_out.append(f"{names[kept]} of {len(wanted)} tracks is kept")
    for index in sorted(set(wanted) - {kept}):
        why = f", it {silent[index]}" if index in silent else ""
        left_out.append(f"{names[index]} is left out{why}")
    if subtitles:
        left_out.append(
            "its subtitles are left out" if subtitles == 1 else f"{subtitles} subtitles are left out"
        )
    return _Choice(kept, tuple(left_out))


def _trouble(path: Path, index: int) -> str | None:
    """Why no sound comes out of a track; None when it does."""
    with open_media(path) as container:
        stream = container.streams[index]
        if stream.codec_context is None or not isinstance(stream, AudioStream):
            return "cannot be decoded (its codec is unknown)"
        error: Exception | None = None
        num_packets = 0
        try:
            for packet in container.demux(stream):
                if num_packets == PROBED_PACKETS:
                    break
                num_packets += packet.size > 0
                try:
                    if packet.decode():
                        return None
                except av.error.InvalidDataError as damage:
                    error = damage
        except (av.error.FFmpegError, OSError, ValueError) as failure:
            error = failure
        if not num_packets:
            return "is empty"
        return f"cannot be decoded ({reason(error) if error else 'no sound comes out'})"


def _name(track: AudioStream, number: int) -> str:
    codec = track.codec.canonical_name if track.codec_context is not None else "unknown"
    language = _language(track).get("language")
    return f"track {number} ({codec}{', ' + language if language else ''})"


def _language(track: AudioStream) -> dict[str, str]:
    language = track.metadata.get("language", "und")
    return {} if language == "und" else {"language": language}


def _aac_stream(output: OutputContainer, source: AudioStream) -> AudioStream:
    rate = min(AAC_SAMPLE_RATES, key=lambda known: abs(known - source.rate))
    layout = "mono" if source.channels == 1 else "stereo"
    stream = output.add_stream("aac", rate=rate, layout=layout)
    stream.bit_rate = AAC_BITS_PER_SECOND
    return stream


def _silence(stream: AudioStream, seconds: float) -> Iterator[av.AudioFrame]:
    """Blocks of silence of this length, a second at most each."""
    left = round(seconds * stream.rate)
    while left > 0:
        count = min(left, stream.rate)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((len(stream.layout.channels), count), np.float32), "fltp", stream.layout.name
        )
        frame.sample_rate = stream.rate
        left -= count
        yield frame
