"""METHOD 1.5 in the fewest lines: slow, for reading and for the tests that hold ``superpoints.py`` to it."""

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Correspondence, Images, Int32, Points, UInt32, Views
from ovseg3r_model.settings import SuperpointSettings

Edge = tuple[int, int]


def instance_superpoints_reference(
    points: Points,
    correspondence: Correspondence,
    observation: UInt32,
    views: Views,
    mask_ids: Images,
    settings: SuperpointSettings,
) -> Int32:
    """As :func:`ovseg3r_model.superpoints.instance_superpoints`, by brute force over all pairs of points."""
    if settings.cut == "none":
        return _felzenszwalb(points, _knn(points, settings.neighbours), set(), settings)
    if settings.cut == "contested-last":
        votes = {
            e: _votes_beside(e, points, correspondence, views, mask_ids) for e in _knn(points, settings.neighbours)
        }
    else:
        blank_counts = settings.cut != "unlabelled-never-cuts"
        votes = {
            e: _votes_common(e, correspondence, observation, blank_counts) for e in _knn(points, settings.neighbours)
        }
    # a vote is True where a view disagrees
    edges = [e for e, v in votes.items() if (not any(v) if settings.cut == "any" else 2 * sum(v) <= len(v))]
    contested = {e for e in edges if 10 * sum(votes[e]) > len(votes[e]) and settings.cut == "contested-last"}
    return _felzenszwalb(points, edges, contested, settings)


def _felzenszwalb(points: Points, edges: list[Edge], contested: set[Edge], settings: SuperpointSettings) -> Int32:
    weighted = sorted((_weight(points, *edge), number) for number, edge in enumerate(edges))
    segment_of = {i: {i} for i in range(len(points))}
    threshold = {id(s): float(settings.k_threshold) for s in segment_of.values()}
    for stage in ("merge", "small", "small, contested"):
        for weight, number in weighted:
            edge = edges[number]
            if edge in contested and stage != "small, contested":
                continue
            a, b = segment_of[edge[0]], segment_of[edge[1]]
            small = min(len(a), len(b)) < settings.min_points
            flat = weight <= threshold[id(a)] and weight <= threshold[id(b)]
            if a is not b and (flat if stage == "merge" else small):
                a |= b
                threshold[id(a)] = float(weight) + settings.k_threshold / len(a)
                segment_of.update(dict.fromkeys(b, a))
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(id(segment_of[i]), len(numbers)) for i in range(len(points))], np.int32)


def _knn(points: Points, k: int) -> list[Edge]:
    """The undirected edges in the order in which the fast kernel meets them."""
    xyz = points.xyz.astype(np.float64)
    squared = ((xyz[:, None] - xyz[None]) ** 2).sum(axis=2)
    nearest = [[int(j) for j in np.argsort(row, kind="stable")[: k + 1]] for row in squared]
    edges: dict[Edge, None] = {}
    for i, row in enumerate(nearest):
        for j in row:
            if i != j:
                edges.setdefault((min(i, j), max(i, j)))
    return list(edges)


def _observations(point: int, correspondence: Correspondence) -> range:
    return range(correspondence.indptr[point], correspondence.indptr[point + 1])


def _votes_common(edge: Edge, correspondence: Correspondence, observation: UInt32, blank_counts: bool) -> list[bool]:
    at_i, at_j = (
        {int(correspondence.view[m]): int(observation[m]) for m in _observations(p, correspondence)} for p in edge
    )
    common = [(at_i[v], at_j[v]) for v in at_i.keys() & at_j.keys()]
    return [a != b and (blank_counts or (a != 0 and b != 0)) for a, b in common]


def _votes_beside(
    edge: Edge, points: Points, correspondence: Correspondence, views: Views, mask_ids: Images
) -> list[bool]:
    either = {int(correspondence.view[m]) for p in edge for m in _observations(p, correspondence)}
    ids = [[_id_at(points.xyz[p], v, views, mask_ids) for p in edge] for v in either]
    return [a != b for a, b in ids if a is not None and b is not None]


def _id_at(xyz: NDArray[np.float32], view: int, views: Views, mask_ids: Images) -> int | None:
    """The id under a point's projection, None outside of the picture."""
    local = np.linalg.inv(views.world_from_camera[view]) @ [*xyz.astype(np.float64), 1]
    x, y, z = views.intrinsics[view] @ local[:3]
    if z <= 0:
        return None
    column, row = int(np.floor(x / z + 0.5)), int(np.floor(y / z + 0.5))
    mask = mask_ids[view]
    inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
    return int(mask[row, column]) if inside else None


def _weight(points: Points, i: int, j: int) -> np.float32:
    n, xyz = points.normal.astype(np.float32), points.xyz
    # single precision and this order of additions, as in the fast kernel: equal weights must stay equal
    dot = n[i, 0] * n[j, 0] + n[i, 1] * n[j, 1] + n[i, 2] * n[j, 2]
    d, lean = xyz[j] - xyz[i], n[j] - n[i]
    weight = max(np.float32(1) - dot, np.float32(0))
    convex = lean[0] * d[0] + lean[1] * d[1] + lean[2] * d[2] > 0
    return np.float32(weight * weight if convex else weight)
