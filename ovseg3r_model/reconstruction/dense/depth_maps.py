"""The one entry: dense depth of posed pictures, in two passes over the views.

The first pass matches each view with its sources (:mod:`.sweep`) and saves its raw depth; the second compares each
view's raw depth with its neighbours' (:mod:`.consistency`) and says how likely each pixel is right
(:mod:`.confidence`). Between the passes everything is with the caller's ``DepthMaps``: memory does not grow with the
number of views.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.reconstruction.torch_threads import one_thread
from ovseg3r_model.records import Float32, Images, Views
from ovseg3r_model.settings import DenseSettings

KEPT_MAPS = 48
"""Raw depth maps kept while neighbours are compared: 0.6 MB each at 320 x 240."""


def dense_depth(
    color: Images,
    views: Views,
    points: SparsePoints,
    settings: DenseSettings,
    threads: int,
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
        threads: views worked on at the same time on a CPU; the result does not depend on it.
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
    count, device = len(views), torch.device(torch_device(settings.device))
    at_once = threads if device.type == "cpu" else 1
    with one_thread():
        pictures = Pictures(color, views, settings.short_side, device)
        for v, found in _in_order(lambda v: _raw(v, plans[v], views, pictures, settings), count, at_once):
            raw.save(v, *found)
            progress(v + 1, 2 * count)

        load = lru_cache(KEPT_MAPS)(lambda v: _map(v, views, raw, device))
        for v, found in _in_order(lambda v: _checked(v, plans, load, settings), count, at_once):
            final.save(v, *found)
            progress(count + v + 1, 2 * count)


def _in_order(
    work: Callable[[int], tuple[Float32, Float32]], count: int, at_once: int
) -> Iterator[tuple[int, tuple[Float32, Float32]]]:
    """(v, work(v)) for v in 0..count-1, in order, with no more than twice ``at_once`` of them begun and not given."""

    def inferred(v: int) -> tuple[Float32, Float32]:
        with torch.inference_mode():  # each thread has its own mode
            return work(v)

    pool = ThreadPoolExecutor(at_once)
    try:
        begun = deque(pool.submit(inferred, v) for v in range(min(2 * at_once, count)))
        for v in range(count):
            found = begun.popleft().result()
            if v + 2 * at_once < count:
                begun.append(pool.submit(inferred, v + 2 * at_once))
            yield v, found
    finally:
        pool.shutdown(cancel_futures=True)


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


def _checked(
    view: int, plans: Sequence[MatchPlan | None], load: Callable[[int], DepthMap], settings: DenseSettings
) -> tuple[Float32, Float32]:
    """What is left of a view's raw depth when its neighbours have been asked."""
    match = plans[view]
    neighbours = [] if match is None else [load(n) for n in match.neighbours if plans[n] is not None]
    found = agree(load(view), neighbours, settings.agreement)
    confidence = confidence_of(found)
    kept = (found.count > settings.min_support) & (confidence >= settings.min_confidence) & (found.depth > 0)
    return (found.depth * kept).cpu().numpy(), (confidence * kept).cpu().numpy()


def _map(view: int, views: Views, raw: DepthMaps, device: torch.device) -> DepthMap:
    depth, confidence = raw.load(view)
    width, height = int(views.size[view, 0]), int(views.size[view, 1])
    return DepthMap(
        torch.from_numpy(np.array(depth)).to(device),
        torch.from_numpy(np.array(confidence)).to(device),
        scaled_intrinsics(views.intrinsics[view], (width, height), (depth.shape[1], depth.shape[0])),
        views.world_from_camera[view],
    )


__all__ = ["SparsePoints", "dense_depth", "working_size"]
