"""The process that runs path_tracer.py, or a script that builds on it, in a Python that has Blender."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

VARIABLE = "VISAVIS_BLENDER"
SCRIPT = Path(__file__).with_name("path_tracer.py")
# All that the process runs.
SCRIPTS = (SCRIPT, SCRIPT.with_name("dry_shaders.py"), SCRIPT.with_name("wet_shaders.py"))
_NICENESS = 10


class BlenderError(RuntimeError):
    """Blender's Python is not there, or its process ended."""


class Blender:
    """A running process. Raises BlenderError where it cannot start.

    `python` is an interpreter that has `bpy` (Blender 4.5 as a package needs Python 3.11); without one that
    of VISAVIS_BLENDER, or the present one. `script` is what it runs.
    """

    def __init__(self, python: Path | None = None, script: Path = SCRIPT) -> None:
        chosen = str(python or os.environ.get(VARIABLE) or sys.executable)
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (a pipe nobody reads would fill)
        nice = ["nice", "-n", str(_NICENESS)] if os.name == "posix" else []
        # -P: beside the script lie files whose names are also Blender's.
        command = [*nice, chosen, "-P", str(script)]
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, env=variables
            )
        except OSError as error:
            raise BlenderError(_missing(chosen, str(error))) from None
        if not self._answer().startswith("blender"):
            raise BlenderError(_missing(chosen, self._last_words()))

    def ask(self, message: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Have something done; raises BlenderError when the process ends over it."""
        packed = io.BytesIO()
        named: dict[str, Any] = {"json": np.array(json.dumps(message)), **arrays}
        np.savez(packed, **named)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(struct.pack("<q", packed.getbuffer().nbytes))
            self._process.stdin.write(packed.getbuffer())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words say more
        if self._answer() != "done":
            raise BlenderError(f"Blender stopped: {self._last_words()}")

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._words.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        self._words.close()
        return lines[-1] if lines else "without a word"


def _missing(python: str, why: str) -> str:
    return (
        f"{python} cannot run Blender ({why}): pip install bpy==4.5.15 in a Python 3.11 environment and "
        f"pass --blender ITS_PYTHON or set {VARIABLE}, see docs/people.md"
    )
