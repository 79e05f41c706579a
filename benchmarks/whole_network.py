"""The whole network in the paper's size on one scene of 150k points: backbone, decoder, heads, VIP losses.

``python -m benchmarks.whole_network torch|spconv DEVICE POINTS RUNS`` measures it in a process of its own, as JSON.
"""

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import torch

from benchmarks.measure import Row, forget_peak, peak_mb, timed
from benchmarks.training_steps import CHANNELS, in_cells, now, pool_of
from benchmarks.wavy import wavy_scene
from ovseg3r_model.network.build import build_network
from ovseg3r_model.network.settings import SIZES
from ovseg3r_model.network.spconv_backend import use_spconv
from ovseg3r_model.supervision.settings import LossWeights
from ovseg3r_model.supervision.vip import vip_losses
from ovseg3r_model.training.samples import training_scene
from ovseg3r_model.training.settings import QuerySettings, TrainSettings
from ovseg3r_model.training.step import Prepare, Work, weighted


def whole_rows(quick: bool) -> list[Row]:
    """Rows of item "network": `base`, forward and a whole step; spconv beside plain torch where both can run."""
    points, runs = (3_000, 1) if quick else (150_000, 2)
    rows = _rows("torch", "cpu", points, runs)
    if torch.cuda.is_available():
        rows += _rows("torch", "cuda", points, runs)
        if importlib.util.find_spec("spconv"):
            rows += _rows("spconv", "cuda", points, runs)
    return rows


def _rows(way: str, device: str, points: int, runs: int) -> list[Row]:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.whole_network", way, device, str(points), str(runs)],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"benchmarks.whole_network failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    size = f"{points / 1e3:.0f}k points, {found['superpoints']} superpoints, float32"
    out = []
    for what in ("forward", "step"):
        name = f"base, {way}, {device}, {'forward' if what == 'forward' else 'forward, VIP losses, backward'}"
        seconds, baseline = found[what]["seconds"], "forward alone"
        out += [
            Row("network", name, size, seconds, runs, points / seconds, "points/s", baseline,
                points / found["forward"]["seconds"]),
            Row("network", f"{name}: peak memory", size, None, runs, found[what]["peak_mb"], "MB", baseline,
                found["forward"]["peak_mb"]),
        ]  # fmt: skip
    return out


def main() -> None:
    way, device, points, runs = sys.argv[1], torch.device(sys.argv[2]), *map(int, sys.argv[3:5])
    network = SIZES["base"].model_copy(update={"text_channels": CHANNELS})
    sample = training_scene("wavy", in_cells(wavy_scene(points, 12 if points < 10_000 else 100)))
    settings = TrainSettings(batch=1, queries=QuerySettings(least=1.0))
    work = Prepare(network, settings, pool_of(sample.targets.names))(0, [sample]).to(device)
    model = build_network(network).to(device)
    if way == "spconv":
        use_spconv(model)
    found: dict[str, Any] = {"superpoints": len(work.queries[0])}
    for what in ("forward", "step"):
        model.train(what == "step")
        forget_peak()
        seconds = timed(lambda what=what: _run(what, model, work, device), runs)  # type: ignore[misc]
        peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_mb()
        found[what] = {"seconds": seconds, "peak_mb": peak}
    sys.stdout.write(json.dumps(found))


def _run(what: str, model: Any, work: Work, device: torch.device) -> None:
    with torch.set_grad_enabled(what == "step"):
        (scene,) = model(work.batch, work.queries, work.texts, work.objects)
    if what == "step":
        weights = LossWeights()
        model.zero_grad()
        losses = [vip_losses(layer, scene.semantic, work.pairs[0], weights, 0.1)[0] for layer in scene.layers]
        torch.stack([weighted(each, weights) for each in losses]).sum().backward()
    now(device)


if __name__ == "__main__":
    main()
