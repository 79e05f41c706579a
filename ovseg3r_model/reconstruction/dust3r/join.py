"""How windows that were aligned apart lie to one another: by the points of the views that they share."""

import numpy as np

from ovseg3r_model.reconstruction.dust3r.graph import HOLDS, Link
from ovseg3r_model.reconstruction.dust3r.similarity import agreement, fit_similarity
from ovseg3r_model.reconstruction.dust3r.window import AlignedWindow
from ovseg3r_model.reconstruction.judge import Similarity
from ovseg3r_model.records import Float64, Int64


def link_windows(windows: list[AlignedWindow], at: Int64, rays: Float64) -> list[Link]:
    """All links that hold, and those between neighbours in any case; at (S,): pixels of the crop, rays (F,S,3): theirs
    in every keyframe's camera.
    """
    links = []
    for second in range(len(windows)):
        for first in range(second):
            shared = np.intersect1d(windows[first].window.views, windows[second].window.views)
            if len(shared) == 0:
                continue
            link = _link(windows, first, second, shared, at, rays)
            if second == first + 1 or link.agree >= HOLDS:
                links.append(link)
    return links


def _link(windows: list[AlignedWindow], first: int, second: int, shared: Int64, at: Int64, rays: Float64) -> Link:
    found = []
    for w in (windows[first], windows[second]):
        local = np.searchsorted(w.window.views, shared)
        each = [w.points(int(k), at, rays[v]) for k, v in zip(local, shared, strict=True)]
        center = w.world_from_camera[local, :3, 3].mean(axis=0)
        found.append((np.concatenate([p for p, _ in each]), np.concatenate([c for _, c in each]), center))
    (target, sure_t, center), (source, sure_s, _) = found
    weight = np.sqrt(sure_t * sure_s)
    seen = weight > 0
    if seen.sum() < 10:
        return Link(first, second, Similarity(1.0, np.eye(3), np.zeros(3)), 0.0)
    move = fit_similarity(source[seen], target[seen], weight[seen])
    # distances are judged as seen from the shared cameras
    agree = agreement(move.points(source[seen]) - center, target[seen] - center, weight[seen])
    return Link(first, second, move, agree)
