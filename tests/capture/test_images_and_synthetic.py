"""Picture folders and the made-up picture."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from capture.errors import SourceError
from capture.images import ImageFolder, read_picture
from capture.source import Source, frames, open_input
from capture.synthetic import SyntheticSource


def write_picture(path: Path, grey: int, size: tuple[int, int] = (6, 4)) -> None:
    rgb = np.full((size[1], size[0], 3), grey, np.uint8)
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


def test_pictures_come_in_natural_order_at_the_given_rate(tmp_path):
    for number in (10, 2, 1):
        write_picture(tmp_path / f"frame{number}.png", number)
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_input(tmp_path, fps=10.0) as folder:
        assert isinstance(folder, Source)
        assert (folder.size, folder.num_frames, folder.fps) == ((6, 4), 3, 10.0)
        read = list(frames(folder))
    assert [int(frame.rgb[0, 0, 0]) for frame in read] == [1, 2, 10]
    assert [frame.capture_ns for frame in read] == [0, 100_000_000, 200_000_000]
    assert [frame.index for frame in read] == [0, 1, 2]


def test_real_pictures_are_read(testdata_dir):
    with ImageFolder(testdata_dir / "images") as folder:
        shapes = [frame.rgb.shape for frame in frames(folder)]
    assert len(shapes) == folder.num_frames >= 4
    assert all(height > 100 and width > 100 and channels == 3 for height, width, channels in shapes)


def test_a_folder_without_pictures_is_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(SourceError, match="holds no pictures") as raised:
        open_input(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_folder_and_a_senseless_rate_are_refused(tmp_path):
    with pytest.raises(SourceError, match="is no folder"):
        ImageFolder(tmp_path / "missing")
    with pytest.raises(SourceError, match="frame rate"):
        ImageFolder(tmp_path, fps=float("nan"))


def test_a_broken_picture_names_its_path(tmp_path):
    write_picture(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes(b"broken")
    folder = ImageFolder(tmp_path)
    assert folder.read() is not None
    with pytest.raises(SourceError, match=r"2\.png is no picture"):
        folder.read()
    with pytest.raises(SourceError):
        read_picture(tmp_path / "missing.png")


def test_the_made_up_picture_is_the_same_everywhere_and_moves():
    with SyntheticSource(64, 48, fps=30.0, num_frames=3) as source:
        assert isinstance(source, Source)
        read = list(frames(source))
    assert [frame.capture_ns for frame in read] == [0, 33_333_333, 66_666_667]
    assert not np.array_equal(read[0].rgb, read[1].rgb)
    again = list(frames(SyntheticSource(64, 48, fps=30.0, num_frames=3)))
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(read, again, strict=True))
    # Pinned, so that figures measured on this picture stay comparable from version to version.
    assert hashlib.sha256(read[2].rgb.tobytes()).hexdigest()[:16] == "a349160a092e8af6"


def test_the_made_up_picture_ends_when_closed_and_refuses_senseless_sizes():
    source = SyntheticSource(8, 8)
    assert source.num_frames is None
    assert source.read() is not None
    source.close()
    assert source.read() is None
    for width, height, fps in ((0, 8, 30.0), (8, 8, 0.0), (8, 8, float("inf"))):
        with pytest.raises(SourceError):
            SyntheticSource(width, height, fps)


def test_what_systems_and_cameras_leave_in_a_folder(tmp_path):
    for number, name in enumerate(("IMG_10.PNG", "IMG_9.png", "img_11.Png"), 1):
        write_picture(tmp_path / name, 10 * number)
    for junk in ("._IMG_9.png", ".hidden.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt"):
        (tmp_path / junk).write_bytes(b"\0\5\x16\7 no picture")
    (tmp_path / "__MACOSX").mkdir()
    with ImageFolder(tmp_path) as folder:
        assert [path.name for path in folder.paths] == ["IMG_9.png", "IMG_10.PNG", "img_11.Png"]
        assert [int(frame.rgb[0, 0, 0]) for frame in frames(folder)] == [20, 10, 30]
        assert folder.notes == ()


def test_what_may_have_been_meant_is_said(tmp_path):
    write_picture(tmp_path / "1.png", 1)
    (tmp_path / "more").mkdir()
    for name in ("1.CR2", "1.MOV", "2.HEIC", "3.heic"):
        (tmp_path / name).write_bytes(b"something")
    with ImageFolder(tmp_path) as folder:
        (note,) = folder.notes
    for words in (
        "2 HEIC pictures (2.HEIC, 3.heic)",
        "1 raw picture",
        "1 film (1.MOV)",
        "1 subfolder (more)",
    ):
        assert words in note
    (tmp_path / "1.png").unlink()
    with pytest.raises(SourceError, match=r"2\.HEIC is a HEIC picture.*save it as JPEG"):
        ImageFolder(tmp_path)


def test_pictures_of_other_sizes_are_fitted_into_the_first(tmp_path):
    write_picture(tmp_path / "1.png", 100, (60, 40))
    write_picture(tmp_path / "2.png", 100, (40, 60))
    write_picture(tmp_path / "3.png", 100, (120, 80))
    with ImageFolder(tmp_path) as folder:
        read = [frame.rgb for frame in frames(folder)]
        (note,) = folder.notes
    assert {rgb.shape for rgb in read} == {(40, 60, 3)}
    shown = [(rgb[..., 0] == 100).sum() for rgb in read]
    assert shown == [60 * 40, 27 * 40, 60 * 40]  # a turned one stands in the middle, black beside it
    assert read[1][:, :16].max() == 0
    assert "2 of 3 pictures have another size than the first, 60x40" in note


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_and_mirrors(tmp_path, suffix, orientation):
    image = pytest.importorskip("PIL.Image")
    ops = pytest.importorskip("PIL.ImageOps")
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:20, :30], rgb[:20, 30:], rgb[20:, :30] = 220, 60, 140
    exif = image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    image.fromarray(rgb).save(path, exif=exif)
    with image.open(path) as saved:
        expected = np.asarray(ops.exif_transpose(saved).convert("RGB")).astype(int)
    seen = read_picture(path).astype(int)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 4  # another decoder of JPEG and WebP
