"""IBSp, 2D Instance Boundary-aware Superpoints (METHOD 1.5), on points alone: no mesh.

A kNN graph; edges across 2D instance boundaries are cut; Felzenszwalb's graph segmentation on what is left. The kernels here are fast;
``superpoints_reference.py`` says the same in the fewest lines, and the tests hold the two together.
"""

import numba
import numpy as np
import pgeof

from ovseg3r_model.records import Correspondence, Float32, Int32, Points, UInt32
from ovseg3r_model.settings import EdgeCut, SuperpointSettings

_CUT_RULE: dict[EdgeCut, int] = {"majority": 0, "any": 1, "unlabelled-never-cuts": 2}


def instance_superpoints(
    points: Points, correspondence: Correspondence, observation: UInt32, settings: SuperpointSettings
) -> Int32:
    """IBSp: superpoint of each point, (N,) int32 from 0 without gaps, numbered by their first point.

    An edge's endpoints are compared only in views that observe both (METHOD 1.5, open rule), by ``settings.cut``:

    - ``majority``: cut when a strict majority of the common views says "different" (one id against another, or against unlabelled);
    - ``any``: cut when one common view says "different";
    - ``unlabelled-never-cuts``: as majority, but an id against unlabelled counts as "same".

    Without a common view the edge stays. With all masks empty the result is :func:`geometry_superpoints`.

    Args:
        points: N points in any unit.
        correspondence: their M observations.
        observation: (M,) uint32 lifted annotation, 0 = unlabelled.
    """
    edges = knn_edges(points.xyz, settings.neighbours)
    keep = np.empty(len(edges), np.bool_)
    _keep_edges(
        edges, correspondence.indptr, correspondence.view, observation, _CUT_RULE[settings.cut], keep
    )
    return _segment(points, edges[keep], settings)


def geometry_superpoints(points: Points, settings: SuperpointSettings) -> Int32:
    """Plain graph superpoints: the same without any cut. (N,) int32."""
    return _segment(points, knn_edges(points.xyz, settings.neighbours), settings)


def knn_edges(xyz: Float32, neighbours: int) -> Int32:
    """(E,2) int32 undirected edges i < j of the kNN graph, each once: i is among j's nearest ``neighbours`` or j among i's."""
    k = min(neighbours + 1, len(xyz))  # the point itself is its own first neighbour
    nearest, _ = pgeof.knn_search(xyz, xyz, k)
    edges = np.empty((nearest.size, 2), np.int32)
    count = _unique_edges(nearest, edges)
    return edges[:count]


def _segment(points: Points, edges: Int32, settings: SuperpointSettings) -> Int32:
    weights = np.empty(len(edges), np.float32)
    _edge_weights(points.xyz, points.normal.astype(np.float32), edges, weights)
    order = _sort(weights.view(np.uint32))  # the bits of non-negative floats sort like the numbers
    parent = np.arange(len(points), dtype=np.int32)
    _felzenszwalb(edges, weights, order, settings.k_threshold, settings.min_points, parent)
    out = np.empty(len(points), np.int32)
    _number(parent, out)
    return out


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _unique_edges(nearest, edges):  # type: ignore[no-untyped-def]
    count = 0
    n, k = nearest.shape
    for i in range(n):
        for a in range(k):
            j = nearest[i, a]
            if j == i:
                continue
            if j < i:
                mutual = False
                for b in range(k):
                    mutual |= nearest[j, b] == i
                if mutual:
                    continue  # taken when j had its turn
            edges[count, 0] = min(i, j)
            edges[count, 1] = max(i, j)
            count += 1
    return count


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def _keep_edges(edges, indptr, view, observation, rule, keep):  # type: ignore[no-untyped-def]
    for e in numba.prange(len(edges)):
        a, end_a = indptr[edges[e, 0]], indptr[edges[e, 0] + 1]
        b, end_b = indptr[edges[e, 1]], indptr[edges[e, 1] + 1]
        common, different = 0, 0
        while a < end_a and b < end_b:
            if view[a] < view[b]:
                a += 1
            elif view[a] > view[b]:
                b += 1
            else:
                common += 1
                if observation[a] != observation[b] and (rule != 2 or (observation[a] != 0 and observation[b] != 0)):
                    different += 1
                a += 1
                b += 1
        keep[e] = different == 0 if rule == 1 else 2 * different <= common


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def _edge_weights(xyz, normal, edges, weights):  # type: ignore[no-untyped-def]
    for e in numba.prange(len(edges)):
        i, j = edges[e, 0], edges[e, 1]
        dot = normal[i, 0] * normal[j, 0] + normal[i, 1] * normal[j, 1] + normal[i, 2] * normal[j, 2]
        opening = (
            (normal[j, 0] - normal[i, 0]) * (xyz[j, 0] - xyz[i, 0])
            + (normal[j, 1] - normal[i, 1]) * (xyz[j, 1] - xyz[i, 1])
            + (normal[j, 2] - normal[i, 2]) * (xyz[j, 2] - xyz[i, 2])
        )
        weight = max(np.float32(1) - dot, np.float32(0))
        if opening > 0:  # convex: the normals lean apart
            weight = weight * weight
        weights[e] = weight


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _sort(bits):  # type: ignore[no-untyped-def]
    """Stable order of uint32 keys: radix sort, 11 bits a pass."""
    n = len(bits)
    order = np.arange(n).astype(np.int32)
    other = np.empty(n, np.int32)
    for shift in (0, 11, 22):
        start = np.zeros(2049, np.int64)
        for e in range(n):
            start[((bits[e] >> shift) & 2047) + 1] += 1
        for d in range(2048):
            start[d + 1] += start[d]
        for e in range(n):
            digit = (bits[order[e]] >> shift) & 2047
            other[start[digit]] = order[e]
            start[digit] += 1
        order, other = other, order
    return order


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def _find(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _felzenszwalb(edges, weights, order, k_threshold, min_points, parent):  # type: ignore[no-untyped-def]
    """Felzenszwalb and Huttenlocher 2004 with ScanNet's pass that joins small segments along the remaining edges; fills ``parent``."""
    size = np.ones(len(parent), np.int32)
    threshold = np.full(len(parent), k_threshold)
    for small_pass in range(2):
        for e in order:
            a, b = _find(parent, edges[e, 0]), _find(parent, edges[e, 1])
            if a == b:
                continue
            if small_pass == 0:
                join = weights[e] <= threshold[a] and weights[e] <= threshold[b]
            else:
                join = size[a] < min_points or size[b] < min_points
            if join:
                if size[a] < size[b]:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                threshold[a] = weights[e] + k_threshold / size[a]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _number(parent, out):  # type: ignore[no-untyped-def]
    number = np.full(len(parent), -1, np.int32)
    count = 0
    for i in range(len(parent)):
        root = _find(parent, i)
        if number[root] < 0:
            number[root] = count
            count += 1
        out[i] = number[root]
