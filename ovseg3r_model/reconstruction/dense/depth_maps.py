"""The one entry: dense depth of posed pictures, in two passes over the views.

The first pass matches each view with its sources (:mod:`.sweep`) and saves its raw depth; the second compares each
view's raw depth with its neighbours' (:mod:`.consistency`) and says how likely each pixel is right
(:mod:`.confidence`). Between the passes everything is with the caller's ``DepthMaps``: memory does not grow with the
number of views.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.dense.confidence import confidence_of
from ovseg3r_model.reconstruction.dense.consistency import DepthMap, agree
from ovseg3r_model.reconstruction.dense.maps import DepthMaps, Progress, SparsePoints
from ovseg3r_model.reconstruction.dense.pictures import Pictures, scaled_intrinsics, working_size
from ovseg3r_model.reconstruction.dense.source_views import MatchPlan, plan
from ovseg3r_model.reconstruction.dense.sweep import raw_depth
from ovseg3r_model.records import Float32, Images, Views
from ovseg3r_model.settings import DenseSettings

KEPT_MAPS = 48
"""Raw depth maps kept while neighbours are compared: 0.6 MB each at 320 x 240."""


def dense_depth(
    color: Images,
    views: Views,
    points: SparsePoints,
    settings: DenseSettings,
    raw: DepthMaps,
    final: DepthMaps,
    progress: Progress = lambda done, total: None,
) -> None:
    """Depth of every view, from pictures, cameras and sparse points.

    Args:
        color: V pictures (H,W,3) uint8 RGB, without lens distortion.
        views: their cameras.
        points: sparse points in the same world; they give depth ranges, and which views match well.
        settings: see there.
        raw: where the first pass keeps its maps (of the size that ``working_size`` says); no use afterwards.
        final: receives each view's z-depth (world's unit, 0 = none) and confidence: the chance, in (0, 1], that the
            depth is within 2 % of the truth; 0 where there is no depth. Views without enough points get an empty map.
        progress: called after each view of each pass.

    Raises:
        InputError: no view has enough sparse points in common with another.
    """
    plans = plan(views, points, settings.sources, settings.neighbours)
    if not any(plans):
        raise InputError(
            "No two keyframes have enough points in common to match them; take more keyframes, or a video with more "
            "sideways movement."
        )
    total, device = 2 * len(views), _device(settings.device)
    with torch.inference_mode(), _one_thread():
        pictures = Pictures(color, views, settings.short_side, device)
        for v, match in enumerate(plans):
            raw.save(v, *_raw(v, match, views, pictures, settings))
            progress(v + 1, total)
        del pictures
        load = lru_cache(KEPT_MAPS)(lambda v: _map(v, views, raw, device))
        for v, match in enumerate(plans):
            neighbours = [] if match is None else [load(n) for n in match.neighbours if plans[n] is not None]
            found = agree(load(v), neighbours, settings.agreement)
            confidence = confidence_of(found)
            kept = (found.count > settings.min_support) & (confidence >= settings.min_confidence) & (found.depth > 0)
            final.save(v, (found.depth * kept).cpu().numpy(), (confidence * kept).cpu().numpy())
            progress(len(views) + v + 1, total)


def _raw(
    view: int, match: MatchPlan | None, views: Views, pictures: Pictures, settings: DenseSettings
) -> tuple[Float32, Float32]:
    reference = pictures[view]
    if match is None:
        nothing = np.zeros(tuple(reference[0].grey.shape), np.float32)
        return nothing, nothing
    pose = views.world_from_camera
    sources = [(pictures[s], np.linalg.inv(pose[s]) @ pose[view]) for s in match.sources]
    return raw_depth(reference, sources, match.near, match.far, settings.planes)


def _map(view: int, views: Views, raw: DepthMaps, device: torch.device) -> DepthMap:
    depth, confidence = raw.load(view)
    width, height = int(views.size[view, 0]), int(views.size[view, 1])
    return DepthMap(
        torch.from_numpy(np.array(depth)).to(device),
        torch.from_numpy(np.array(confidence)).to(device),
        scaled_intrinsics(views.intrinsics[view], (width, height), (depth.shape[1], depth.shape[0])),
        views.world_from_camera[view],
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one CPU thread: the tensors worked on are so small that a second thread waits more than it helps, and
    the result cannot depend on the number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


__all__ = ["SparsePoints", "dense_depth", "working_size"]
