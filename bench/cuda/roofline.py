"""The fewest bytes a frame must move through device memory, and the time that takes at the copy's bandwidth.

Each input is read once and each output written once. A splatter must also keep one record for every Gaussian
between projecting and blending, and the sorted list of its Gaussian-tile pairs: both are written once and
read once. Bases, bindings and canonical Gaussians are shared by a batch of one avatar; records, pairs and
pictures are not. Caches may beat this: a small avatar fits whole in the L2 of a large card.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT = 4
INDEX = 4
RECORD = 11 * FLOAT  # screen mean, conic, opacity, colour, depth, row range
SURFEL_RECORD = 18 * FLOAT  # 9 of the ray transform in the conic's place, and the projected mean
PAIR = 8  # key and Gaussian


@dataclass(frozen=True)
class Workload:
    """What the bytes of a frame depend on; a rig without vertices of its own has zeros."""

    num_gaussians: int
    width: int
    height: int
    bytes_per_pixel: float  # 3 of RGB, 1.5 of YUV 4:2:0
    num_pairs: int  # Gaussian-tile pairs of one picture
    surfel: bool = False
    sh_degree: int = 0
    batch: int = 1
    num_vertices: int = 0
    num_faces: int = 0
    num_joints: int = 1
    num_bases: int = 0  # expressions and pose correctives


def counted_bytes(work: Workload) -> dict[str, float]:
    """Bytes of one launch: `rig`, `gaussians`, `records`, `pairs`, `picture` and their sum, `total`."""
    axes = 2 if work.surfel else 3
    floats = 3 + 4 + axes + 1 + 3 * (work.sh_degree + 1) ** 2
    vertex = 3 * FLOAT
    rig_shared = work.num_vertices * (vertex * (1 + work.num_bases) + work.num_joints * FLOAT)
    rig_shared += work.num_faces * 3 * INDEX
    posed_vertices = 2 * work.num_vertices * vertex
    record = SURFEL_RECORD if work.surfel else RECORD
    counted = {
        "rig": float(rig_shared + work.batch * posed_vertices),
        "gaussians": float(work.num_gaussians * (floats * FLOAT + INDEX)),
        "records": float(work.batch * 2 * work.num_gaussians * record),
        "pairs": float(work.batch * 2 * work.num_pairs * PAIR),
        "picture": float(work.batch * work.width * work.height * work.bytes_per_pixel),
    }
    return {**counted, "total": sum(counted.values())}


def floor_ms(num_bytes: float, bytes_per_s: float) -> float:
    """How long moving so many bytes takes at least."""
    return num_bytes / bytes_per_s * 1e3
