"""IBSp, 2D Instance Boundary-aware Superpoints (METHOD 1.5), on points alone: no mesh.

A kNN graph; edges across 2D instance boundaries are cut; Felzenszwalb's graph segmentation on what is left. The kernels
here are fast; ``superpoints_reference.py`` says the same in the fewest lines, and the tests hold the two together.

The paper gives each point one observation and cuts an edge when the two ids differ. Points with several observations
need a rule, and four can be chosen (``SuperpointSettings.cut``). In all of them a view *disagrees* with an edge when it
shows one id at one end and another id, or none, at the other.

``majority``
    Compare only in views that observe both ends; cut when a strict majority of them disagrees; keep without a common
    view.
``any``
    As majority, but one disagreeing view cuts.
``unlabelled-never-cuts``
    As majority, but an id against none is no disagreement.
``contested-last`` (default)
    Majority lets segments leak: where a boundary falls between several points it is crossed step by step, no step with
    a majority against it, and one such path joins a picture with its wall. So an edge that more than one in
    ``CONTESTED_BY`` views disagrees with, though no majority, is *contested*: it may only join small segments to a
    neighbour, when all others are done. And more views are asked: all that observe at least one end, the other end
    lying beside it in the picture; each end has the id under its own projection, not under the nearest pixel of its
    voxel.

``none`` is no rule: superpoints of geometry alone, as without 2D masks.
"""

import os

import numba
import numpy as np
import pgeof

from ovseg3r_model.records import Bool, Correspondence, Float32, Images, Int32, Points, UInt32, Views
from ovseg3r_model.settings import SuperpointSettings

CONTESTED_BY = 10
"""One view in so many may disagree before an edge is contested; measured, see docs/benchmarks.md."""

VIEWS_AT_ONCE = 32
"""Masks held in memory together."""

# Safe when several scenes are worked on at once, unlike numba's own. By the environment, for when a variable of numba
# changes there, as a run's share of the cores does, it reads all its settings anew.
os.environ.setdefault("NUMBA_THREADING_LAYER", "omp")
numba.config.reload_config()


def instance_superpoints(
    points: Points,
    correspondence: Correspondence,
    observation: UInt32,
    views: Views,
    mask_ids: Images,
    settings: SuperpointSettings,
) -> Int32:
    """IBSp: superpoint of each point, (N,) int32 from 0 without gaps, numbered by their first point.

    With all masks empty the result is :func:`geometry_superpoints`, by every rule.

    Args:
        points: N points in any unit.
        correspondence: their M observations.
        observation: (M,) uint32 lifted annotation, 0 = unlabelled.
        views: the V cameras.
        mask_ids: V maps (H,W) uint32 of the views' sizes, what ``observation`` was lifted from; a few are held at once.
    """
    if settings.cut == "none":
        return geometry_superpoints(points, settings)
    edges = knn_edges(points.xyz, settings.neighbours)
    asked, against = np.zeros(len(edges), np.int32), np.zeros(len(edges), np.int32)
    if settings.cut == "contested-last":
        _ask_beside(edges, points.xyz, correspondence, views, mask_ids, asked, against)
    else:
        blank_counts = settings.cut != "unlabelled-never-cuts"
        _ask_common(edges, correspondence.indptr, correspondence.view, observation, blank_counts, asked, against)
    kept = against == 0 if settings.cut == "any" else 2 * against <= asked
    contested = (CONTESTED_BY * against > asked) & (settings.cut == "contested-last")
    return _segment(points, edges[kept], contested[kept], settings)


def geometry_superpoints(points: Points, settings: SuperpointSettings) -> Int32:
    """Plain graph superpoints: the same without any cut. (N,) int32."""
    edges = knn_edges(points.xyz, settings.neighbours)
    return _segment(points, edges, np.zeros(len(edges), np.bool_), settings)


def knn_edges(xyz: Float32, neighbours: int) -> Int32:
    """(E,2) int32 undirected edges i < j of the kNN graph, each once: i is among j's nearest ``neighbours`` or j among
    i's.
    """
    k = min(neighbours + 1, len(xyz))  # the point itself is its own first neighbour
    nearest, _ = pgeof.knn_search(xyz, xyz, k)
    edges = np.empty((nearest.size, 2), np.int32)
    count = _unique_edges(nearest, edges)
    return edges[:count]


def _segment(points: Points, edges: Int32, contested: Bool, settings: SuperpointSettings) -> Int32:
    weights = np.empty(len(edges), np.float32)
    _edge_weights(points.xyz, points.normal.astype(np.float32), edges, weights)
    order = _sort(weights.view(np.uint32))  # the bits of non-negative floats sort like the numbers
    parent = np.arange(len(points), dtype=np.int32)
    _felzenszwalb(edges, contested, weights, order, settings.k_threshold, settings.min_points, parent)
    out = np.empty(len(points), np.int32)
    _number(parent, out)
    return out


@numba.njit(cache=True)
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


@numba.njit(cache=True, parallel=True)
def _ask_common(edges, indptr, view, observation, blank_counts, asked, against):  # type: ignore[no-untyped-def]
    """Counts, for each edge, the views that observe both ends and those among them that disagree."""
    for e in numba.prange(len(edges)):
        a, end_a = indptr[edges[e, 0]], indptr[edges[e, 0] + 1]
        b, end_b = indptr[edges[e, 1]], indptr[edges[e, 1] + 1]
        while a < end_a and b < end_b:
            if view[a] < view[b]:
                a += 1
            elif view[a] > view[b]:
                b += 1
            else:
                asked[e] += 1
                if observation[a] != observation[b] and (blank_counts or (observation[a] != 0 and observation[b] != 0)):
                    against[e] += 1
                a += 1
                b += 1


def _ask_beside(
    edges: Int32,
    xyz: Float32,
    correspondence: Correspondence,
    views: Views,
    mask_ids: Images,
    asked: Int32,
    against: Int32,
) -> None:
    """Counts, for each edge, the views that observe one end and have the other in the picture, and those among them
    that disagree."""
    camera_from_world = np.linalg.inv(views.world_from_camera)
    project = views.intrinsics @ camera_from_world[:, :3]
    cursor = correspondence.indptr[:-1].copy()
    for first in range(0, len(views), VIEWS_AT_ONCE):
        chosen = range(first, min(first + VIEWS_AT_ONCE, len(views)))
        masks = np.stack([mask_ids[v] for v in chosen])
        last = cursor.copy()
        _skip(correspondence.view, correspondence.indptr, chosen.stop, last)
        _ask_views(edges, xyz, cursor, last, correspondence.view, first, project, masks, asked, against)
        cursor = last


@numba.njit(cache=True)
def _skip(view, indptr, stop, cursor):  # type: ignore[no-untyped-def]
    """Moves each point's cursor to its first observation by view ``stop`` or a later one."""
    for i in range(len(cursor)):
        while cursor[i] < indptr[i + 1] and view[cursor[i]] < stop:
            cursor[i] += 1


@numba.njit(cache=True, inline="always")
def _id_at(point, project, mask):  # type: ignore[no-untyped-def]
    """The id under a point's projection, -1 outside of the picture."""
    x = project[0, 0] * point[0] + project[0, 1] * point[1] + project[0, 2] * point[2] + project[0, 3]
    y = project[1, 0] * point[0] + project[1, 1] * point[1] + project[1, 2] * point[2] + project[1, 3]
    z = project[2, 0] * point[0] + project[2, 1] * point[1] + project[2, 2] * point[2] + project[2, 3]
    if z <= 0:
        return np.int64(-1)
    column, row = int(np.floor(x / z + 0.5)), int(np.floor(y / z + 0.5))
    if column < 0 or row < 0 or row >= mask.shape[0] or column >= mask.shape[1]:
        return np.int64(-1)
    return np.int64(mask[row, column])


@numba.njit(cache=True, parallel=True)
def _ask_views(edges, xyz, begin, end, view, first, project, masks, asked, against):  # type: ignore[no-untyped-def]
    """As ``_ask_beside``, for the views whose masks are given; a point's observations by them are begin[i]:end[i]."""
    for e in numba.prange(len(edges)):
        i, j = edges[e, 0], edges[e, 1]
        a, b = begin[i], begin[j]
        while a < end[i] or b < end[j]:
            v = min(view[a] if a < end[i] else 65536, view[b] if b < end[j] else 65536)
            a += a < end[i] and view[a] == v
            b += b < end[j] and view[b] == v
            at_i = _id_at(xyz[i], project[v], masks[v - first])
            at_j = _id_at(xyz[j], project[v], masks[v - first])
            if at_i >= 0 and at_j >= 0:
                asked[e] += 1
                against[e] += at_i != at_j


@numba.njit(cache=True, parallel=True)
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


@numba.njit(cache=True)
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


@numba.njit(cache=True, inline="always")
def _find(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)
def _felzenszwalb(edges, contested, weights, order, k_threshold, min_points, parent):  # type: ignore[no-untyped-def]
    """Felzenszwalb and Huttenlocher 2004 with ScanNet's pass that joins small segments along the remaining edges; fills
    ``parent``.
    """
    size = np.ones(len(parent), np.int32)
    threshold = np.full(len(parent), k_threshold)
    for stage in range(3):  # merge; join small segments; join those that are still small along contested edges too
        for e in order:
            if contested[e] and stage < 2:
                continue
            a, b = _find(parent, edges[e, 0]), _find(parent, edges[e, 1])
            if a == b:
                continue
            if stage == 0:
                join = weights[e] <= threshold[a] and weights[e] <= threshold[b]
            else:
                join = size[a] < min_points or size[b] < min_points
            if join:
                if size[a] < size[b]:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                threshold[a] = weights[e] + k_threshold / size[a]


@numba.njit(cache=True)
def _number(parent, out):  # type: ignore[no-untyped-def]
    number = np.full(len(parent), -1, np.int32)
    count = 0
    for i in range(len(parent)):
        root = _find(parent, i)
        if number[root] < 0:
            number[root] = count
            count += 1
        out[i] = number[root]
