"""Deformations in an avatar file: what its header says of them, and their arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from render.avatars.reader import ArrayReader
from render.avatars.writer import ArrayWriter, compact_lengths
from render.deformations.coefficients import MAX_LAYERS, Coefficients
from render.deformations.condition import Condition
from render.deformations.deformation import Deformation
from render.gaussians import Gaussians
from render.rigs.rig import Rig


def write_deformation(
    writer: ArrayWriter, deformation: Deformation | None, gaussians: Gaussians
) -> dict[str, Any] | None:
    """Its arrays into the file; its part of the header back.

    What version 1 of the format knows is written as it has it: "linear", clamped, of the expression alone.
    """
    d = deformation
    if d is None:
        return None
    writer.indices("deformation.indices", d.indices)
    deltas = d.deltas()
    if writer.compact and d.d_quats is not None:  # they are added to quaternions of the length that is stored
        deltas["d_quats"] = d.d_quats / compact_lengths(gaussians.quats[d.indices])
    for name, delta in deltas.items():
        writer.floats(f"deformation.{name}", delta, 8, "scaled")
    c = d.coefficients
    if c.clamped and d.condition == Condition() and d.d_quats is None:
        writer.exact("deformation.drivers", c.weights[0])
        writer.exact("deformation.offset", c.biases[0])
        return {"kind": "linear", "deltas": list(deltas)}
    for layer, (weights, bias) in enumerate(zip(c.weights, c.biases, strict=True)):
        writer.exact(f"deformation.weights.{layer}", weights)
        writer.exact(f"deformation.biases.{layer}", bias)
    return {
        "kind": "layers",
        "layers": len(c.weights),
        "clamped": c.clamped,
        "joint_units": d.condition.joint_units,
        "head_pose": d.condition.head_pose,
        "controls": list(d.condition.controls),
        "deltas": list(deltas),
    }


def read_deformation(
    reader: ArrayReader, entry: Mapping[str, Any] | None, gaussians: Gaussians, rig: Rig
) -> Deformation | None:
    """The inverse. Raises ValueError, KeyError or TypeError for what is no deformation of these Gaussians."""
    if entry is None:
        return None
    condition = Condition()
    if entry["kind"] == "linear":
        drivers = reader.floats("deformation.drivers", (rig.num_expressions, None))
        offset = reader.floats("deformation.offset", (drivers.shape[1],))
        coefficients = Coefficients.linear(drivers, offset)
    elif entry["kind"] == "layers":
        num = int(entry["layers"])
        if not 1 <= num <= MAX_LAYERS:
            raise ValueError(f"a deformation of {num} layers, needed 1 to {MAX_LAYERS}")
        controls = tuple(str(name) for name in entry["controls"])
        condition = Condition(bool(entry["joint_units"]), bool(entry["head_pose"]), controls)
        weights = tuple(reader.floats(f"deformation.weights.{layer}", (None, None)) for layer in range(num))
        biases = tuple(reader.floats(f"deformation.biases.{layer}", (None,)) for layer in range(num))
        coefficients = Coefficients(weights, biases, bool(entry["clamped"]))
    else:
        raise ValueError(f"unknown deformation {entry['kind']!r}")
    indices = reader.indices("deformation.indices", (None,), below=gaussians.num_gaussians)
    shapes = Deformation.shapes(gaussians, coefficients.num_outputs, len(indices))
    deltas = {name: reader.floats(f"deformation.{name}", shapes[name]) for name in entry["deltas"]}
    return Deformation(coefficients, indices, condition, **deltas)
