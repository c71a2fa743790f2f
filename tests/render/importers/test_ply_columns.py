"""The .ply layouts that the field writes: text, both byte orders, comments of any bytes, other colours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from render.errors import AvatarError
from render.gaussians import Gaussians
from render.importers.gaussian_ply import read_vertices
from render.importers.ply import import_ply, read_splat_ply
from render.sh import SH_C0
from tests.render.avatars.small_avatars import random_gaussians
from tests.render.importers.splat_files import write_plain_ply


def columns_of(g: Gaussians) -> dict[str, NDArray]:
    higher = g.sh[:, 1:].transpose(1, 2).reshape(g.num_gaussians, -1)
    named = {
        **{f"f_dc_{i}": g.sh[:, 0, i] for i in range(3)},
        **{f"f_rest_{i}": higher[:, i] for i in range(higher.shape[1])},
        **dict(zip("xyz", g.means.T, strict=True)),
        **{f"scale_{i}": g.log_scales[:, i] for i in range(g.log_scales.shape[1])},
        **{f"rot_{i}": g.quats[:, i] for i in range(4)},
        "opacity": g.logit_opacities,
    }
    return {name: values.numpy() for name, values in named.items()}


def same(got: Gaussians, wanted: Gaussians) -> None:
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh"):
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name), atol=1e-6, rtol=0)


COMMENTS = (
    "Zoë's café".encode("latin-1"),
    "… naïve end_header …".encode(),  # its UTF-8 holds 0x85, which ends a line in latin-1
    "头像".encode("gb18030"),
    "x\nÿ".encode("utf-16"),  # holds a line end of its own
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("fmt", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_every_format_with_comments_of_any_bytes(tmp_path: Path, fmt: str, line_end: bytes) -> None:
    g = random_gaussians(40, degree=1)
    path = write_plain_ply(tmp_path / "a.ply", columns_of(g), fmt, comments=COMMENTS, line_end=line_end)
    same(read_splat_ply(path).gaussians, g)


def test_columns_of_other_types_and_with_company(tmp_path: Path) -> None:
    g = random_gaussians(20)
    columns = {name: values.astype("f8") for name, values in columns_of(g).items()}
    columns |= {"segment": np.arange(20, dtype="i4"), "confidence": np.ones(20, "u2")}
    path = write_plain_ply(
        tmp_path / "a.ply", columns, before="element camera 0\nproperty list uchar int bits"
    )
    with pytest.raises(AvatarError, match="camera element holds lists"):
        read_splat_ply(path)
    path = write_plain_ply(tmp_path / "a.ply", columns, before="element camera 0\nproperty float fov")
    same(read_splat_ply(path).gaussians, g)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f4 of bytes"])
@pytest.mark.parametrize("fmt", ["ascii", "binary_little_endian"])
def test_red_green_blue_and_alpha(tmp_path: Path, kind: str, fmt: str) -> None:
    g = random_gaussians(30)
    rgb = (g.sh[:, 0] * SH_C0 + 0.5).clamp(0, 1).numpy()
    colours = dict(zip(("red", "green", "blue", "alpha"), (*rgb.T, g.opacities().numpy()), strict=True))
    full, dtype = {"u1": (255, "u1"), "u2": (65535, "u2"), "f4": (1, "f4"), "f4 of bytes": (255, "f4")}[kind]
    shape = {k: v for k, v in columns_of(g).items() if not k.startswith("f_dc") and k != "opacity"}
    rounded = {
        k: (v * full if dtype == "f4" else np.rint(v * full)).astype(dtype) for k, v in colours.items()
    }
    got = read_splat_ply(write_plain_ply(tmp_path / "a.ply", {**shape, **rounded}, fmt)).gaussians
    half_step = 0.51 / 255 if dtype == "u1" else 1e-5
    np.testing.assert_allclose(got.sh[:, 0].numpy() * SH_C0 + 0.5, rgb, atol=half_step)
    np.testing.assert_allclose(got.opacities().numpy(), colours["alpha"], atol=half_step)


@pytest.mark.parametrize("missing", ["x", "rot_2", "scale_1", "opacity", "f_dc_0"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    columns = columns_of(random_gaussians(20))
    del columns[missing]
    with pytest.raises(AvatarError, match=f"has no column {missing}"):
        read_splat_ply(write_plain_ply(tmp_path / "a.ply", columns))


def test_harmonics_of_any_degree(tmp_path: Path) -> None:
    g = random_gaussians(20, degree=3)
    columns = {k: v for k, v in columns_of(g).items() if not k.startswith("f_rest")}
    rest = np.concatenate([g.sh[:, 1:].transpose(1, 2).numpy(), np.full((20, 3, 9), 7.0, "f4")], 2)
    fourth = columns | {f"f_rest_{i}": v for i, v in enumerate(rest.reshape(20, -1).T)}
    path = write_plain_ply(tmp_path / "a.ply", fourth)
    same(read_splat_ply(path).gaussians, g)
    assert "degree 4 cut to the 3 that are drawn" in import_ply(path).info.provenance
    tenth = columns | {f"f_rest_{i}": columns["x"] for i in range(10)}
    with pytest.raises(AvatarError, match="10 f_rest columns, 0, 9, 24 or 45 make an SH degree"):
        read_splat_ply(write_plain_ply(path, tenth))
    gap = columns | {f"f_rest_{i}": columns["x"] for i in (0, 1, 2, 3, 4, 5, 6, 7, 9)}
    with pytest.raises(AvatarError, match="9 f_rest columns up to f_rest_9"):
        read_splat_ply(write_plain_ply(path, gap))


@pytest.mark.parametrize(
    ("comment", "antialiased"),
    [(b"SplatRenderMode: mip", True), (b"antialiased 1", True), (b"SplatRenderMode: default", False)],
)
def test_the_low_pass_that_a_comment_names(tmp_path: Path, comment: bytes, antialiased: bool) -> None:
    path = write_plain_ply(tmp_path / "a.ply", columns_of(random_gaussians(5)), comments=(comment,))
    assert read_splat_ply(path).gaussians.antialiased == antialiased


def test_text_that_is_no_whole_table(tmp_path: Path) -> None:
    path = write_plain_ply(tmp_path / "a.ply", columns_of(random_gaussians(5)), "ascii")
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip().rsplit(b"\n", 1)[0])
    with pytest.raises(AvatarError, match="holds 4 of the 5 rows"):
        read_splat_ply(path)
    path.write_bytes(whole + b"1.5\n")
    with pytest.raises(AvatarError, match="more numbers than 5 rows"):
        read_splat_ply(path)
    path.write_bytes(whole.rstrip() + b"e\n")
    with pytest.raises(AvatarError, match="no number"):
        read_splat_ply(path)


def test_headers_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    for header, words in (
        (b"ply\nformat binary_middle_endian 1.0\nelement vertex 1\n", "header says 'format binary_middle"),
        (b"ply\nformat ascii 1.0\nproperty float x\n", "header says 'property float x'"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\n", "header says"),
        (b"ply\nformat ascii 1.0\nelement vertex " + b"9" * 5000 + b"\n", "header says 'element vertex 9999"),
        (b"ply\nelement vertex 1\nproperty float x\n", "names no known format"),
        (b"ply\nformat ascii 1.0\ncomment " + b"x" * (1 << 20), "has no end"),
    ):
        path.write_bytes(header + b"end_header\n1\n")
        with pytest.raises(AvatarError, match=words) as caught:
            read_vertices(path)
        assert len(str(caught.value)) < 400
