"""The `.avatar` file: one safetensors file whose metadata holds a JSON header. Nothing in it is ever run.

Arrays are named by their place:
  gaussians.means, .quats, .log_scales, .logit_opacities, .sh     as in render/gaussians.py
  binding.<i>.face_index | .vertex_index | .weights, .expression_basis
  deformation.drivers, .offset, .indices, .d_means, .d_log_scales, .d_logit_opacities, .d_sh0
  rig.template, .faces, ...                                       an embedded rig, as in render/rigs/rig.py
  rig.shape, .template_delta, .joints_delta                       one kept elsewhere, render/rigs/reference.py
  extras.<name>                                                   of other parts, such as the tracker
Indices are stored in the smallest unsigned type that holds them. Compact storage keeps the encodings in the
header, and a signature (`render/avatars/signature.py`) lies there too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.avatars.avatar import Avatar, AvatarInfo
from render.avatars.bindings import Binding, SkinningBinding, TriangleBinding, VertexBinding
from render.avatars.framing import Framing
from render.avatars.quantise import Loss
from render.avatars.reader import FORMAT, AvatarReader
from render.avatars.signature import FIELD, Signature, check_signature, sign
from render.avatars.writer import ArrayWriter, compact_lengths
from render.deformations.storage import read_deformation, write_deformation
from render.errors import AvatarError, SignatureError
from render.gaussians import Gaussians
from render.rigs.reference import FINGERPRINT_MARK
from render.rigs.rig import Rig
from render.rigs.storage import read_rig, write_rig
from render.whole_file import whole_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_LOGIT_LIMIT = 7.0  # compact opacities stay within 0.001..0.999, so that 8 bits suffice


def save_avatar(avatar: Avatar, path: Path | str, *, compact: bool = False) -> dict[str, Loss]:
    """Write `avatar`; the file appears whole or not at all.

    `compact` stores means, blendshapes and weights in 16 bits, the rest in 8, and returns what that changed,
    by array. Without it the round trip is exact and the result is empty.
    Raises AvatarError when the rig may not be embedded, a value is not finite, or the file cannot be written.
    """
    from safetensors.numpy import save

    writer = ArrayWriter(compact)
    header: dict[str, Any] = {
        "format": FORMAT,
        "info": asdict(avatar.info),
        "rig": write_rig(writer, avatar.rig, avatar.rig_reference),
        "bindings": [_write_binding(writer, i, b) for i, b in enumerate(avatar.bindings)],
        "sh_degree": avatar.gaussians.sh_degree,
        "surfels": avatar.gaussians.is_surfel,
        "antialiased": avatar.gaussians.antialiased,
        "deformation": write_deformation(writer, avatar.deformation, avatar.gaussians),
        "framing": None if avatar.framing is None else asdict(avatar.framing),
        "extras": sorted(avatar.extras),
        "extras_meta": dict(avatar.extras_meta),
    }
    _write_gaussians(writer, avatar)
    for name, tensor in avatar.extras.items():
        writer.exact(f"extras.{name}", tensor)
    header["encodings"] = writer.encodings
    # The oldest version that has what is needed, for the oldest programs.
    plain = header["deformation"] is None or header["deformation"]["kind"] == "linear"
    numbers = header["rig"].get("fingerprint", "").startswith(FINGERPRINT_MARK)
    header["version"] = 1 if plain and not numbers else 2
    try:
        text = json.dumps(header, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AvatarError(f"the avatar's notes cannot be written as JSON: {error}") from error
    # One key only: the library writes several in a random order, and equal avatars make equal files.
    # Bytes, because files it writes itself are readable by their owner alone.
    data = save(writer.arrays, {"avatar": text})
    write_atomically(Path(path), lambda temporary: Path(temporary).write_bytes(data))
    return writer.losses


def load_avatar(path: Path | str, *, models_dir: Path | None = None) -> Avatar:
    """Read an avatar; a rig kept elsewhere is looked for in `models_dir` or VISAVIS_MODELS.

    Raises AvatarError, with one line that names the file, for anything that is not a whole, valid avatar.
    """
    path = Path(path)
    with AvatarReader(path) as reader:
        header = reader.header
        rig, reference = read_rig(reader, header["rig"], models_dir=models_dir)
        gaussians = _read_gaussians(reader, header)
        bindings = [_read_binding(reader, i, entry, rig) for i, entry in enumerate(header["bindings"])]
        return Avatar(
            info=AvatarInfo(**{str(k): str(v) for k, v in header["info"].items()}),
            rig=rig,
            bindings=tuple(bindings),
            gaussians=gaussians,
            deformation=read_deformation(reader, header["deformation"], gaussians, rig),
            rig_reference=reference,
            framing=_read_framing(header["framing"]),
            extras={str(name): reader.any(f"extras.{name}") for name in header["extras"]},
            extras_meta=dict(header["extras_meta"]),
            signature=check_signature(header, reader.arrays()),
        )


def sign_avatar(
    path: Path | str, output: Path | str, key: Ed25519PrivateKey, signer: str, *, copies: bool = True
) -> Signature:
    """Write the file `path` with a signature over what it holds to `output`, which may be itself.

    `copies` says whether other machines may have the file. Raises AvatarError where it is no avatar, or does
    not say who agreed to it, and ValueError for a name that is none.
    """
    from safetensors.numpy import save

    with contextlib.suppress(SignatureError):  # whoever signs vouches for the file as it is now
        load_avatar(path)
    with AvatarReader(Path(path)) as reader:
        header, arrays = dict(reader.header), dict(reader.arrays())
        if not str(header["info"].get("consent", "")).strip():
            raise AvatarError("it does not say who agreed to it; give --consent to import or train")
        signature = sign(header, arrays.items(), key, signer, copies=copies)
    header[FIELD] = asdict(signature)
    data = save(arrays, {"avatar": json.dumps(header, sort_keys=True)})
    write_atomically(Path(output), lambda temporary: Path(temporary).write_bytes(data))
    return signature


def write_atomically(path: Path, write: Callable[[str], object]) -> None:
    """Call `write(temporary path)` beside `path`, then rename; nothing is left behind when it fails.

    Raises AvatarError when the folder or the disk refuses.
    """
    try:
        with whole_file(path) as temporary:
            write(str(temporary))
    except OSError as error:
        raise AvatarError(
            f"cannot write {path}: {error.strerror or error}; choose another place with -o"
        ) from error


def _write_gaussians(writer: ArrayWriter, avatar: Avatar) -> None:
    g, runs = avatar.gaussians, [b.num_gaussians for b in avatar.bindings]
    quats, logits = g.quats, g.logit_opacities
    if writer.compact:
        quats = quats / compact_lengths(quats)
        logits = logits.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
    writer.floats("gaussians.means", g.means, 16, "box", runs)
    writer.floats("gaussians.quats", quats, 8, "box")
    writer.floats("gaussians.log_scales", g.log_scales, 8, "box", runs)
    writer.floats("gaussians.logit_opacities", logits, 8, "box")
    writer.floats("gaussians.sh", g.sh, 8, "box", runs)


def _read_gaussians(reader: AvatarReader, header: Mapping[str, Any]) -> Gaussians:
    sh_degree, axes = int(header["sh_degree"]), 2 if header["surfels"] else 3
    if not 0 <= sh_degree <= 3:
        raise ValueError(f"SH degree {sh_degree}, needed 0 to 3")
    means = reader.floats("gaussians.means", (None, 3))
    n = means.shape[0]
    return Gaussians(
        means=means,
        quats=reader.floats("gaussians.quats", (n, 4)),
        log_scales=reader.floats("gaussians.log_scales", (n, axes)),
        logit_opacities=reader.floats("gaussians.logit_opacities", (n,)),
        sh=reader.floats("gaussians.sh", (n, (sh_degree + 1) ** 2, 3)),
        antialiased=bool(header["antialiased"]),
    )


def _write_binding(writer: ArrayWriter, number: int, binding: Binding) -> dict[str, Any]:
    prefix = f"binding.{number}"
    if isinstance(binding, TriangleBinding):
        writer.indices(f"{prefix}.face_index", binding.face_index)
        return {"kind": "triangle"}
    if isinstance(binding, VertexBinding):
        writer.indices(f"{prefix}.vertex_index", binding.vertex_index)
        return {"kind": "vertex", "rotates": binding.rotates}
    writer.floats(f"{prefix}.weights", binding.weights, 16, "box")
    writer.floats(f"{prefix}.expression_basis", binding.expression_basis, 16, "scaled")
    return {"kind": "skinning", "expressions": binding.expression_basis is not None}


def _read_binding(reader: AvatarReader, number: int, entry: Mapping[str, Any], rig: Rig) -> Binding:
    prefix, kind = f"binding.{number}", entry["kind"]
    if kind == "triangle":
        return TriangleBinding(reader.indices(f"{prefix}.face_index", (None,), below=rig.faces.shape[0]))
    if kind == "vertex":
        index = reader.indices(f"{prefix}.vertex_index", (None,), below=rig.num_vertices)
        return VertexBinding(index, rotates=bool(entry["rotates"]))
    if kind != "skinning":
        raise ValueError(f"unknown binding {kind!r}")
    weights = reader.weights(f"{prefix}.weights", (None, rig.num_joints))
    basis = None
    if entry["expressions"]:
        basis = reader.floats(f"{prefix}.expression_basis", (rig.num_expressions, weights.shape[0] * 3))
    return SkinningBinding(weights, basis)


def _read_framing(entry: Mapping[str, Any] | None) -> Framing | None:
    if entry is None:
        return None
    x, y, z = (float(v) for v in entry["target"])
    distance, fov = float(entry["distance_m"]), float(entry["vertical_fov_deg"])
    if not (0 < distance < 1e6 and 0 < fov < 180 and all(abs(v) < 1e6 for v in (x, y, z))):
        raise ValueError(f"a view at {distance} m with {fov} degrees is no view")
    return Framing((x, y, z), distance, fov)
