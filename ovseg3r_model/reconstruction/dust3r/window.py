"""One window of the video: the network's predictions for its pairs, aligned; of them only depth is kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.reconstruction.dust3r.crops import Crop
from ovseg3r_model.reconstruction.dust3r.initial import Pointmaps, initial_alignment
from ovseg3r_model.reconstruction.dust3r.model import PairModel, PairPrediction
from ovseg3r_model.reconstruction.dust3r.pairs import Window
from ovseg3r_model.reconstruction.dust3r.refine import refine
from ovseg3r_model.records import Float32, Float64, Images, Int64
from ovseg3r_model.settings import Dust3rSettings

SAMPLES = 3000
"""Most pixels of a view that the alignment looks at; depth is then taken at all of them."""

SAME = 0.02
"""Depths of a pixel that differ by no more, relative, support one another: the records' measure of confidence."""

TICKS = 10
"""Steps of progress that the alignment of a window is reported in."""

FAR = 1000.0
"""Depth beyond so many median depths is no measurement, and would not fit into float16 in every unit."""

_SUREST = 1e4  # a confidence beyond it says no more


@dataclass(frozen=True)
class AlignedWindow:
    """The n views of ``window`` in a frame and unit of its own. world_from_camera (n,4,4) float64; z, confidence
    (n,h,w) float16, of the crop, as in :class:`ovseg3r_model.records.DenseDepth`; error: see ``Alignment``.
    """

    window: Window
    world_from_camera: Float64
    z: NDArray[np.float16]
    confidence: NDArray[np.float16]
    error: float

    def points(self, k: int, pixels: Int64, rays: Float64) -> tuple[Float64, Float64]:
        """(S,3) float64 in the window's frame, and confidences (S,): what view k sees at the crop's ``pixels`` (S,),
        counted row by row, along their rays (S,3).
        """
        pose = self.world_from_camera[k]
        z = self.z[k].reshape(-1)[pixels].astype(np.float64)
        sure = self.confidence[k].reshape(-1)[pixels].astype(np.float64)
        return z[:, None] * rays @ pose[:3, :3].T + pose[:3, 3], sure * (z > 0)


def sampled(crop: Crop) -> Int64:
    """(S,) int64: pixels of the crop, counted row by row, on an even grid of at most SAMPLES."""
    width, height = crop.shape
    stride = max(1, int(np.ceil(np.sqrt(width * height / SAMPLES))))
    y, x = (np.arange(stride // 2, n, stride) for n in (height, width))
    return (y[:, None] * width + x).reshape(-1).astype(np.int64)


def predict_pairs(
    model: PairModel, color: Images, crop: Crop, pairs: Int64, batch: int
) -> Iterator[tuple[Int64, PairPrediction]]:
    """Of the pictures' pairs (P,2), each both ways, some at a time: the directed pairs (B,2) and what is seen. Points
    that are no numbers become the origin, with confidence 0.
    """
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        directed = np.stack([some, some[:, ::-1]], axis=1).reshape(-1, 2)
        cut = {i: crop.cut(color[i]) for i in np.unique(some).tolist()}
        found = model.predict(*([cut[i] for i in directed[:, side].tolist()] for side in (0, 1)))
        yield (
            directed,
            PairPrediction(
                *(np.nan_to_num(p, nan=0, posinf=0, neginf=0) for p in (found.first, found.second)),
                *(
                    np.where(np.isfinite(p).all(axis=-1), np.clip(np.nan_to_num(c), 0, _SUREST), 0).astype(np.float32)
                    for p, c in ((found.first, found.first_confidence), (found.second, found.second_confidence))
                ),
            ),
        )


def align_window(
    window: Window,
    model: PairModel,
    color: Images,
    crop: Crop,
    intrinsics: Float64,
    settings: Dust3rSettings,
    step: Callable[[], None] = lambda: None,
) -> AlignedWindow:
    """The window's views aligned; color and intrinsics (F,...) are those of all keyframes. step is called once per
    pair and TICKS times after.
    """
    at, count = sampled(crop), 2 * len(window.pairs)
    width, height = crop.shape
    points, sure = np.empty((count, 2, len(at), 3), np.float32), np.empty((count, 2, len(at)), np.float32)
    own, own_sure = np.empty((count, height, width), np.float32), np.empty((count, height, width), np.float32)
    done = 0
    for _, found in predict_pairs(model, color, crop, window.views[window.pairs], settings.batch):
        here = slice(done, done + len(found.first))
        own[here], own_sure[here] = found.first[..., 2], found.first_confidence
        for side, (p, c) in enumerate(((found.first, found.first_confidence), (found.second, found.second_confidence))):
            points[here, side] = p.reshape(len(p), -1, 3)[:, at]
            sure[here, side] = c.reshape(len(c), -1)[:, at]
        done = here.stop
        for _ in range(len(found.first) // 2):
            step()
    edges = np.stack([window.pairs, window.pairs[:, ::-1]], axis=1).reshape(-1, 2)
    maps = Pointmaps(edges, points, sure)
    rays = rays_at(crop, intrinsics[window.views], at)
    told = 0

    def iterated(i: int) -> None:
        nonlocal told
        while told < TICKS * i // settings.iterations:
            told += 1
            step()

    aligned = refine(initial_alignment(maps, len(window.views)), maps, rays, settings.iterations, iterated)
    for _ in range(TICKS - told):
        step()
    pose = np.tile(np.eye(4), (len(window.views), 1, 1))
    pose[:, :3, :3], pose[:, :3, 3] = aligned.view_rotation, aligned.view_position
    z = np.empty((len(pose), height, width), np.float16)
    confidence = np.empty_like(z)
    for v in range(len(pose)):
        mine = edges[:, 0] == v
        depth, chance = fused_depth(own[mine] * aligned.pair_scale[mine, None, None].astype(np.float32), own_sure[mine])
        keep = (depth > 0) & (depth < FAR) & (chance >= settings.min_confidence)
        z[v], confidence[v] = np.where(keep, depth, 0), np.where(keep, np.maximum(chance, 1e-3), 0)
    return AlignedWindow(window, pose, z, confidence, aligned.error)


def fused_depth(z: Float32, sure: Float32) -> tuple[Float32, Float32]:
    """One depth map (h,w) and its confidence (h,w) in [0, 1], of a view's k predictions (k,h,w) in one unit.

    Depth: the median weighted by DUSt3R's confidences C (k,h,w), which minimises section 3.4's sum along a pixel's ray.
    Confidence: (1 - 1 / mean C), which is 0 where the network says nothing (C = 1), times the weighted share of the
    predictions within 2 % of the median. A rule, not a measurement: it has not been held against true depth.
    """
    weight = np.where(z > 0, sure, 0)
    order = np.argsort(z, axis=0, kind="stable")
    sorted_z, sorted_weight = np.take_along_axis(z, order, 0), np.take_along_axis(weight, order, 0)
    total = sorted_weight.sum(axis=0)
    middle = np.argmax(np.cumsum(sorted_weight, axis=0) >= total / 2, axis=0)
    depth = np.where(total > 0, np.take_along_axis(sorted_z, middle[None], 0)[0], 0)
    support = (weight * (np.abs(z - depth) <= SAME * depth)).sum(axis=0) / np.maximum(total, 1e-12)
    mean = np.maximum(total / len(z), 1)
    return depth.astype(np.float32), (support * (1 - 1 / mean)).astype(np.float32)


def rays_at(crop: Crop, intrinsics: Float64, at: Int64) -> Float64:
    """(n,S,3) float64 with z = 1: the crop's pixels ``at`` (S,) in cameras (n,3,3) of the whole pictures."""
    pixel = crop.pixels().reshape(-1, 2)[at]
    focal, center = intrinsics[:, None, [0, 1], [0, 1]], intrinsics[:, None, :2, 2]
    plane = (pixel - center) / focal
    return np.concatenate([plane, np.ones((*plane.shape[:2], 1))], axis=2)
