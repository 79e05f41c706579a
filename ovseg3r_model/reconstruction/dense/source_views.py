"""Which pictures a view is matched with, and between which depths: both from the sparse points."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ovseg3r_model.reconstruction.dense.maps import SparsePoints
from ovseg3r_model.records import Float64, Int64, Views

BEST_ANGLE = 6.0
"""Degrees between the rays of two views to a point. Less and the depth is uncertain, more and the pictures differ."""
NARROWER, WIDER = 3.0, 10.0
"""Degrees at which a smaller, a larger angle than the best counts for 61 %."""
SAME_PLACE = 1.5
"""Views nearer to each other than this angle, seen from the scene, count as one place: the second adds little."""
SATED = 0.6
"""How much a point still asks for after a source at the best angle."""
CANDIDATES = 40
"""Views with the most common points that are looked at closely."""
NEAR_SHARE, FAR_SHARE = 0.75, 1.4
"""The surface may be nearer and farther than the sparse points, by these factors."""
FEWEST_POINTS = 8


@dataclass(frozen=True)
class MatchPlan:
    """sources: views to match with, best first; neighbours: views whose depth maps to compare, the sources first;
    near and far: the depths to search, None when the view sees too few points to say (then it gets no depth).
    """

    sources: tuple[int, ...]
    neighbours: tuple[int, ...]
    near: float
    far: float


def plan(views: Views, points: SparsePoints, sources: int, neighbours: int) -> list[MatchPlan | None]:
    """For each view its sources, neighbours and depth range; None for a view without enough points in common."""
    count = len(views)
    seen = sparse.csr_matrix(
        (np.ones(len(points.point), np.int32), points.point, points.indptr), shape=(count, len(points.xyz))
    )
    common = (seen @ seen.T).toarray()  # (V,V)
    np.fill_diagonal(common, 0)
    return [_plan(v, views, points, common[v], sources, neighbours) for v in range(count)]


def _plan(
    view: int, views: Views, points: SparsePoints, common: Int64, sources: int, neighbours: int
) -> MatchPlan | None:
    mine = np.unique(points.seen(view))
    candidates = np.argsort(-common, kind="stable")[:CANDIDATES]
    candidates = candidates[common[candidates] >= FEWEST_POINTS]
    if len(mine) < FEWEST_POINTS or len(candidates) == 0:
        return None
    centre = views.world_from_camera[:, :3, 3]
    xyz = points.xyz[mine]
    gain = np.zeros((len(candidates), len(mine)))  # what each candidate brings to each point
    for i, other in enumerate(candidates):
        both = np.isin(mine, points.seen(int(other)))
        gain[i, both] = _angle_weight(_angles(xyz[both], centre[view], centre[other]))
    middle = np.median(xyz, axis=0)
    chosen: list[int] = []
    left = np.ones(len(candidates), np.bool_)
    need, fresh = np.ones(len(mine)), np.ones(len(candidates))
    for _ in range(min(max(sources, neighbours), len(candidates))):
        score = np.where(left, (gain @ need) * fresh, -1.0)
        best = int(np.argmax(score))
        chosen.append(int(candidates[best]))
        left[best] = False
        # a point that is well matched already needs the next source less, so that all of the picture is covered
        need *= 1 - (1 - SATED) * gain[best]
        apart = _angles(middle[None], centre[candidates], centre[candidates[best]])
        fresh *= np.where(apart < SAME_PLACE, 0.5 + 0.5 * apart / SAME_PLACE, 1.0)
    near, far = _depth_range(view, views, points, [view, *chosen[:sources]])
    return MatchPlan(tuple(chosen[:sources]), tuple(chosen[:neighbours]), near, far)


def _angles(xyz: Float64, a: Float64, b: Float64) -> Float64:
    """(n,) degrees between the rays from points (n,3) to camera centres a and b."""
    to_a, to_b = a - xyz, b - xyz
    cosine = (to_a * to_b).sum(-1) / np.maximum(np.linalg.norm(to_a, axis=-1) * np.linalg.norm(to_b, axis=-1), 1e-12)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _angle_weight(angle: Float64) -> Float64:
    width = np.where(angle < BEST_ANGLE, NARROWER, WIDER)
    return np.exp(-0.5 * ((angle - BEST_ANGLE) / width) ** 2)


def _depth_range(view: int, views: Views, points: SparsePoints, seen_by: list[int]) -> tuple[float, float]:
    """Nearest and farthest depth to search: that of the points in the picture, with room on either side."""
    index = np.unique(np.concatenate([points.seen(v) for v in seen_by]))
    camera = np.linalg.inv(views.world_from_camera[view])
    xyz = points.xyz[index] @ camera[:3, :3].T + camera[:3, 3]
    own = np.isin(index, points.seen(view))
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel = (xyz @ views.intrinsics[view].T)[:, :2] / xyz[:, 2:]
    inside = (xyz[:, 2] > 0) & ((pixel >= 0) & (pixel < views.size[view])).all(axis=1)
    depth = xyz[(own & (xyz[:, 2] > 0)) | inside, 2]
    low, high = np.percentile(depth, [1, 99])
    return float(NEAR_SHARE * low), float(FAR_SHARE * high)
