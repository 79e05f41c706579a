"""The sparse backbone in its published size on one scene, beside the usual way of sparse convolution in plain torch.

``python -m benchmarks.convolving blocks|pairs forward|step DEVICE VOXELS RUNS`` measures one way alone, as JSON: its
memory has to be seen in a process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmarks.measure import Row, forget_peak, peak_mb, timed
from ovseg3r_model.network.backbone import Res16UNet
from ovseg3r_model.network.sparse import Level, Pyramid, SparseConv3d

VOXEL = 0.02
CHANNELS = 6
"""Colour and position."""
_WHAT = {"forward": "forward", "step": "forward and backward"}


def network_rows(quick: bool) -> list[Row]:
    """Seconds and peak memory of Res16UNet34C, on the CPU and, where there is one, on the GPU."""
    voxels, runs = (3_000, 1) if quick else (150_000, 3)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    kinds = ("step",) if quick else tuple(_WHAT)
    return [row for device in devices for what in kinds for row in _rows(what, device, voxels, runs)]


def _rows(what: str, device: str, voxels: int, runs: int) -> list[Row]:
    ours, pairs = (_measured(way, what, device, str(voxels), str(runs)) for way in ("blocks", "pairs"))
    size = f"{voxels / 1e3:.0f}k voxels of surfaces at 2 cm, {CHANNELS} channels, float32"
    name = f"Res16UNet34C, {device}, {_WHAT[what]}"
    usual = "gather, multiply, add for each offset"
    return [
        Row("network", name, size, ours["seconds"], runs, voxels / ours["seconds"], "voxels/s", usual,
            voxels / pairs["seconds"]),
        Row("network", f"{name}: peak memory", size, None, runs, ours["peak_mb"], "MB", usual, pairs["peak_mb"]),
    ]  # fmt: skip


def _measured(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.convolving", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.convolving failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    way, what, device, voxels, runs = sys.argv[1], sys.argv[2], torch.device(sys.argv[3]), *map(int, sys.argv[4:6])
    torch.manual_seed(0)
    network = Res16UNet(CHANNELS)
    if way == "pairs":
        _replace(network)
    cells = torch.from_numpy(surfaces(voxels))
    pyramid = Pyramid.build(cells, torch.zeros(len(cells), dtype=torch.long), 5).to(device)
    features = torch.randn(len(cells), CHANNELS).to(device)
    network.to(device)
    forget_peak()
    seconds = timed(_call(what, network, features, pyramid), runs)
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_mb()
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mb": peak}))


def _call(what: str, network: Res16UNet, features: Tensor, pyramid: Pyramid) -> Callable[[], None]:
    network.train(what == "step")

    def step() -> None:
        with torch.set_grad_enabled(what == "step"):
            out = network(features, pyramid)
        if what == "step":
            network.zero_grad()
            out.square().mean().backward()
        if features.is_cuda:
            torch.cuda.synchronize()

    return step


def surfaces(voxels: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(voxels,3): those nearest to the middle of a room of 5 x 4 x 2.5 m with 14 boxes, sorted; noise 4 mm."""
    rng = np.random.default_rng(0)
    points = [_box(rng, np.array([0, 0, 1.25]), np.array([5.0, 4.0, 2.5]), 0.3)]
    for _ in range(14):
        middle = np.array([*(rng.random(2) - 0.5) * [4, 3], 0.4])
        points.append(_box(rng, middle, 0.3 + rng.random(3) * 0.9, rng.random() * 3))
    noisy = np.concatenate(points)
    noisy = noisy + rng.normal(0, 0.004, noisy.shape)
    cells = np.unique(np.floor(noisy / VOXEL).astype(np.int64), axis=0)
    far = np.abs(cells - cells.mean(axis=0)).max(axis=1)
    kept: np.ndarray[Any, np.dtype[np.int64]] = cells[np.sort(np.argsort(far, kind="stable")[:voxels])]
    return kept


def _box(
    rng: np.random.Generator, middle: np.ndarray[Any, Any], size: np.ndarray[Any, Any], turn: float
) -> np.ndarray[Any, Any]:
    """(n,3): 9,000 points a square metre on the sides of a box that is turned about z."""
    sides = []
    for axis in range(3):
        for sign in (-0.5, 0.5):
            area = size.prod() / size[axis]
            side = rng.random((int(9_000 * area), 3)) - 0.5
            side[:, axis] = sign
            sides.append(side * size)
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.concatenate(sides) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + middle
    return np.asarray(turned)


class _ByPairs(torch.autograd.Function):
    """For each offset: gather the neighbours, multiply, add to where they belong. The pairs are found once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        out = x.new_zeros(len(x), weight.shape[2])
        for matrix, (here, there) in zip(weight, pairs, strict=True):
            out.index_add_(0, here, x.index_select(0, there) @ matrix)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = ctx.saved_tensors
        of_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight)
        for number, (here, there) in enumerate(ctx.pairs):
            gathered = gradient.index_select(0, here)
            torch.mm(x.index_select(0, there).T, gathered, out=of_weight[number])
            if of_x is not None:
                of_x.index_add_(0, there, gathered @ weight[number].T)
        return of_x, of_weight, None


class _PairConvolution(nn.Module):
    def __init__(self, layer: SparseConv3d, known: dict[int, list[tuple[Tensor, Tensor]]]) -> None:
        super().__init__()
        self.kernel, self.size, self.known = layer.kernel, layer.size, known

    def forward(self, x: Tensor, level: Level) -> Tensor:
        table = level.neighbours(self.size)
        if table.data_ptr() not in self.known:
            rows = [(column < len(table)).nonzero()[:, 0] for column in table.T]
            self.known[table.data_ptr()] = [
                (here, column[here].long()) for here, column in zip(rows, table.T, strict=True)
            ]
        out: Tensor = _ByPairs.apply(x, self.kernel, self.known[table.data_ptr()])  # type: ignore[no-untyped-call]
        return out


def _replace(network: Res16UNet) -> None:
    known: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for name, layer in list(network.named_modules()):
        if isinstance(layer, SparseConv3d):
            owner, _, own_name = name.rpartition(".")
            setattr(network.get_submodule(owner), own_name, _PairConvolution(layer, known))


if __name__ == "__main__":
    main()
