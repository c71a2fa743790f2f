"""The sound a player would play, in step with the pictures; what is not kept is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from capture.video import VideoFile
from transport.files.mp4_writer import Mp4Writer

RATE = 44100
SIZE = 64


def pictures(count: int) -> list[av.VideoFrame]:
    return [
        av.VideoFrame.from_ndarray(np.full((SIZE, SIZE, 3), i % 200, np.uint8), format="rgb24")
        for i in range(count)
    ]


def media(
    path: Path,
    *tracks: dict[str, Any],
    seconds: float = 2.0,
    silent_s: tuple[float, float] | None = None,
    subtitles: bool = False,
) -> Path:
    """A film with sound tracks: `codec`, and where wanted `hz`, `language`, `default`, `layout`.

    No blocks are written for `silent_s`.
    """
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=30)
        film.width = film.height = SIZE
        opened = []
        for track in tracks:
            layout = track.get("layout", "mono")
            stream = container.add_stream(track["codec"], rate=RATE, layout=layout, options={"strict": "-2"})
            stream.metadata["language"] = track.get("language", "und")
            stream.disposition = 1 if track.get("default") else 0
            opened.append(stream)
        text = container.add_mux_stream("subrip") if subtitles else None
        for picture in pictures(round(30 * seconds)):
            container.mux(film.encode(picture))
        container.mux(film.encode(None))
        for stream, track in zip(opened, tracks, strict=True):
            t = np.arange(round(seconds * RATE)) / RATE
            wave = (9000 * np.sin(2 * np.pi * track.get("hz", 440) * t)).astype(np.int16)
            for start in range(0, len(wave), 1024):
                if silent_s and silent_s[0] <= start / RATE < silent_s[1]:
                    continue
                block = wave[start : start + 1024].repeat(len(stream.layout.channels))[None]
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(block), format="s16", layout=stream.layout.name
                )
                frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if text is not None:
            packet = av.Packet(b"hello")
            packet.stream, packet.pts, packet.dts, packet.duration = text, 0, 0, 1000
            packet.time_base = Fraction(1, 1000)
            container.mux(packet)
    return path


def recorded(source: Path, out: Path, seconds: float = 2.0, origin_s: float = 0.0) -> Mp4Writer:
    writer = Mp4Writer(
        out, width=SIZE, height=SIZE, frame_rate=Fraction(30), sound_from=source, sound_origin_s=origin_s
    )
    with writer:
        for number in range(round(30 * seconds)):
            writer.write(np.zeros((SIZE, SIZE, 3), np.uint8), round(number * 1e9 / 30))
    return writer


def heard(path: Path) -> tuple[str | None, np.ndarray]:
    """Codec and samples [n] of a file's sound from time 0; None and nothing where it has none."""
    with av.open("file:" + str(path)) as container:
        if not container.streams.audio:
            return None, np.zeros(0)
        stream = container.streams.audio[0]
        blocks = [(frame.time or 0.0, frame.to_ndarray()) for frame in container.decode(stream)]
        codec = stream.codec.canonical_name
    wave = np.concatenate([block.reshape(-1, block.shape[-1])[0] for _, block in blocks]).astype(float)
    return codec, np.concatenate([np.zeros(round(blocks[0][0] * RATE)), wave])


def pitch(wave: np.ndarray) -> float:
    middle = wave[RATE // 2 : RATE * 3 // 2]
    return float(np.argmax(np.abs(np.fft.rfft(middle))) * RATE / len(middle))


def test_the_default_track_is_kept_and_the_others_are_named(tmp_path: Path) -> None:
    source = media(
        tmp_path / "talk.mkv",
        {"codec": "aac", "hz": 440, "language": "fra"},
        {"codec": "aac", "hz": 880, "language": "eng", "default": True},
    )
    out = tmp_path / "out.mp4"
    note = recorded(source, out).sound_note
    assert note is not None
    assert "\n" not in note
    for words in ("talk.mkv", "track 2 (aac, eng) of 2 tracks is kept", "track 1 (aac, fra) is left out"):
        assert words in note
    codec, wave = heard(out)
    assert codec == "aac"
    assert pitch(wave) == pytest.approx(880, abs=5)
    with av.open(str(out)) as container:
        assert container.streams.audio[0].language == "eng"


def test_the_first_is_kept_where_none_is_the_default(tmp_path: Path) -> None:
    source = media(tmp_path / "talk.mkv", {"codec": "aac", "hz": 440}, {"codec": "aac", "hz": 880})
    recorded(source, tmp_path / "out.mp4")
    assert pitch(heard(tmp_path / "out.mp4")[1]) == pytest.approx(440, abs=5)


def test_a_track_that_cannot_be_decoded_is_passed_over(tmp_path: Path) -> None:
    source = media(
        tmp_path / "talk.mkv",
        {"codec": "vorbis", "layout": "stereo", "default": True},
        {"codec": "mp2", "hz": 880},
    )
    source.write_bytes(source.read_bytes().replace(b"A_VORBIS", b"A_NOBODY"))
    note = recorded(source, tmp_path / "out.mp4").sound_note
    assert note is not None
    assert "track 1 (unknown) is left out, it cannot be decoded" in note
    assert "mp2 became AAC" in note
    codec, wave = heard(tmp_path / "out.mp4")
    assert (codec, pitch(wave)) == ("aac", pytest.approx(880, abs=5))


def test_a_sound_that_nobody_can_decode_is_said(tmp_path: Path) -> None:
    source = media(tmp_path / "talk.mkv", {"codec": "vorbis", "layout": "stereo"})
    source.write_bytes(source.read_bytes().replace(b"A_VORBIS", b"A_NOBODY"))
    note = recorded(source, tmp_path / "out.mp4").sound_note
    assert note is not None
    assert "cannot be decoded" in note
    assert heard(tmp_path / "out.mp4")[0] is None


def test_subtitles_and_channels_that_are_lost_are_said(tmp_path: Path) -> None:
    source = media(tmp_path / "talk.mkv", {"codec": "pcm_s16le", "layout": "5.1"}, subtitles=True)
    note = recorded(source, tmp_path / "out.mp4").sound_note
    assert note is not None
    assert "pcm_s16le became AAC, 6 channels mixed to 2" in note
    assert "subtitles are left out" in note
    assert (
        recorded(media(tmp_path / "plain.mp4", {"codec": "aac"}), tmp_path / "plain_out.mp4").sound_note
        is None
    )


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_stays_in_step_across_a_gap(tmp_path: Path, codec: str) -> None:
    source = media(tmp_path / "talk.mkv", {"codec": codec}, silent_s=(0.5, 1.2))
    recorded(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        loud = [
            (frame.time or 0.0)
            for frame in container.decode(stream)
            if np.abs(frame.to_ndarray()).max() > 0.1
        ]
    # blocks of 23 ms, one more where the encoder's rings on
    assert not [time for time in loud if 0.6 < time < 1.1]
    assert max(loud) > 1.9
    assert min(time for time in loud if time > 0.8) == pytest.approx(1.2, abs=0.08)


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_a_clock_that_begins_anew_loses_no_sound(tmp_path: Path, codec: str) -> None:
    once = media(tmp_path / "once.ts", {"codec": codec}).read_bytes()
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once + once)
    with VideoFile(twice) as video:
        origin_s = video.start_s
    recorded(twice, tmp_path / "out.mp4", seconds=4, origin_s=origin_s)
    _, wave = heard(tmp_path / "out.mp4")
    assert len(wave) / RATE == pytest.approx(4, abs=0.25)
    assert np.abs(wave[3 * RATE : RATE * 7 // 2]).max() > 0.1


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_sound_before_the_first_picture_is_said(tmp_path: Path, codec: str) -> None:
    source = media(tmp_path / "talk.mkv", {"codec": codec})
    note = recorded(source, tmp_path / "out.mp4", origin_s=0.7).sound_note
    assert note is not None
    assert "its 0.7 s before the first picture are left out" in note
    assert len(heard(tmp_path / "out.mp4")[1]) / RATE == pytest.approx(1.3, abs=0.06)


@pytest.mark.parametrize("codec", ["ac3", "eac3", "flac", "libmp3lame", "alac"])
def test_codecs_that_mp4_holds_are_copied(tmp_path: Path, codec: str) -> None:
    source = media(tmp_path / "talk.mkv", {"codec": codec, "hz": 880})
    assert recorded(source, tmp_path / "out.mp4").sound_note is None
    name, wave = heard(tmp_path / "out.mp4")
    assert name == codec.replace("libmp3lame", "mp3")
    assert pitch(wave) == pytest.approx(880, abs=5)


def test_names_of_every_kind_keep_their_sound(tmp_path: Path) -> None:
    data = media(tmp_path / "plain.mp4", {"codec": "aac"}, seconds=1).read_bytes()
    for name in ("take:2.mp4", "50%d.mp4", "é" * 125 + ".mp4", "two\nlines.mp4"):
        (tmp_path / name).write_bytes(data)
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        assert recorded(tmp_path / name, folder / name, seconds=1).sound_note is None
        assert heard(folder / name)[0] == "aac"
        assert [path.name for path in folder.iterdir()] == [name]
        (folder / name).unlink()


def test_the_cases_with_sound(tmp_path: Path, testdata_dir: Path) -> None:
    for name, codec in (("latin1_title.avi", "mp3"), ("browser_recording.webm", "opus")):
        out = tmp_path / "out.mp4"
        writer = recorded(testdata_dir / "cases" / name, out)
        assert (writer.sound_note, writer.sound_broken) == (None, None)
        assert heard(out)[0] == codec
