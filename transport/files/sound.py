"""The sound of a media file, ready to be muxed beside new pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

# Codecs that an mp4 file holds and players accept: their packets are copied untouched. Others become AAC.
COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"})
AAC_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_BITS_PER_SECOND = 160_000


class Sound:
    """Packets of one file's first audio stream, in order of time, on the time line of that file's pictures.

    `origin_s` is the file's own time (seconds) that becomes 0; sound before it is dropped. A stream that
    breaks off ends the sound there and leaves the reason in `broken`: it must not cost the pictures.
    """

    def __init__(self, path: Path, output: OutputContainer, origin_s: float = 0.0) -> None:
        self.broken: str | None = None
        self._container: InputContainer | None = None
        self._waiting: av.Packet | None = None
        try:
            self._container = av.open(str(path))
        except (av.error.FFmpegError, OSError) as error:
            self.broken = str(error)
            return
        streams = self._container.streams.audio
        if not streams:
            self.close()
            return
        source = streams[0]
        if source.codec_context is None:
            self.broken = "its codec is unknown"
            self.close()
            return
        if source.codec.canonical_name in COPIED_CODECS:
            self._stream = output.add_stream_from_template(source)
            self._packets = self._copied(source, origin_s)
        else:
            self._stream = _aac_stream(output, source)
            self._packets = self._transcoded(source, origin_s)

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

    def _next(self) -> av.Packet | None:
        try:
            return next(self._packets, None)
        except (av.error.FFmpegError, OSError) as error:
            self.broken = str(error)
            return None

    def _copied(self, source: AudioStream, origin_s: float) -> Iterator[av.Packet]:
        assert self._container is not None
        time_base = source.time_base or Fraction(1, source.rate)
        origin = round(origin_s / time_base)
        last_dts: int | None = None
        for packet in self._container.demux(source):
            if packet.dts is None or packet.pts is None:
                continue  # the demuxer's end mark
            if origin > 0 and packet.pts + (packet.duration or 0) <= origin:
                continue
            packet.pts -= origin
            packet.dts -= origin
            if last_dts is not None and packet.dts <= last_dts:
                continue  # the muxer refuses time that runs backwards, as damaged files have it
            last_dts = packet.dts
            packet.stream = self._stream
            yield packet

    def _transcoded(self, source: AudioStream, origin_s: float) -> Iterator[av.Packet]:
        assert self._container is not None
        stream = self._stream
        rate = stream.rate
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        position: int | None = None  # samples since the origin
        for decoded in self._container.decode(source):
            if position is None:
                position = round(((decoded.time or 0.0) - origin_s) * rate)
            for frame in resampler.resample(decoded):
                start, position = position, position + frame.samples
                if position <= 0:
                    continue
                frame.pts, frame.time_base = start, Fraction(1, rate)
                yield from stream.encode(frame)
        yield from stream.encode(None)


def _aac_stream(output: OutputContainer, source: AudioStream) -> AudioStream:
    rate = min(AAC_SAMPLE_RATES, key=lambda known: abs(known - source.rate))
    layout = "mono" if source.channels == 1 else "stereo"
    stream = output.add_stream("aac", rate=rate, layout=layout)
    stream.bit_rate = AAC_BITS_PER_SECOND
    return stream
