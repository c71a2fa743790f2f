"""A trained network in one safetensors file, with the method and the settings that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from engine.errors import UsageError
from engine.train.loop.distributed import Ranks
from render.avatars.file import write_atomically

_FORMAT = "visavis network 1"


@dataclass(frozen=True)
class StoredNetwork:
    method: str
    config: dict[str, Any]  # the method's settings by dotted key
    provenance: str
    tensors: dict[str, Tensor]


def save_network(
    path: Path, method: str, config: Mapping[str, Any], provenance: str, network: nn.Module, ranks: Ranks
) -> None:
    """Write the whole network; every rank takes part, the first one writes."""
    from safetensors.torch import save_file

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    tensors = get_model_state_dict(network, options=options)
    if ranks.first:
        head = {"format": _FORMAT, "method": method, "config": json.dumps(config), "provenance": provenance}
        whole = {name: value.contiguous() for name, value in tensors.items() if isinstance(value, Tensor)}
        write_atomically(path, lambda temporary: save_file(whole, temporary, head))


def load_network(path: Path, method: str) -> StoredNetwork:
    """Raises UsageError when the file is missing, damaged, or of another method."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            head = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if head.get("format") != _FORMAT:
        raise UsageError(f"{path} is not a network that `visavis train {method} fit` made")
    if head["method"] != method:
        raise UsageError(f"{path} is of the method {head['method']}, not {method}")
    return StoredNetwork(method, json.loads(head["config"]), head["provenance"], tensors)
