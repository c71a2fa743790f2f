"""What machine the figures are of."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from render.cpu.renderer import usable_cores


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, system, and how busy the machine is."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        cpu = named[0] if named else cpu
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {"cpu": cpu, "cores": usable_cores(), "system": platform.system(), "load_1min": load}
