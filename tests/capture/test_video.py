"""Video files as the player shows them: rotation, pixel shape, times, damage, and the user's mistakes."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from capture.errors import SourceError
from capture.source import Source, frames, open_input
from capture.video import VideoFile

# x264 at crf 1 and 4:2:0 chroma: flat patches come back within this many of 255 steps.
COLOUR_TOLERANCE = 6


def write_video(
    path: Path,
    pts: list[int],
    *,
    size: tuple[int, int] = (64, 48),
    time_base: Fraction = Fraction(1, 1000),
    rotation: float | None = None,
    aspect: Fraction | None = None,
    codec: str = "libx264",
) -> Path:
    """A clip with red, green, blue and white corners (reading order) whose frames have these times."""
    width, height = size
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2, 0] = 255
    rgb[: height // 2, width // 2 :, 1] = 255
    rgb[height // 2 :, : width // 2, 2] = 255
    rgb[height // 2 :, width // 2 :] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        if codec == "libx264":
            stream.options = {"crf": "1", "bf": "0"}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for time in pts:
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def corners(rgb: np.ndarray) -> list[str]:
    """The names of the colours in the four corners, in reading order."""
    names = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    found = []
    for row, column in ((4, 4), (4, -4), (-4, 4), (-4, -4)):
        patch = rgb[row, column].astype(int)
        found += [name for name, colour in names.items() if np.abs(patch - colour).max() <= COLOUR_TOLERANCE]
    return found


def milliseconds(source: Source) -> list[int]:
    return [round(frame.capture_ns / 1e6) for frame in frames(source)]


def test_frames_come_in_order_with_their_own_times(tmp_path):
    uneven = [0, 20, 100, 133, 400]
    with VideoFile(write_video(tmp_path / "uneven.mp4", uneven)) as video:
        assert isinstance(video, Source)
        assert not video.has_audio
        read = list(frames(video))
        assert video.read() is None
        assert video.problem is None
    assert [frame.index for frame in read] == [0, 1, 2, 3, 4]
    assert [round(frame.capture_ns / 1e6) for frame in read] == uneven
    assert corners(read[0].rgb) == ["red", "green", "blue", "white"]
    assert read[0].rgb.flags.c_contiguous


def test_times_start_at_zero_and_the_offset_is_told(tmp_path):
    path = write_video(tmp_path / "late.mkv", [500, 533, 566])
    with VideoFile(path) as video:
        assert video.start_s == pytest.approx(0.5, abs=1e-3)  # Matroska counts whole milliseconds
        assert milliseconds(video) == [0, 33, 66]


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (0, ["red", "green", "blue", "white"]),
        (90, ["green", "white", "red", "blue"]),
        (180, ["white", "blue", "green", "red"]),
        (-90, ["blue", "red", "white", "green"]),
    ],
)
def test_a_phones_rotation_is_applied(tmp_path, rotation, expected):
    path = write_video(tmp_path / "rotated.mp4", [0, 33], rotation=rotation)
    with VideoFile(path) as video:
        frame = video.read()
        assert frame is not None
        assert video.size == ((48, 64) if rotation % 180 else (64, 48)) == (frame.width, frame.height)
        assert corners(frame.rgb) == expected


def test_a_real_clip_rotated_without_encoding_reads_upright(tmp_path, testdata_dir):
    clip = testdata_dir / "videos" / "pyfeat_single_face.mp4"
    rotated = tmp_path / "rotated.mp4"
    with av.open(str(clip)) as original, av.open(str(rotated), "w") as copy:
        stream = copy.add_stream_from_template(original.streams.video[0])
        stream.set_display_rotation(90)
        for packet in original.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    with VideoFile(clip) as upright, VideoFile(rotated) as turned:
        assert upright.has_audio
        assert turned.size == upright.size[::-1]
        assert turned.num_frames == upright.num_frames
        for expected, frame in zip(frames(upright), frames(turned), strict=True):
            np.testing.assert_array_equal(frame.rgb, np.rot90(expected.rgb))
            assert frame.capture_ns == expected.capture_ns


def test_a_real_clip_gives_every_frame_and_its_length(testdata_dir):
    with VideoFile(testdata_dir / "videos" / "lp_d20.mp4") as video:
        assert (video.fps, video.size, video.num_frames, video.has_audio) == (25.0, (480, 480), 175, True)
        assert milliseconds(video) == [index * 40 for index in range(175)]
        assert video.problem is None


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = write_video(tmp_path / "wide.mkv", [0, 33], aspect=Fraction(15, 16))
    with VideoFile(path) as video:
        frame = video.read()
        assert frame is not None
        assert video.size == (frame.width, frame.height) == (60, 48)


def test_odd_sizes_keep_their_last_row_and_column(tmp_path):
    path = write_video(tmp_path / "odd.mkv", [0, 33], size=(61, 47))
    with VideoFile(path) as video:
        frame = video.read()
        assert frame is not None
        assert frame.rgb.shape == (47, 61, 3)
        assert corners(frame.rgb) == ["red", "green", "blue", "white"]


def test_a_stream_without_times_is_paced_by_its_frame_rate(tmp_path):
    # A raw H.264 stream stores no presentation times at all.
    path = tmp_path / "raw.h264"
    write_video(path, [0, 1, 2, 3], time_base=Fraction(1, 25))
    with VideoFile(path) as video:
        step = 1000 / video.fps
        assert milliseconds(video) == [round(index * step) for index in range(4)]


def cut(source: Path, target: Path, share: float) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def test_a_cut_file_gives_what_decodes(tmp_path, testdata_dir):
    clip = testdata_dir / "videos" / "asl" / "again.mkv"
    with VideoFile(cut(clip, tmp_path / "cut.mkv", 0.5)) as video:
        num_read = len(list(frames(video)))
        assert video.problem is not None
        assert "it ends early" in video.problem
    with VideoFile(clip) as whole:
        num_whole = len(list(frames(whole)))
        assert whole.problem is None
    # half the bytes hold about half the frames; a key frame is larger than the rest
    assert 0.2 * num_whole < num_read < 0.8 * num_whole


def test_a_cut_mp4_says_how_much_was_read(tmp_path, testdata_dir):
    # Re-muxed with its index in front, so that the cut file still opens.
    clip = testdata_dir / "videos" / "pyfeat_single_face.mp4"
    front = tmp_path / "front.mp4"
    with (
        av.open(str(clip)) as original,
        av.open(str(front), "w", options={"movflags": "faststart"}) as copy,
    ):
        stream = copy.add_stream_from_template(original.streams.video[0])
        for packet in original.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    with VideoFile(cut(front, tmp_path / "cut.mp4", 0.6)) as video:
        num_read = len(list(frames(video)))
        assert 0 < num_read < 72
        assert video.problem is not None
        assert f"read {num_read} of about 72 frames" in video.problem
        assert "\n" not in video.problem


def test_damaged_packets_are_left_out_and_counted(tmp_path, testdata_dir):
    clip = testdata_dir / "videos" / "pyfeat_single_face.mp4"
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    with VideoFile(damaged) as video:
        num_read = len(list(frames(video)))
        assert 36 < num_read <= 72  # at least what stands before the damage
        assert (video.problem is None) == (num_read == 72)


def text_named_mp4(folder: Path) -> Path:
    path = folder / "notes.mp4"
    path.write_text("These are notes, not a video.\n" * 50)
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def sound_only(folder: Path) -> Path:
    path = folder / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return path


def song_with_a_cover(folder: Path) -> Path:
    path = folder / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = 1024  # an attached picture
        container.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def unreadable(folder: Path) -> Path:
    # a link to itself cannot be opened by anyone, root included
    path = folder / "loop.mp4"
    path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "missing.mp4", "does not exist: check the path"),
        (text_named_mp4, "is no video FFmpeg can read"),
        (empty_file, "is empty \\(0 bytes\\): give another file"),
        (sound_only, "has no picture, only sound: give a video"),
        (song_with_a_cover, "has no picture, only sound: give a video"),
        (unreadable, "loop.mp4"),
    ],
)
def test_a_users_mistake_is_one_line_with_the_path(tmp_path, make, reason):
    path = make(tmp_path)
    with pytest.raises(SourceError, match=reason) as raised:
        open_input(path)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message


def test_a_folder_is_no_video_file(tmp_path):
    with pytest.raises(SourceError, match="is a folder: give a video file"):
        VideoFile(tmp_path)


def test_a_name_with_a_colon_is_a_path_not_a_protocol(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", [0, 33])
    colon = tmp_path / "http:clip.mp4"
    shutil.copy(plain, colon)
    with VideoFile(colon) as video:
        assert len(list(frames(video))) == 2


def test_reading_after_close_is_the_end(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", [0, 33]))
    video.close()
    video.close()
    assert video.read() is None
