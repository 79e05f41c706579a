"""What a measurement is, and the machine it was taken on."""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

PACKAGES = ("numpy", "numba", "scipy", "open3d-cpu", "torch", "transformers", "zarr", "pgeof")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    item: what ``--only`` names. name: what was measured. size: of the input, in words. seconds: median of ``runs``
    runs, None where time is not what is measured. value and unit: the figure, a throughput mostly. baseline: what it
    stands beside, in words, measured in the same run on the same input; baseline_value in the same unit; ratio =
    value / baseline_value. wanted: the time aimed at, seconds.
    """

    item: str
    name: str
    size: str
    seconds: float | None
    runs: int
    value: float
    unit: str
    baseline: str
    baseline_value: float
    wanted: float | None = None

    @property
    def ratio(self) -> float:
        return self.value / self.baseline_value


def timed(call: Callable[[], object], runs: int, warm: bool = True) -> float:
    """Median seconds of ``runs`` calls, after one that is not counted if ``warm``."""
    if warm:
        call()
    return median(_seconds(call) for _ in range(runs))


def timed_in_turn(calls: list[Callable[[], object]], runs: int, warm: bool = True) -> list[float]:
    """Median seconds of each call, warmed up if ``warm``; they take turns, so that another program's load falls on all
    alike."""
    for call in calls if warm else ():
        call()
    rounds = [[_seconds(call) for call in calls] for _ in range(runs)]
    return [median(column) for column in zip(*rounds, strict=True)]


def machine() -> dict[str, str | int | float]:
    """Where and when: cores, CPU, load before the start, versions, date (UTC)."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "cpu": _cpu(),
        "system": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def forget_peak() -> None:
    """Makes what is in use now the peak, where the system can: loading libraries took more for a moment."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Most memory ever in use, MB. Linux' VmHWM, as getrusage does not forget."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
