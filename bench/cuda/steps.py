"""The steps of bench.gpu_session: each runs processes and judges what they found."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LEAST_S = 15.0  # a step is not begun with less time left
START_S = 10.0  # what issue 4 allows a start whose kernels are in the cache
GROWTH_MB = 2.0  # the driver gives memory out in blocks of 2 MB
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")  # compute-sanitizer's
TRAIN_MINUTES = 5.0  # what issue 5 gives 512x512 on an H200,
TRAIN_DB = 29.0  # and what it aims at
LOG_CHARS = 4000  # of a failed step's output


@dataclass(frozen=True)
class Outcome:
    """What a step found; `lines` are for people and begin with "ok", "FAIL" or "-"."""

    status: str  # "ok", "failed" or "unmeasured"
    lines: tuple[str, ...]
    result: Mapping[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True)
class Finished:
    """A process that ended or was ended."""

    code: int | None  # None: it ran past its limit
    out: str
    err: str
    seconds: float


Run = Callable[[Sequence[str], float, Mapping[str, str]], Finished]


def run_process(command: Sequence[str], limit_s: float, extra: Mapping[str, str]) -> Finished:
    """Run from the repository's root with its packages importable; ended with its children at the limit."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **extra}
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, stdout=out, stderr=err, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
        out.seek(0)
        err.seek(0)
        return Finished(code, out.read(), err.read(), time.monotonic() - start)


def last_json(out: str) -> dict[str, Any] | None:
    """The JSON object of the last line that is one."""
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            try:
                found: dict[str, Any] = json.loads(line)
            except json.JSONDecodeError:
                continue
            return found
    return None


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _broken(what: str, finished: Finished) -> Outcome:
    why = "ran past its time" if finished.code is None else f"exit code {finished.code}"
    log = (finished.err + finished.out)[-LOG_CHARS:]
    return Outcome("failed", (f"FAIL {what}: {why}",), {"code": finished.code, "log": log})


def start_step(run: Run, limit_s: float) -> Outcome:
    """Fresh processes, the kernels first compiled, then taken from the cache."""
    with tempfile.TemporaryDirectory() as cache:
        seconds = []
        for _ in range(2):
            finished = run(
                _python("bench.cuda.frames", "--frames", "1"), limit_s / 2, {"XDG_CACHE_HOME": cache}
            )
            if finished.code != 0:
                return _broken("start", finished)
            seconds.append(round(finished.seconds, 2))
    cold, warm = seconds
    enough = warm < START_S
    line = f"a process that draws every kind: {warm:g} s (asked: {START_S:g}), {cold:g} s with compiling"
    return Outcome("ok" if enough else "failed", (_mark(enough, line),), {"cold_s": cold, "warm_s": warm})


def gpu_test_files() -> list[str]:
    """The test files that hold tests of marker `gpu`."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if "mark.gpu" in path.read_text()]


def tests_step(run: Run, limit_s: float) -> Outcome:
    """Each file by itself, so that one that lacks a package costs only its own tests."""
    lines: list[str] = []
    results: dict[str, dict[str, Any]] = {}
    left_s = limit_s
    failed = False
    for file in gpu_test_files():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "junit.xml"
            finished = run(
                _python("pytest", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}", file),
                left_s,
                {},
            )
            counts = _counts(report)
        left_s = max(LEAST_S, left_s - finished.seconds)
        good = finished.code in (0, 5) and counts["passed"] > 0
        missing = "ModuleNotFoundError" in finished.out and not counts["failures"]
        failed |= not good and not missing and counts["skipped"] == 0
        shown = ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "nothing ran"
        lines.append(
            f"{'ok  ' if good else '-   ' if missing or counts['skipped'] else 'FAIL'} {file}: {shown}"
        )
        results[file] = {**counts, "code": finished.code}
        if not good:
            results[file]["log"] = finished.out[-LOG_CHARS:]
    passed = sum(counts["passed"] for counts in results.values())
    status = "failed" if failed else "ok" if passed else "unmeasured"
    return Outcome(status, tuple(lines), results)


def _counts(report: Path) -> dict[str, int]:
    names = ("passed", "failures", "errors", "skipped")
    if not report.exists():
        return dict.fromkeys(names, 0)
    suites = list(xml.etree.ElementTree.parse(report).getroot().iter("testsuite"))
    counts = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in names[1:]}
    total = sum(int(suite.get("tests", 0)) for suite in suites)
    return {"passed": total - sum(counts.values()), **counts}


def sanitizer_step(run: Run, limit_s: float) -> Outcome:
    """compute-sanitizer's four tools over a few small frames of every kind."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        return Outcome("unmeasured", ("-    compute-sanitizer is not on the PATH",), {})
    lines: list[str] = []
    results: dict[str, dict[str, Any]] = {}
    for tool in TOOLS:
        command = [sanitizer, "--tool", tool, "--error-exitcode", "9"]
        finished = run([*command, *_python("bench.cuda.frames", "--frames", "1")], limit_s / len(TOOLS), {})
        summary = [line for line in (finished.out + finished.err).splitlines() if "SUMMARY" in line]
        said = summary[-1].strip("= ") if summary else "no summary"
        lines.append(_mark(finished.code == 0, f"{tool}: {said}"))
        results[tool] = {"code": finished.code, "summary": said}
        if finished.code != 0:
            results[tool]["log"] = (finished.out + finished.err)[-LOG_CHARS:]
    good = all(result["code"] == 0 for result in results.values())
    return Outcome("ok" if good else "failed", tuple(lines), results)


BUILD_GSPLAT = """
import json, sys, time
from render.gsplat.kernels import GsplatError, gsplat_refusal, load_gsplat
reason = gsplat_refusal()
if reason is None:
    start = time.perf_counter()
    try:
        load_gsplat()
    except GsplatError as error:
        sys.exit(str(error))
    print(json.dumps({"seconds": round(time.perf_counter() - start, 1)}))
else:
    print(json.dumps({"reason": reason}))
"""


def gsplat_step(run: Run, limit_s: float) -> Outcome:
    """Builds gsplat's kernels where gsplat is there; tests and the speed step then compare with it."""
    finished = run([sys.executable, "-c", BUILD_GSPLAT], limit_s, {})
    found = last_json(finished.out)
    if finished.code != 0 or found is None:
        return _broken("gsplat's kernels", finished)
    if "reason" in found:
        return Outcome("unmeasured", (f"-    no comparison with gsplat: {found['reason']}",), found)
    return Outcome("ok", (f"ok   gsplat's kernels are there after {found['seconds']:g} s",), found)


def speed_step(run: Run, limit_s: float) -> Outcome:
    """`bench.render_cuda`, all of it."""
    finished = run(_python("bench.render_cuda"), limit_s, {})
    result = last_json(finished.out)
    if finished.code != 0 or result is None:
        return _broken("speed", finished)
    from bench.render_cuda import table, verdicts

    judged = verdicts(result)
    good = not any(line.startswith("FAIL") for line in judged)
    return Outcome("ok" if good else "failed", tuple(table(result).splitlines()), result)


def memory_step(run: Run, limit_s: float, minutes: float) -> Outcome:
    """Many minutes of frames, with new graphs now and then."""
    minutes = min(minutes, (limit_s - LEAST_S) / 60)
    finished = run(_python("bench.cuda.frames", "--minutes", f"{minutes:.2f}"), limit_s, {})
    result = last_json(finished.out)
    if finished.code != 0 or result is None:
        return _broken("memory", finished)
    good = result["growth_mb"] <= GROWTH_MB
    line = (
        f"{result['frames']:,} frames, {result['captures']} graphs in {result['seconds'] / 60:.1f} minutes: "
        f"device memory grew by {result['growth_mb']:g} MB (asked for 30 minutes and none)"
    )
    return Outcome("ok" if good else "failed", (_mark(good, line),), result)


def train_step(run: Run, limit_s: float) -> Outcome:
    """`bench.train_gpu`: SAGE for five minutes by `visavis train sage`, measured on held-out pictures."""
    missing = [name for name in ("gsplat", "torchmetrics", "cv2", "av", "rich") if not _is_there(name)]
    if missing:
        return Outcome("unmeasured", (f"-    training: missing are {', '.join(missing)}",), {})
    finished = run(_python("bench.train_gpu", "--minutes", f"{TRAIN_MINUTES:g}"), limit_s, {})
    result = last_json(finished.out)
    if finished.code != 0 or result is None:
        return _broken("training", finished)
    played = result["played"]
    steps = ", ".join(f"{name} {count['done']}" for name, count in result["steps"].items())
    line = (
        f"{result['data']} {result['dataset']}, {TRAIN_MINUTES:g} minutes: held-out person as played "
        f"PSNR {played['masked_psnr']:.2f} dB (asked: {TRAIN_DB:g}), SSIM {played['masked_ssim']:.3f}, "
        f"{result['measured_views']} pictures; steps: {steps}"
    )
    late = f"ended after {result['wall_s'] / 60:.1f} minutes, set up in {result['seconds']['load']:g} s"
    on_time = result["wall_s"] <= 60 * TRAIN_MINUTES + LEAST_S
    good = played["masked_psnr"] >= TRAIN_DB
    status = "ok" if good and on_time else "failed"
    return Outcome(status, (_mark(good, line), _mark(on_time, late)), result)


NVENC = """
import json
import numpy as np
from time import perf_counter
from transport.webrtc.nvenc import NvencEncoder, nvenc_refusal
reason = nvenc_refusal(512, 512)
if reason is not None:
    print(json.dumps({"reason": reason}))
else:
    encoder = NvencEncoder(512, 512, fps=30, bitrate=1_500_000, max_bitrate=1_500_000)
    pictures = np.random.default_rng(0).integers(60, 180, (8, 768, 512)).astype(np.uint8)
    times = []
    for i in range(300):
        start = perf_counter()
        encoder.encode(pictures[i % 8], 3000 * i, i == 0, 0)
        times.append((perf_counter() - start) * 1e3)
    print(json.dumps({"p50_ms": float(np.median(times)), "p99_ms": float(np.percentile(times, 99))}))
"""


def nvenc_step(run: Run, limit_s: float) -> Outcome:
    """Whether the card encodes H.264 as the stream needs it, and how long a picture takes."""
    if importlib.util.find_spec("av") is None:
        return Outcome("unmeasured", ("-    hardware encoding: the package av is missing",), {})
    finished = run([sys.executable, "-c", NVENC], limit_s, {})
    found = last_json(finished.out)
    if finished.code != 0 or found is None:
        return _broken("hardware encoding", finished)
    if "reason" in found:
        return Outcome("ok", (f"ok   encoding stays on the processor: {found['reason']}",), found)
    line = f"ok   h264_nvenc, 512x512: {found['p50_ms']:.2f} ms p50, {found['p99_ms']:.2f} ms p99"
    return Outcome("ok", (line,), found)


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _mark(good: bool, line: str) -> str:
    return f"{'ok  ' if good else 'FAIL'} {line}"


# In this order; seconds that each may take.
STEPS: dict[str, tuple[Callable[[Run, float], Outcome], float]] = {
    "start": (start_step, 180),
    "gsplat": (gsplat_step, 540),  # before the tests, some of which would build its kernels
    "tests": (tests_step, 300),
    "sanitizer": (sanitizer_step, 400),
    "speed": (speed_step, 540),
    "nvenc": (nvenc_step, 60),
    "train": (train_step, 540),
}
