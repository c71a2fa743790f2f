"""Rigs that an avatar file names but does not hold: the built-in head, and models not to be copied."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.rigs.rig import Rig

logger = logging.getLogger(__name__)

FINGERPRINT_MARK = "numbers:"  # what tells a fingerprint of a file's own numbers from one of format version 1


def fingerprint_of(arrays: Mapping[str, NDArray[Any]], names: object) -> str:
    """sha256 of a file's own arrays as float32 or int64, and of what is named beside them.

    Nothing is computed but the rounding to float32, so it is equal on every machine.
    """
    digest = hashlib.sha256(json.dumps(names).encode())
    for name in sorted(arrays):
        array = arrays[name]
        plain = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        digest.update(f"{name}{plain.shape}".encode())
        digest.update(plain.tobytes())
    return FINGERPRINT_MARK + digest.hexdigest()


@dataclass(frozen=True)
class KeptRig:
    """A rig that avatar files name and do not hold."""

    rig: Rig
    fingerprint: str  # of its file's own numbers
    file_hint: str = ""  # name of the model file; empty for the built-in head
    num_shapes: int | None = None  # identity columns, where the user had to say how many the file has
    joint_regressor: Tensor | None = None  # [J, V], where the file's joints come from its vertices
    older_fingerprints: tuple[str, ...] = ()  # that files of format version 1 know it by

    def reference(
        self,
        *,
        shape: Tensor | None = None,
        template_delta: Tensor | None = None,
        joints_delta: Tensor | None = None,
    ) -> RigReference:
        """How a file names this rig with an identity [S] and changes of vertices [V, 3] and joints [J, 3]."""
        return RigReference(
            self.fingerprint, self.file_hint, self.num_shapes, shape, template_delta, joints_delta
        )

    def is_named_by(self, fingerprint: str) -> bool:
        """Whether a file that holds `fingerprint` means this rig, as far as this machine can tell.

        Version 1 hashed joints that were computed, whose last bits differ between processors: for a model
        file such a fingerprint can prove that it is the one and never that it is another, which is logged.
        """
        if fingerprint in (self.fingerprint, *self.older_fingerprints):
            return True
        if fingerprint.startswith(FINGERPRINT_MARK):
            return False
        if fingerprint == self.rig.fingerprint():
            return True
        if self.joint_regressor is None:
            return False
        logger.warning(
            "%s is taken for the avatar's by its name alone: fingerprints of format version 1 can be checked "
            "only on a processor like the one they were made on; import the avatar again",
            self.file_hint,
        )
        return True


@dataclass(frozen=True)
class RigReference:
    """How to make an avatar's rig again from a rig that is kept elsewhere, checked by its fingerprint."""

    fingerprint: str  # of the kept rig, before anything below
    file_hint: str = ""  # name of the model file; empty for the built-in head
    num_shapes: int | None = None  # identity columns of a file whose layout is not a known one
    shape: Tensor | None = None  # [S] identity weights to bake
    template_delta: Tensor | None = None  # [V, 3] metres, added after the identity
    joints_delta: Tensor | None = None  # [J, 3] metres, likewise

    def rebuild(self, base: Rig) -> Rig:
        """The avatar's rig from the referenced one. Raises ValueError when shapes do not fit."""
        rig = base
        if base.shape_basis is not None:
            rig = base.with_shape(
                base.template.new_zeros(base.num_shapes) if self.shape is None else self.shape
            )
        elif self.shape is not None:
            raise ValueError("identity weights for a rig without identity modes")
        if self.template_delta is not None:
            if self.template_delta.shape != rig.template.shape:
                raise ValueError(
                    f"vertex changes {tuple(self.template_delta.shape)} for {rig.num_vertices} vertices"
                )
            rig = replace(rig, template=rig.template + self.template_delta)
        if self.joints_delta is not None:
            if self.joints_delta.shape != rig.joints_template.shape:
                raise ValueError(
                    f"joint changes {tuple(self.joints_delta.shape)} for {rig.num_joints} joints"
                )
            rig = replace(rig, joints_template=rig.joints_template + self.joints_delta)
        return rig

    def to(self, device: torch.device | str) -> RigReference:
        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            shape=moved(self.shape),
            template_delta=moved(self.template_delta),
            joints_delta=moved(self.joints_delta),
        )
