"""The learned 2D engines in their published sizes with random weights, and the stage's memory over long recordings."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from benchmarks.random_models import Architecture, architectures
from tests.tiny_models import save_tiny

_INPUT = {
    "boxes": "a frame 640x480, 8 phrases, 1 pass",
    "masks": "a frame 640x480, 20 boxes",
    "concepts": "a frame 640x480, 8 phrases",
}


def segmentation_rows(quick: bool) -> list[Row]:
    """Seconds and peak memory a network takes for a frame, on the CPU and, where there is one, on the GPU."""
    import torch

    tiny = Architecture("a tiny SAM", "masks", lambda folder: _tiny("sam", folder))
    chosen = [tiny] if quick else architectures()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = []
    for architecture in chosen:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / architecture.name
            architecture.save(place)
            rows += [_row(architecture, place, device, 1 if quick else 3) for device in devices]
    return rows


def _row(architecture: Architecture, folder: Path, device: str, runs: int) -> Row:
    found = _json("benchmarks.one_network", str(folder), architecture.kind, device, str(runs))
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
    peak = found["peak_mb"] if found["device_mb"] is None else found["device_mb"]
    what = f"{architecture.name}, {device}: peak memory"
    return Row(
        "segmentation", what, _INPUT[architecture.kind], found["seconds"], runs, peak, "MB", "the weights alone",
        weights,
    )  # fmt: skip


def segmentation_memory_rows(quick: bool) -> list[Row]:
    """Peak memory of a process that segments longer and longer recordings, with a tiny network: what grows is ours."""
    lengths = (4,) if quick else (50, 200, 500)
    with tempfile.TemporaryDirectory() as folder:
        weights = [str(save_tiny(family, Path(folder) / family)) for family in ("grounding-dino", "sam")]
        alone = {"OMP_NUM_THREADS": "1"}  # tiny networks only wait for a second thread
        peaks = [
            _json("benchmarks.segment_memory", str(count), *weights, folder, **alone)["peak_mb"] for count in lengths
        ]
    what = "peak memory of the stage, tiny networks, with features"
    return [
        Row("segmentation", what, f"{count} frames 640x480", None, 1, peak, "MB", f"{lengths[0]} frames", peaks[0])
        for count, peak in zip(lengths, peaks, strict=True)
    ]


def _tiny(family: str, folder: Path) -> None:
    save_tiny(family, folder)


def _json(module: str, *arguments: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
