"""What ARKit's units mean on a rig of other units: measured once per avatar, kept in its file.

`tracking.calibration` measures it. With it, motions in ARKit's names (most of what there is) play on an
avatar of a face model's components, and the other way about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PREFIX = "unit_meanings."


@dataclass(frozen=True)
class UnitMeanings:
    """Linear translations between a rig's U units and A of ARKit's."""

    arkit_names: tuple[str, ...]
    of_arkit: NDArray[np.float32]  # [A, U] weights of the rig's units per weight of ARKit's
    in_arkit: NDArray[np.float32]  # [2, U, A] the reverse, of weights above zero and of weights below

    def extras(self) -> dict[str, Tensor]:
        """The arrays as `Avatar.extras` keeps them."""
        return {
            _PREFIX + "of_arkit": torch.from_numpy(self.of_arkit).half(),
            _PREFIX + "in_arkit": torch.from_numpy(self.in_arkit).half(),
        }

    def extras_meta(self) -> dict[str, Any]:
        """The notes as `Avatar.extras_meta` keeps them."""
        return {_PREFIX + "arkit_names": list(self.arkit_names)}

    @classmethod
    def from_extras(
        cls, extras: Mapping[str, Tensor], meta: Mapping[str, Any], num_units: int
    ) -> UnitMeanings | None:
        """What an avatar carries; None when it has none, or one of another rig."""
        names = tuple(str(name) for name in meta.get(_PREFIX + "arkit_names", ()))
        found = [extras.get(_PREFIX + key) for key in ("of_arkit", "in_arkit")]
        shapes = [(len(names), num_units), (2, num_units, len(names))]
        if any(t is None or tuple(t.shape) != s for t, s in zip(found, shapes, strict=True)):
            return None
        of_arkit, in_arkit = (t.float().numpy() for t in found if t is not None)
        return cls(names, of_arkit, in_arkit)


def translation(
    names: tuple[str, ...], rig_names: Sequence[str], meanings: UnitMeanings | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The matrix [U', U] from weights of units `names` to the rig's, and the units without a counterpart."""
    matrix, lost = np.zeros((len(names), len(rig_names)), np.float32), []
    for row, name in enumerate(names):
        if name in rig_names:
            matrix[row, rig_names.index(name)] = 1
        elif meanings is not None and name in meanings.arkit_names:
            matrix[row] = meanings.of_arkit[meanings.arkit_names.index(name)]
        else:
            lost.append(name)
    return matrix, tuple(lost)
