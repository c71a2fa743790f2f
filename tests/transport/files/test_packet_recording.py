"""Recordings of packets already encoded: whole, in time, and never half-written under their name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from transport.errors import OutputError
from transport.files import packet_recording as recording_module
from transport.files.packet_recording import KEY_EVERY_TICKS, PacketRecording
from transport.webrtc.encoders import EncodedPicture, X264Encoder, to_i420


def pictures(count: int, size: int = 64, keys: tuple[int, ...] = (0,)) -> list[EncodedPicture]:
    encoder = X264Encoder(size, size, fps=30, bitrate=500_000, max_bitrate=500_000)
    encoded = []
    for i in range(count):
        grey = to_i420(np.full((size, size, 3), (40 + 4 * i) % 256, np.uint8))
        encoded.append(encoder.encode(grey, 90_000 + 3000 * i, i in keys, i))
    return encoded


def test_every_picture_from_the_first_key_frame_is_kept(tmp_path: Path) -> None:
    recording = PacketRecording(tmp_path / "clip.mp4", lambda: None)
    for picture in pictures(40, keys=(5,))[1:]:
        recording.write(picture)
    assert recording.close() == tmp_path / "clip.mp4"
    assert os.listdir(tmp_path) == ["clip.mp4"]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        shown = list(container.decode(stream))
        assert stream.codec_context.name == "h264"
    assert len(shown) == recording.num_pictures == 35
    assert [frame.time for frame in shown] == pytest.approx([i / 30 for i in range(35)], abs=1e-4)
    # flat grey of a known level survives H.264 to 2 of 255 steps
    assert abs(int(shown[-1].to_ndarray(format="rgb24")[32, 32, 0]) - (40 + 4 * 39)) <= 2


def test_it_plays_even_if_the_program_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
sys.path[:0] = {sys.path!r}
from pathlib import Path
from tests.transport.files.test_packet_recording import pictures
from transport.files.packet_recording import PacketRecording
recording = PacketRecording(Path({str(tmp_path)!r}) / "clip.mp4", lambda: None)
for picture in pictures(90):
    recording.write(picture)
while recording.num_pictures < 90:
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=False, timeout=60)
    (left,) = os.listdir(tmp_path)
    assert left != "clip.mp4"
    with av.open(str(tmp_path / left)) as container:
        # a fragment a second: of three seconds at least the first two are on the disk
        assert sum(1 for _ in container.decode(video=0)) >= 58


def test_nothing_recorded_leaves_nothing(tmp_path: Path) -> None:
    recording = PacketRecording(tmp_path / "clip.mp4", lambda: None)
    recording.write(pictures(2)[1])  # no key frame
    assert recording.close() is None
    assert os.listdir(tmp_path) == []


def test_players_get_places_to_jump_to(tmp_path: Path) -> None:
    asked: list[int] = []
    recording = PacketRecording(tmp_path / "clip.mp4", lambda: asked.append(1))
    for picture in pictures(300):
        recording.write(picture)
    recording.close()
    assert len(asked) == 299 * 3000 // KEY_EVERY_TICKS


def test_an_existing_file_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("precious")
    with pytest.raises(OutputError, match="it exists"):
        PacketRecording(tmp_path / "clip.mp4", lambda: None)
    assert (tmp_path / "clip.mp4").read_text() == "precious"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere.*choose another folder"):
        PacketRecording(tmp_path / "nowhere" / "clip.mp4", lambda: None)


def test_a_new_size_ends_it_and_keeps_what_was_there(tmp_path: Path) -> None:
    recording = PacketRecording(tmp_path / "clip.mp4", lambda: None)
    for picture in [*pictures(10), *pictures(3, size=96)]:
        recording.write(picture)
    with pytest.raises(OutputError, match="from 64x64 to 96x96"):
        recording.close()
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10


def test_a_disk_that_does_not_keep_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "MAX_WAITING", 3)
    monkeypatch.setattr(PacketRecording, "_mux", lambda self, picture: time.sleep(0.2))
    recording = PacketRecording(tmp_path / "clip.mp4", lambda: None)
    for picture in pictures(8):
        recording.write(picture)
    assert recording.error is not None
    with pytest.raises(OutputError, match="disk is too slow"):
        recording.close()
