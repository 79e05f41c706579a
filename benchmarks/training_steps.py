"""What a step of training takes, part by part: 2D sampling, IBSp, network, VIP, backward; p50 and p90.

The scene is a wavy floor of points under cameras with imperfect masks (``benchmarks.wavy``), the network the paper's on
the GPU where there is one, the tiny one on a CPU.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from benchmarks.measure import Row
from benchmarks.wavy import wavy_scene
from ovseg3r_model.network.build import build_network
from ovseg3r_model.network.segmenter import Segmenter
from ovseg3r_model.network.settings import SIZES, NetworkSettings
from ovseg3r_model.point_features import sample_features
from ovseg3r_model.records import Float16, LabelledScene
from ovseg3r_model.settings import SuperpointSettings
from ovseg3r_model.superpoints import instance_superpoints
from ovseg3r_model.supervision.settings import LossWeights
from ovseg3r_model.supervision.vip import vip_losses
from ovseg3r_model.supervision.vip_reference import vip_losses_reference
from ovseg3r_model.training.labels import LabelPool
from ovseg3r_model.training.samples import training_scene
from ovseg3r_model.training.settings import QuerySettings, TrainSettings
from ovseg3r_model.training.step import Prepare, Work, weighted

CHANNELS = 256
NAMES = 100
CELL = 0.175
"""Side of a superpoint, metres."""


def training_rows(quick: bool) -> list[Row]:
    """Rows of item "training": the seconds are p50, the value p90 in milliseconds, the baseline p50."""
    points, views, runs = (4_000, 12, 3) if quick else (150_000, 100, 12)
    scene = in_cells(wavy_scene(points, views))
    cuda = torch.cuda.is_available()
    device, size = torch.device("cuda" if cuda else "cpu"), "base" if cuda else "tiny"
    network = SIZES[size].model_copy(update={"text_channels": CHANNELS})
    sample = training_scene("wavy", scene)
    prepare = Prepare(network, TrainSettings(batch=1, queries=QuerySettings(least=1.0)), pool_of(sample.targets.names))
    work = prepare(0, [sample])
    model = build_network(network).to(device).train()
    where = (
        f"{points / 1e3:.0f}k points, {views} views, {work.pairs[0].visible.shape[1]} superpoints, {size} on {device}"
    )
    parts = {
        "2D features sampled, 256 channels": lambda: _sampled(scene),
        "IBSp": lambda: _grouped(scene),
        "labels, queries, pairs, voxels": lambda: prepare(0, [sample]),
    }
    measured = {name: _times(call, runs, device) for name, call in parts.items()}
    measured |= _of_a_step(model, work.to(device), runs, device)
    rows = [_row(name, where, seconds) for name, seconds in measured.items()]
    return [*rows, _beside_reference(network, quick)]


def _of_a_step(model: Segmenter, work: Work, runs: int, device: torch.device) -> dict[str, list[float]]:
    """Forward, VIP of all layers, backward of all, in their order, ``runs`` times after one that is not counted."""
    names = ("network forward", "VIP: matching and losses, all layers", "backward")
    found: dict[str, list[float]] = {name: [] for name in names}
    weights = LossWeights()
    for run in range(runs + 1):
        model.zero_grad()
        marks = [now(device)]
        (scene,) = model(work.batch, work.queries, work.texts, work.objects)
        marks.append(now(device))
        losses = [vip_losses(layer, scene.semantic, work.pairs[0], weights, 0.1)[0] for layer in scene.layers]
        total = torch.stack([weighted(each, weights) for each in losses]).sum()
        marks.append(now(device))
        total.backward()
        marks.append(now(device))
        if run:
            for name, start, end in zip(names, marks, marks[1:], strict=False):
                found[name].append(end - start)
    return found


def _beside_reference(network: NetworkSettings, quick: bool) -> Row:
    """VIP of one layer beside loops over views and instances, on a scene that these can manage."""
    scene = in_cells(wavy_scene(1_500 if quick else 8_000, 12))
    sample = training_scene("small", scene)
    settings = TrainSettings(batch=1, queries=QuerySettings(least=1.0))
    work = Prepare(network, settings, pool_of(sample.targets.names))(0, [sample])
    with torch.no_grad():
        (made,) = build_network(network)(work.batch, work.queries, work.texts, work.objects)
    layer, label_of_name, weights = made.layers[-1], torch.arange(len(sample.targets.names)), LossWeights()
    cpu = torch.device("cpu")
    fast = _times(lambda: vip_losses(layer, made.semantic, work.pairs[0], weights, 0.1), 5, cpu)
    slow = _times(
        lambda: vip_losses_reference(
            layer, made.semantic, sample.targets, work.queries[0], label_of_name, weights, 0.1
        ),
        1, cpu, warm=False,
    )  # fmt: skip
    queries = len(work.queries[0])
    size = f"{sample.targets.views} views, {sample.targets.instances} instances, {queries} queries"
    seconds, reference = float(np.median(fast)), float(np.median(slow))
    return Row(
        "training", "VIP of one layer, CPU", size, seconds, 5, 1 / seconds, "scenes/s",
        "loops over views and instances", 1 / reference,
    )  # fmt: skip


def _row(name: str, where: str, seconds: list[float]) -> Row:
    middle, late = (float(np.percentile(seconds, share)) for share in (50, 90))
    return Row("training", name, where, middle, len(seconds), 1e3 * late, "ms (p90)", "its p50", 1e3 * middle)


def _times(call: Callable[[], object], runs: int, device: torch.device, warm: bool = True) -> list[float]:
    if warm:
        call()
    out = []
    for _ in range(runs):
        start = now(device)
        call()
        out.append(now(device) - start)
    return out


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _sampled(scene: LabelledScene) -> object:
    image = np.ones((60, 80, CHANNELS), np.float16)
    width = int(scene.reconstruction.views.size[0, 0])
    return sample_features(
        _Same(image, len(scene.reconstruction.views)), (80 / width, 80 / width), scene.reconstruction
    )


class _Same:
    """The same image for every view."""

    def __init__(self, image: Float16, count: int) -> None:
        self._image, self._count = image, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Float16:
        return self._image


def in_cells(scene: LabelledScene) -> LabelledScene:
    """With squares of the floor as superpoints: some 2,000 on 150k points."""
    cell = np.floor(scene.reconstruction.points.xyz[:, :2] / CELL).astype(np.int64)
    _, ids = np.unique(cell, axis=0, return_inverse=True)
    return replace(scene, superpoint=ids.astype(np.int32))


def _grouped(scene: LabelledScene) -> object:
    rec = scene.reconstruction
    return instance_superpoints(
        rec.points, rec.correspondence, scene.observation, rec.views, scene.mask_ids, SuperpointSettings()
    )


def pool_of(names: tuple[str, ...]) -> LabelPool:
    """Random unit vectors for the scene's names and others."""
    all_names = [*names, *(f"other {k}" for k in range(NAMES))]
    vectors = np.random.default_rng(0).normal(size=(len(all_names), CHANNELS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return LabelPool(dict(zip(all_names, vectors, strict=True)))
