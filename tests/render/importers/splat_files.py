"""Writers of the formats that are only read here, each by its description, mostly one Gaussian at a time.

Gaussians stand in as [N, ...] tensors; what a format quantises is rounded as its own writers do.
"""

import gzip
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.gaussians import Gaussians
from render.sh import SH_C0


def unit_quats(g: Gaussians) -> NDArray[np.float64]:
    """Orientations wxyz [N, 4] of length one."""
    quats = g.quats.double().numpy()
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def unorm(value: float, bits: int) -> int:
    return int(np.clip(np.floor(value * (2**bits - 1) + 0.5), 0, 2**bits - 1))


def write_plain_ply(
    path: Path,
    columns: dict[str, NDArray],
    fmt: str = "binary_little_endian",
    *,
    comments: tuple[bytes, ...] = (),
    line_end: bytes = b"\n",
    before: str = "",
) -> Path:
    """Columns of any NumPy types as a vertex element, in any format, with comments of any bytes."""
    names = {"f4": "float", "f8": "double", "u1": "uchar", "u2": "ushort", "i4": "int", "u4": "uint"}
    kinds = {name: values.dtype.str[1:] for name, values in columns.items()}
    order = ">" if fmt == "binary_big_endian" else "<"
    rows = np.empty(len(next(iter(columns.values()))), [(name, order + kind) for name, kind in kinds.items()])
    for name, values in columns.items():
        rows[name] = values
    header = [b"ply", f"format {fmt} 1.0".encode(), *(b"comment " + c for c in comments)]
    header += [before.encode()] if before else []
    header += [f"element vertex {len(rows)}".encode()]
    header += [f"property {names[kind]} {name}".encode() for name, kind in kinds.items()]
    body = rows.tobytes()
    if fmt == "ascii":
        body = line_end.join(" ".join(map(repr, row)).encode() for row in rows.tolist()) + line_end
    path.write_bytes(line_end.join([*header, b"end_header", b""]) + body)
    return path


def write_compressed_ply(g: Gaussians, path: Path, *, chunk_colours: bool = True) -> Path:
    """SuperSplat's layout: chunks of 256 with the box of their values, then 16 bytes a Gaussian."""
    from plyfile import PlyData, PlyElement

    values = {
        "": g.means.numpy(),
        "scale_": g.log_scales.numpy(),
        "colour": g.sh[:, 0].numpy() * SH_C0 + 0.5,
    }
    quats, alphas, n = unit_quats(g), g.opacities().numpy(), g.num_gaussians
    chunks, packed = [], []
    for start in range(0, n, 256):
        run = slice(start, min(start + 256, n))
        boxes = {k: (v[run].min(0).astype("f4"), v[run].max(0).astype("f4")) for k, v in values.items()}
        if not chunk_colours:
            boxes["colour"] = (np.zeros(3, "f4"), np.ones(3, "f4"))
        chunks.append(np.concatenate([b for box in boxes.values() for b in box]))
        for i in range(run.start, run.stop):
            share = {
                k: (v[i] - boxes[k][0]) / np.maximum(boxes[k][1] - boxes[k][0], 1e-9)
                for k, v in values.items()
            }
            words = [
                unorm(x, 11) << 21 | unorm(y, 10) << 11 | unorm(z, 11)
                for x, y, z in (share[""], share["scale_"])
            ]
            largest = int(np.abs(quats[i]).argmax())
            others = np.delete(quats[i] * np.sign(quats[i, largest]), largest)
            turn = largest
            for value in others:
                turn = turn << 10 | unorm(value * np.sqrt(0.5) + 0.5, 10)
            colour = 0
            for value in (*share["colour"], alphas[i]):
                colour = colour << 8 | unorm(value, 8)
            packed.append((words[0], turn, words[1], colour))
    ends = [f"{end}_{k}{a}" for k in ("", "scale_") for end in ("min", "max") for a in "xyz"]
    ends += [f"{end}_{c}" for end in ("min", "max") for c in "rgb"] if chunk_colours else []
    elements = [
        PlyElement.describe(
            np.array([tuple(c[: len(ends)]) for c in chunks], [(k, "f4") for k in ends]), "chunk"
        ),
        PlyElement.describe(
            np.array(packed, [(f"packed_{k}", "u4") for k in ("position", "rotation", "scale", "color")]),
            "vertex",
        ),
    ]
    if g.sh_degree:
        higher = g.sh[:, 1:].transpose(1, 2).reshape(n, -1).numpy()
        stored = np.clip(np.floor((higher / 8 + 0.5) * 256), 0, 255).astype("u1")
        names = [(f"f_rest_{i}", "u1") for i in range(higher.shape[1])]
        elements.append(PlyElement.describe(np.array(list(map(tuple, stored)), names), "sh"))
    PlyData(elements, byte_order="<").write(str(path))
    return path


def spz_payload(g: Gaussians, version: int, *, bits: int = 12, higher: NDArray | None = None) -> list[bytes]:
    """The header of .spz versions 1 to 3 and its attributes; `higher`: harmonics [N, K, 3] of any degree."""
    n, quats = g.num_gaussians, unit_quats(g)
    higher = g.sh[:, 1:].numpy() if higher is None else higher
    degree = int(np.sqrt(higher.shape[1] + 1)) - 1
    header = struct.pack("<IIIBBBB", 0x5053474E, version, n, degree, bits, 0, 0)
    if version == 1:
        positions = g.means.numpy().astype("<f2").tobytes()
    else:
        fixed = np.rint(g.means.numpy() * 2**bits).astype(int).ravel().tolist()
        positions = b"".join(struct.pack("<i", value)[:3] for value in fixed)
    turns = b""
    for w, x, y, z in quats.tolist():
        if version < 3:
            turns += bytes(
                int(np.clip(np.rint((v if w >= 0 else -v) * 127.5 + 127.5), 0, 255)) for v in (x, y, z)
            )
            continue
        xyzw = np.array([x, y, z, w])
        largest = int(np.abs(xyzw).argmax())
        word = largest
        for i in range(4):
            if i != largest:
                value = xyzw[i] * np.sign(xyzw[largest])
                word = word << 10 | (value < 0) << 9 | int(511 * abs(value) * np.sqrt(2) + 0.5)
        turns += struct.pack("<I", word)

    def as_bytes(values: NDArray) -> bytes:
        return np.clip(np.rint(values), 0, 255).astype("u1").tobytes()

    return [
        header,
        positions,
        as_bytes(g.opacities().numpy() * 255),
        as_bytes((g.sh[:, 0].numpy() * 0.15 + 0.5) * 255),
        as_bytes((g.log_scales.numpy() + 10) * 16),
        turns,
        as_bytes(higher * 128 + 128),
    ]


def write_spz(g: Gaussians, path: Path, version: int, **options: object) -> Path:
    path.write_bytes(gzip.compress(b"".join(spz_payload(g, version, **options))))
    return path


def write_splat(g: Gaussians, path: Path) -> Path:
    """antimatter15's rows of 32 bytes."""
    rgba = np.concatenate([g.sh[:, 0].numpy() * SH_C0 + 0.5, g.opacities().numpy()[:, None]], 1)
    rows = b""
    for mean, scale, colour, quat in zip(g.means, g.scales(), rgba, unit_quats(g), strict=True):
        rows += struct.pack("<6f", *mean.tolist(), *scale.tolist())
        rows += bytes(np.clip(colour * 255, 0, 255).astype("u1"))
        rows += bytes(np.clip(quat * 128 + 128, 0, 255).astype("u1"))
    path.write_bytes(rows)
    return path


def write_sog(g: Gaussians, folder: Path, version: int) -> Path:
    """A SOG folder; Gaussians share two entries of the palette of harmonics, those of the first two."""
    folder.mkdir()
    n, quats = g.num_gaussians, unit_quats(g)
    width = 4 * int(np.ceil(np.sqrt(n) / 4))

    def picture(name: str, pixels: NDArray, columns: int = width) -> list[str]:
        rows = -(-len(pixels) // columns)
        padded = np.full((rows * columns, pixels.shape[1]), 255, "u1")
        padded[: len(pixels)] = pixels
        image = Image.fromarray(padded.reshape(rows, columns, -1))
        image.save(folder / f"{name}.webp", lossless=True, exact=True)
        return [f"{name}.webp"]

    logged = np.sign(g.means.numpy()) * np.log1p(np.abs(g.means.numpy()))
    low, high = logged.min(0), logged.max(0)
    fixed = np.rint((logged - low) / (high - low) * 65535).astype(int)
    turns = np.zeros((n, 4))
    for i, quat in enumerate(quats):
        largest = int(np.abs(quat).argmax())
        others = np.delete(quat * np.sign(quat[largest]), largest)
        turns[i] = [*np.rint((others * np.sqrt(2) + 1) / 2 * 255), 252 + largest]
    files = {
        "means": picture("means_l", fixed % 256) + picture("means_u", fixed // 256),
        "quats": picture("quats", turns),
    }
    sizes, base = g.log_scales.numpy(), g.sh[:, 0].numpy()
    meta: dict = {"means": {"mins": low.tolist(), "maxs": high.tolist(), "files": files["means"]}}
    meta["quats"] = {"files": files["quats"]}
    if version == 2:
        books = [np.linspace(v.min(), v.max(), 256) for v in (sizes, base)]
        index = [np.abs(v[..., None] - book).argmin(-1) for v, book in zip((sizes, base), books, strict=True)]
        alpha = np.rint(g.opacities().numpy() * 255)[:, None]
        meta |= {"version": 2, "count": n, "antialias": True}
        meta["scales"] = {"codebook": books[0].tolist(), "files": picture("scales", index[0])}
        meta["sh0"] = {"codebook": books[1].tolist(), "files": picture("sh0", np.hstack([index[1], alpha]))}
    else:
        meta["means"]["shape"] = [n, 3]
        for name, values in (
            ("scales", sizes),
            ("sh0", np.hstack([base, g.logit_opacities.numpy()[:, None]])),
        ):
            box = values.min(0), values.max(0)
            pixels = np.rint((values - box[0]) / (box[1] - box[0]) * 255)
            meta[name] = {"mins": box[0].tolist(), "maxs": box[1].tolist(), "files": picture(name, pixels)}
    if g.sh_degree:
        palette = g.sh[:2, 1:].numpy()  # [2, K, 3]
        low_sh, high_sh = float(palette.min()), float(palette.max())
        pixels = np.rint((palette - low_sh) / (high_sh - low_sh) * 255).reshape(-1, 3)
        centroids = picture("shN_centroids", pixels, 64 * palette.shape[1])
        labels = np.zeros((n, 3))
        labels[:, 0] = np.arange(n) % 2
        meta["shN"] = {"files": centroids + picture("shN_labels", labels)}
        book = np.linspace(low_sh, high_sh, 256).tolist()
        meta["shN"] |= (
            {"count": 2, "bands": g.sh_degree, "codebook": book}
            if version == 2
            else {"mins": low_sh, "maxs": high_sh}
        )
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def zipped(folder: Path, archive: Path, inside: str = "") -> Path:
    """The files of a folder in a .zip, under `inside`."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, inside + path.name)
    return archive
