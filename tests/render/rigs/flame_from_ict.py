"""Proof models without a licensed file: files of FLAME's and SMPL-X's official layout, made from ICT-FaceKit.

    python -m tests.render.rigs.flame_from_ict -o DIR [--ict ../shared/data/heads/ict_facekit]

writes, from ICT-FaceKit's light face model (USC ICT, MIT):
  flame.npz, smplx.npz                the arrays of the official files, under their names, shapes and units
  flame/point_cloud.ply, smplx/...    a painted head: Gaussians local to triangles, as GaussianAvatars has
  landmarks.npz                       Multi-PIE's 68 landmarks on triangles, as FLAME's static embedding

What is like FLAME: about 5,000 vertices; identity and expression components by PCA, in standard deviations,
the columns that ICT cannot fill zero; no component opens the jaw, which turns about a joint instead; the eyes
turn about theirs; the neck's joint lies between the ears. What is not: no pose correctives (zeros), teeth,
gums and a closed mouth cavity that FLAME lacks, and the vertices are ICT's own.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from render.gaussians import Gaussians
from render.rigs.frames import triangle_frames
from render.rigs.smplx import JOINT_NAMES as SMPLX_JOINTS
from tests.render.rigs.mock_models import FLAME_PARENTS, SMPLX_PARENTS

Floats = NDArray[np.float64]

# Vertex ranges of the source (its README), of what is kept. The eyes' outer shells carry the iris as paint.
PARTS = {
    "face": (0, 9409),
    "head": (9409, 11248),
    "mouth": (11248, 13294),
    "socket_left": (13294, 13678),
    "socket_right": (13678, 14062),
    "gums": (14062, 17039),
    "upper_teeth": (17039, 19247),
    "lower_teeth": (19247, 21451),
    "eye_left": (21451, 22221),
    "eye_right": (23021, 23791),
}
# How often the mesh of a part is thinned, each time to about a quarter.
_THINNED = {
    **dict.fromkeys(("face", "head", "mouth", "socket_left", "socket_right", "eye_left", "eye_right"), 1),
    **{"upper_teeth": 2, "lower_teeth": 2, "gums": 3},
}
_CM = 0.01
_EYES = {"left": np.array([3.12, 3.60, 7.98]), "right": np.array([-3.12, 3.60, 7.98])}  # cm, fitted spheres
_JAW_MOVERS = ("jawOpen", "jawLeft", "jawRight")  # what the jaw's joint does instead
_NO_EXPRESSION = ("PupilDilate_L", "PupilDilate_R")
_CLOSING_DEVIATION = 0.1  # mouthClose only makes sense with an open jaw: it hardly varies alone
_DEVIATION = 0.35  # of a unit's weight in talking and miming people
_SIDES_TOGETHER = 0.8  # correlation of a unit's left and right


@dataclass(frozen=True)
class Head:
    """ICT's head, thinned: metres, y up, the face looks along +z, x to the subject's left."""

    vertices: Floats  # [V, 3] neutral
    faces: NDArray[np.int64]  # [F, 3]
    part: NDArray[np.str_]  # [V] names of PARTS
    identities: Floats  # [100, V, 3] metres at one standard deviation
    expressions: Floats  # [E, V, 3]
    expression_names: tuple[str, ...]
    landmarks: NDArray[np.int64]  # [68] vertices of Multi-PIE's landmarks

    def expression(self, name: str) -> Floats:
        return self.expressions[self.expression_names.index(name)]


def default_ict() -> Path:
    """Where the source lies in the test data."""
    return Path(os.environ["VISAVIS_TESTDATA"]) / "heads" / "ict_facekit"


def _triangles(quads: NDArray[np.int32]) -> NDArray[np.int64]:
    """Quads [Q, 4], triangles marked by a last corner below 0, as triangles [F, 3]."""
    whole = quads[quads[:, 3] >= 0]
    return np.concatenate([quads[:, :3], whole[:, [0, 2, 3]]]).astype(np.int64)


def _thin(faces: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Representative of every vertex: itself where `kept`, else one of a maximal set of no two neighbours.

    Triangles whose corners have three representatives are the thinned surface (a Voronoi cell's dual).
    """
    neighbours: list[set[int]] = [set() for _ in kept]
    for a, b, c in faces.tolist():
        neighbours[a] |= {b, c}
        neighbours[b] |= {a, c}
        neighbours[c] |= {a, b}
    representative = np.where(kept, np.arange(len(kept)), -1)
    for vertex, near in enumerate(neighbours):
        if representative[vertex] < 0 and near:
            chosen = [n for n in near if representative[n] == n]
            representative[vertex] = min(chosen) if chosen else vertex
    return representative


def _mapped(faces: NDArray[np.int64], representative: NDArray[np.int64]) -> NDArray[np.int64]:
    """The faces between representatives, without those that collapsed or lie twice."""
    faces = representative[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (a != c)]
    _, first = np.unique(np.sort(faces, 1), axis=0, return_index=True)
    return faces[np.sort(first)]


@functools.cache
def read_head(ict: Path) -> Head:
    """ICT's model with the parts of PARTS, thinned away from eyes and lips."""
    with np.load(ict / "ict_facekit_compact.npz", allow_pickle=False) as data:
        neutral = data["neutral"].astype(np.float64)
        quads = data["faces_quad"]
        names = tuple(str(name) for name in data["expression_names"])
        expressions, identities = data["expression_deltas"], data["identity_deltas"]
    landmarks = np.array(json.loads((ict / "vertex_indices.json").read_text())["idx_to_landmark_verts"])
    part = np.full(len(neutral), "", dtype="<U16")
    for name, (start, stop) in PARTS.items():
        part[start:stop] = name
    faces = _triangles(quads)
    faces = faces[(part[faces] != "").all(1)]

    moved = {name: np.linalg.norm(expressions[i].astype(np.float64), axis=1) for i, name in enumerate(names)}
    skin = part == "face"
    lids = skin & (np.maximum(moved["eyeBlink_L"], moved["eyeBlink_R"]) > 0.2)
    lips = skin & (np.linalg.norm((neutral - [0, -3.4, 11.0]) / [3.0, 1.4, 1.8], axis=1) < 1)
    fine = lids | lips
    fine[landmarks] = True
    for level in range(3):
        thinned = np.isin(part, [name for name, times in _THINNED.items() if times > level])
        faces = _mapped(faces, _thin(faces, ~thinned | fine))
    used = np.unique(faces)
    place = np.full(len(neutral), -1)
    place[used] = np.arange(len(used))
    return Head(
        vertices=neutral[used] * _CM,
        faces=place[faces],
        part=part[used],
        identities=identities[:, used].astype(np.float64) * _CM,
        expressions=expressions[:, used].astype(np.float64) * _CM,
        expression_names=names,
        landmarks=place[landmarks],
    )


def _components(directions: Floats, covariance: Floats) -> Floats:
    """Principal components [K, V, 3], each one standard deviation long, of weights with that covariance."""
    root = np.linalg.cholesky(covariance)
    flat = root.T @ directions.reshape(len(directions), -1)
    _, sizes, axes = np.linalg.svd(flat, full_matrices=False)
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return (sizes[:, None] * axes).reshape(directions.shape)


def _shapedirs(head: Head, num_shapes: int = 300, num_expressions: int = 100) -> Floats:
    """[V, 3, S + E]; what ICT's directions do not fill is zero."""
    units = [n for n in head.expression_names if n not in (*_JAW_MOVERS, *_NO_EXPRESSION)]
    deviation = np.array([_CLOSING_DEVIATION if n == "mouthClose" else _DEVIATION for n in units])
    correlation = np.eye(len(units))
    for row, name in enumerate(units):
        if name.endswith("_L"):
            other = units.index(name[:-2] + "_R")
            correlation[row, other] = correlation[other, row] = _SIDES_TOGETHER
    expressions = np.stack([head.expression(n) for n in units])
    parts = []
    for directions, covariance, count in (
        (head.identities, np.eye(len(head.identities)), num_shapes),
        (expressions, correlation * np.outer(deviation, deviation), num_expressions),
    ):
        components = _components(directions, covariance)[:count]
        padding = np.zeros((count - len(components), *components.shape[1:]))
        parts.append(np.concatenate([components, padding]))
    return np.concatenate(parts).transpose(1, 2, 0)


def _jaw(head: Head) -> tuple[Floats, Floats]:
    """The jaw's joint [3] and every vertex's share in its turning [V], from ICT's jawOpen.

    The lower teeth move rigidly; their turn in the plane of y and z has one fixed point, the joint.
    """
    opened = head.expression("jawOpen")
    teeth = head.part == "lower_teeth"
    before, after = head.vertices[teeth], head.vertices[teeth] + opened[teeth]
    turn, _ = Rotation.align_vectors(after - after.mean(0), before - before.mean(0))
    angle = turn.as_rotvec()[0]
    rotation = Rotation.from_rotvec([angle, 0, 0]).as_matrix()
    plane = np.eye(2) - rotation[1:, 1:]
    fixed = np.linalg.solve(plane, (after.mean(0) - rotation @ before.mean(0))[1:])
    joint = np.array([0.0, *fixed])
    rigid = (head.vertices - joint) @ rotation.T + joint - head.vertices
    share = (opened * rigid).sum(1) / np.maximum((rigid**2).sum(1), 1e-8)
    share[teeth] = 1
    return joint, np.clip(share, 0, 1)


def _smoothstep(low: float, high: float, value: Floats) -> Floats:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _regressor(vertices: Floats, near: NDArray[np.bool_], joint: Floats) -> Floats:
    """Weights [V] that give `joint` from the vertices `near`: the most even ones that sum to 1."""
    rows = np.concatenate([vertices[near].T, np.ones((1, near.sum()))])
    weights = np.zeros(len(vertices))
    weights[near] = np.linalg.pinv(rows) @ np.append(joint, 1)
    return weights


def flame_arrays(head: Head) -> dict[str, Any]:
    """The arrays of a FLAME file, as float64 and uint32, under the official names."""
    jaw, jaw_share = _jaw(head)
    y, z = head.vertices[:, 1], head.vertices[:, 2]
    eyes = {side: head.part == f"eye_{side}" for side in _EYES}
    skull = _smoothstep(-0.15, -0.07, y)
    weights = np.stack(
        [(1 - skull) * (1 - jaw_share), skull * (1 - jaw_share), jaw_share, *np.zeros((2, len(y)))], 1
    )
    for column, eye in enumerate(eyes.values(), start=3):
        weights[eye] = np.eye(5)[column]
    # Root at the neck's foot; the neck's joint high between the ears, as FLAME's own regressor has it.
    root, neck = np.array([0, -0.14, -0.02]), np.array([0, 0.010, 0.005])
    head_skin = head.part == "head"
    regressor = np.stack(
        [
            _regressor(head.vertices, head_skin & (y < -0.11), root),
            _regressor(head.vertices, head_skin & (abs(y - neck[1]) < 0.06), neck),
            _regressor(head.vertices, (head.part == "face") & (y < 0.01) & (z < 0.07), jaw),
            *(_regressor(head.vertices, eye, _EYES[side] * _CM) for side, eye in eyes.items()),
        ]
    )
    return {
        "v_template": head.vertices,
        "f": head.faces.astype(np.uint32),
        "shapedirs": _shapedirs(head),
        "posedirs": np.zeros((len(head.vertices), 3, 36)),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *FLAME_PARENTS[1:]], range(5)], np.int64),
    }


# SMPL-X: where the head sits in the body, and its T-pose's other joints, in metres; left ones, x >= 0.
_SMPLX_HEAD = np.array([0.0, 0.36, -0.02])
_SMPLX_JOINTS = {
    "pelvis": (0, -0.35, -0.02),
    "left_hip": (0.06, -0.44, -0.02),
    "spine1": (0, -0.24, -0.04),
    "left_knee": (0.11, -0.82, -0.03),
    "spine2": (0, -0.10, -0.03),
    "left_ankle": (0.09, -1.22, -0.06),
    "spine3": (0, -0.05, -0.02),
    "left_foot": (0.12, -1.28, 0.07),
    "left_collar": (0.05, 0.10, -0.02),
    "left_shoulder": (0.17, 0.12, -0.03),
    "left_elbow": (0.43, 0.10, -0.05),
    "left_wrist": (0.68, 0.10, -0.06),
}
_FINGER_SPREAD = {"index": 0.03, "middle": 0.01, "pinky": -0.03, "ring": -0.01, "thumb": 0.05}
_SMPLX_IN_HEAD = {
    "neck": "root",
    "head": "neck",
    "jaw": "jaw",
    "left_eye": "left_eye",
    "right_eye": "right_eye",
}


def _body_joint(name: str) -> Floats:
    mirror = np.array([-1.0, 1, 1]) if name.startswith("right_") else np.ones(3)
    left = name.replace("right_", "left_")
    if left in _SMPLX_JOINTS:
        return np.array(_SMPLX_JOINTS[left]) * mirror
    finger, knuckle = left.removeprefix("left_")[:-1], int(left[-1])
    wrist = np.array(_SMPLX_JOINTS["left_wrist"])
    return (wrist + np.array([0.07 + 0.03 * knuckle, 0, _FINGER_SPREAD[finger]])) * mirror


def smplx_arrays(head: Head, flame: dict[str, Any]) -> dict[str, Any]:
    """The arrays of an SMPL-X file: FLAME's head, and for a body an octahedron about each of its joints."""
    num_head, num_joints = len(head.vertices), len(SMPLX_JOINTS)
    flame_joints = ("root", "neck", "jaw", "left_eye", "right_eye")
    stumps = [name for name in SMPLX_JOINTS if name not in _SMPLX_IN_HEAD]
    octahedron = 0.02 * np.concatenate([np.eye(3), -np.eye(3)])
    sides = [(0, 1, 2), (1, 3, 2), (3, 4, 2), (4, 0, 2), (1, 0, 5), (3, 1, 5), (4, 3, 5), (0, 4, 5)]
    vertices = [head.vertices + _SMPLX_HEAD]
    faces = [head.faces]
    num_vertices = num_head + 6 * len(stumps)
    regressor, weights = np.zeros((num_joints, num_vertices)), np.zeros((num_vertices, num_joints))
    for place, name in enumerate(stumps):
        start, joint = num_head + 6 * place, SMPLX_JOINTS.index(name)
        vertices.append(_body_joint(name) + octahedron)
        faces.append(np.array(sides) + start)
        regressor[joint, start : start + 6] = 1 / 6
        weights[start : start + 6, joint] = 1
    for name, like in _SMPLX_IN_HEAD.items():
        joint, row = SMPLX_JOINTS.index(name), flame_joints.index(like)
        regressor[joint, :num_head] = flame["J_regressor"][row]
        weights[:num_head, joint] = flame["weights"][:, row]
    # SMPL-X's head joint lies lower than FLAME's neck joint: where the skull sits on the spine.
    low = (head.part == "head") & (abs(head.vertices[:, 1] + 0.03) < 0.05)
    skull = _regressor(head.vertices, low, np.array([0, -0.03, 0.01]))
    regressor[SMPLX_JOINTS.index("head"), :num_head] = skull
    return {
        "v_template": np.concatenate(vertices),
        "f": np.concatenate(faces).astype(np.uint32),
        "shapedirs": np.concatenate([flame["shapedirs"], np.zeros((6 * len(stumps), 3, 400))]),
        "posedirs": np.zeros((num_vertices, 3, (num_joints - 1) * 9), np.float32),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *SMPLX_PARENTS[1:]], range(num_joints)], np.int64),
        **{f"hands_mean{side}": np.zeros(45) for side in "lr"},
        **{f"hands_components{side}": np.eye(45) for side in "lr"},
    }


# The painted face. Colours are albedos in 0..1; every patch of skin is shaded once and keeps its light.
_SKIN, _LIP, _BROW, _LINER = (0.80, 0.60, 0.50), (0.62, 0.28, 0.27), (0.20, 0.13, 0.09), (0.10, 0.07, 0.06)
_HAIR, _NECK_SHADE, _CAVITY, _SOCKET = (0.14, 0.09, 0.06), 0.8, (0.20, 0.05, 0.05), (0.45, 0.22, 0.20)
_SCLERA, _IRIS, _PUPIL = (0.92, 0.90, 0.88), (0.30, 0.22, 0.12), (0.02, 0.02, 0.02)
_TOOTH, _GUM = (0.92, 0.88, 0.80), (0.50, 0.20, 0.20)
_LIGHT = np.array([0.25, 0.55, 0.8]) / np.linalg.norm([0.25, 0.55, 0.8])


def _distance_to_line(points: Floats, line: Floats) -> Floats:
    """Distance of points [N, 3] from a polyline [K, 3]."""
    nearest = np.full(len(points), np.inf)
    for start, end in itertools.pairwise(line):
        along = end - start
        t = np.clip((points - start) @ along / (along @ along), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - start - t[:, None] * along, axis=1))
    return nearest


def _inside(points: Floats, polygon: Floats) -> NDArray[np.bool_]:
    """Whether points [N, 2] lie in a polygon [K, 2]."""
    inside = np.zeros(len(points), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > points[:, 1]) != (by > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (points[:, 0] < ax + (points[:, 1] - ay) * (bx - ax) / (by - ay))
    return inside


def _paint(head: Head, points: Floats, normals: Floats, part: NDArray[np.str_]) -> Floats:
    """Colours [N, 3] of points of the neutral surface; `part` names where each lies."""
    cm, marks = points / _CM, head.vertices[head.landmarks] / _CM
    colours = np.tile(_SKIN, (len(points), 1))
    face, front = part == "face", cm[:, 2] > 6

    def put(where: NDArray[np.bool_], colour: tuple[float, ...]) -> None:
        colours[where] = colour

    cheeks = [np.linalg.norm((cm - [side * 4.3, -0.2, 8.6]) / [2.2, 1.6, 3], axis=1) for side in (-1, 1)]
    blush = np.exp(-(np.minimum(*cheeks) ** 2))[:, None] * face[:, None]
    colours *= 1 - blush * [0.02, 0.10, 0.10]
    hairline = 9.4 - 0.05 * cm[:, 0] ** 2
    behind = (cm[:, 2] < 2.0 - 0.6 * np.clip(-cm[:, 1], 0, 20) * 0.5) & (cm[:, 1] > -6)
    ear = face & (cm[:, 2] < 4.5) & (cm[:, 1] < 4.5)
    skin = face | (part == "head")
    put(skin & ~ear & ((cm[:, 1] > hairline) | behind), _HAIR)
    put(face & _inside(cm[:, :2], marks[48:60, :2]) & (cm[:, 2] > 9), _LIP)
    for brow, inward in ((marks[17:22], 1), (marks[22:27], -1)):
        put(face & front & (_distance_to_line(cm, brow - [0.35 * inward, -0.1, 0]) < 0.33), _BROW)
    for eye in (36, 42):
        upper, lower = marks[eye : eye + 4], marks[[eye, eye + 5, eye + 4, eye + 3]]
        for lid, width in ((upper, 0.17), (lower, 0.08)):
            put(face & front & (_distance_to_line(cm[:, :2], lid[:, :2]) < width), _LINER)
    for nostril in (-0.62, 0.62):
        put(
            face & (np.linalg.norm(cm - [nostril, -0.95, 11.5], axis=1) < 0.45) & (normals[:, 1] < -0.3),
            _CAVITY,
        )
    put(part == "mouth", _CAVITY)
    put(part == "gums", _GUM)
    put((part == "upper_teeth") | (part == "lower_teeth"), _TOOTH)
    for side in _EYES:
        put(part == f"socket_{side}", _SOCKET)
        eye = part == f"eye_{side}"
        off = np.linalg.norm(cm[:, :2] - _EYES[side][:2], axis=1)
        put(eye, _SCLERA)
        put(eye & (cm[:, 2] > _EYES[side][2]) & (off < 0.62), _IRIS)
        put(eye & (cm[:, 2] > _EYES[side][2]) & (off < 0.26), _PUPIL)
    light = 0.55 + 0.5 * np.clip(normals @ _LIGHT, 0, 1)
    light[(part == "mouth") | (part == "gums")] = 0.7
    light[np.char.startswith(part, "eye_")] = 0.95
    light *= np.where(skin, 1 - (1 - _NECK_SHADE) * _smoothstep(7, 10, -cm[:, 1]), 1)
    return np.clip(colours * light[:, None], 0.01, 0.99)


def painted_head(
    head: Head, template: Floats, num_gaussians: int = 45_000
) -> tuple[Gaussians, NDArray[np.int64]]:
    """Gaussians local to the triangles of `head`, and each one's triangle.

    `template` [V, 3] is the model's own rest pose of the head, where the triangles lie.
    """
    rng = np.random.default_rng(0)
    corners = template[head.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1) / 2
    part = head.part[head.faces[:, 0]]
    middle = head.vertices[head.faces].mean(1) / _CM
    detail = np.ones(len(area))
    eyes = np.minimum(*(np.linalg.norm(middle - centre - [0, 0, 1], axis=1) for centre in _EYES.values()))
    mouth = np.linalg.norm((middle - [0, -3.4, 11]) / [3, 1.5, 2.5], axis=1)
    detail[(eyes < 3) | (mouth < 1)] = 6
    detail[np.char.startswith(part, "eye_")] = 5
    detail[(part == "head") & (middle[:, 2] < 3)] = 0.5
    detail[np.char.startswith(part, "socket_") | (part == "gums")] = 1
    share = area * detail / (area * detail).sum() * num_gaussians
    count = np.maximum(np.floor(share + rng.random(len(share))), 1).astype(np.int64)
    face = np.repeat(np.arange(len(count)), count)
    # Even points of a triangle: the R2 sequence, folded; the first sits in the middle.
    number = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    uv = np.mod(1 / 3 + number[:, None] * [0.7548776662, 0.5698402910], 1)
    uv = np.where(uv.sum(1, keepdims=True) > 1, 1 - uv, uv)
    weights = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], 1)

    def at(values: Floats) -> Floats:
        return (weights[:, :, None] * values[head.faces[face]]).sum(1)

    normals = np.zeros_like(template)
    np.add.at(normals, head.faces.ravel(), np.repeat(cross, 3, axis=0))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    colours = _paint(head, at(head.vertices), at(normals), part[face])
    frames = triangle_frames(torch.from_numpy(template), torch.from_numpy(head.faces))
    rotation, scale, centre = (t.numpy()[face] for t in frames)
    local = np.einsum("nij,ni->nj", rotation, at(template) - centre) / scale[:, None]
    spread = 0.75 * np.sqrt(area[face] / count[face])
    thin = np.minimum(0.25 * spread, 0.0004)
    scales = np.stack([spread, thin, spread], 1) / scale[:, None]  # the frame's second axis is the normal
    tensors = {
        "means": local,
        "quats": np.tile([1.0, 0, 0, 0], (len(face), 1)),
        "log_scales": np.log(scales),
        "logit_opacities": np.full(len(face), 3.5),
        "sh": ((colours - 0.5) / 0.28209479177387814)[:, None],
    }
    floats = {name: torch.from_numpy(value).float() for name, value in tensors.items()}
    return Gaussians(**floats, antialiased=False), face


def write_rigged_ply(path: Path, gaussians: Gaussians, face: NDArray[np.int64]) -> None:
    """A .ply as GaussianAvatars saves it: 3DGS columns in triangle axes, and `binding_0`."""
    from plyfile import PlyData, PlyElement

    columns: dict[str, Any] = {}
    for prefix, values in (
        ("", gaussians.means),
        ("f_dc_", gaussians.sh[:, 0]),
        ("scale_", gaussians.log_scales),
        ("rot_", gaussians.quats),
    ):
        for i, column in enumerate(values.T.numpy()):
            columns["xyz"[i] if not prefix else f"{prefix}{i}"] = column
    columns["opacity"] = gaussians.logit_opacities.numpy()
    columns["binding_0"] = face.astype(np.float32)
    rows = np.zeros(len(face), [(name, "f4") for name in columns])
    for name, column in columns.items():
        rows[name] = column
    path.parent.mkdir(parents=True, exist_ok=True)
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(path))


@dataclass(frozen=True)
class ProofFiles:
    """What `write_models` wrote."""

    flame: Path
    flame_ply: Path
    smplx: Path
    smplx_ply: Path
    landmarks: Path


def write_models(folder: Path, ict: Path | None = None) -> ProofFiles:
    """Write every file of this module's docstring into `folder`; the same numbers every time."""
    head = read_head(ict or default_ict())
    files = ProofFiles(
        folder / "flame.npz",
        folder / "flame" / "point_cloud.ply",
        folder / "smplx.npz",
        folder / "smplx" / "point_cloud.ply",
        folder / "landmarks.npz",
    )
    folder.mkdir(parents=True, exist_ok=True)
    flame = flame_arrays(head)
    np.savez(files.flame, **flame)
    write_rigged_ply(files.flame_ply, *painted_head(head, flame["v_template"]))
    smplx = smplx_arrays(head, flame)
    np.savez(files.smplx, **smplx)
    write_rigged_ply(files.smplx_ply, *painted_head(head, smplx["v_template"][: len(head.vertices)]))
    on_face = [int(np.argmax((head.faces == mark).any(1))) for mark in head.landmarks]
    corner = (head.faces[on_face] == head.landmarks[:, None]).astype(np.float64)
    np.savez(files.landmarks, lmk_face_idx=np.array(on_face, np.uint32), lmk_b_coords=corner)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ict", type=Path, help="folder of ict_facekit_compact.npz [in VISAVIS_TESTDATA]")
    args = parser.parse_args()
    for path in vars(write_models(args.output, args.ict)).values():
        print(path)


if __name__ == "__main__":
    main()
