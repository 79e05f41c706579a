"""METHOD 1.5 in the fewest lines: slow, for reading and for the tests that hold ``superpoints.py`` to it."""

import numpy as np

from ovseg3r_model.records import Correspondence, Int32, Points, UInt32
from ovseg3r_model.settings import SuperpointSettings


def instance_superpoints_reference(
    points: Points, correspondence: Correspondence, observation: UInt32, settings: SuperpointSettings
) -> Int32:
    """As :func:`ovseg3r_model.superpoints.instance_superpoints`, by brute force over all pairs of points."""
    edges = [edge for edge in _knn(points, settings.neighbours) if _stays(edge, correspondence, observation, settings)]
    weighted = sorted((_weight(points, i, j), e) for e, (i, j) in enumerate(edges))
    segment_of = {i: {i} for i in range(len(points))}
    threshold = {id(s): settings.k_threshold for s in segment_of.values()}

    def join(a: set[int], b: set[int], weight: float) -> None:
        a |= b
        threshold[id(a)] = weight + settings.k_threshold / len(a)
        for i in b:
            segment_of[i] = a

    for small_pass in (False, True):
        for weight, e in weighted:
            a, b = (segment_of[i] for i in edges[e])
            small = min(len(a), len(b)) < settings.min_points
            flat = weight <= threshold[id(a)] and weight <= threshold[id(b)]
            if a is not b and (small if small_pass else flat):
                join(a, b, weight)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(id(segment_of[i]), len(numbers)) for i in range(len(points))], np.int32)


def _knn(points: Points, k: int) -> list[tuple[int, int]]:
    """The undirected edges in the order in which the fast kernel meets them."""
    xyz = points.xyz.astype(np.float64)
    squared = ((xyz[:, None] - xyz[None]) ** 2).sum(axis=2)
    nearest = [[int(j) for j in np.argsort(row, kind="stable")[: k + 1]] for row in squared]
    edges: dict[tuple[int, int], None] = {}
    for i, row in enumerate(nearest):
        for j in row:
            if i != j:
                edges.setdefault((min(i, j), max(i, j)))
    return list(edges)


def _stays(edge: tuple[int, int], correspondence: Correspondence, observation: UInt32, settings: SuperpointSettings) -> bool:
    of_i, of_j = (
        {int(correspondence.view[m]): int(observation[m]) for m in range(correspondence.indptr[p], correspondence.indptr[p + 1])}
        for p in edge
    )
    common = of_i.keys() & of_j.keys()
    different = [v for v in common if of_i[v] != of_j[v]]
    if settings.cut == "any":
        return not different
    if settings.cut == "unlabelled-never-cuts":
        different = [v for v in different if of_i[v] and of_j[v]]
    return 2 * len(different) <= len(common)


def _weight(points: Points, i: int, j: int) -> np.float32:
    n, xyz = points.normal.astype(np.float32), points.xyz
    # single precision and this order of additions, as in the fast kernel: equal weights must stay equal
    dot = n[i, 0] * n[j, 0] + n[i, 1] * n[j, 1] + n[i, 2] * n[j, 2]
    d, lean = xyz[j] - xyz[i], n[j] - n[i]
    weight = max(np.float32(1) - dot, np.float32(0))
    convex = lean[0] * d[0] + lean[1] * d[1] + lean[2] * d[2] > 0
    return np.float32(weight * weight if convex else weight)
