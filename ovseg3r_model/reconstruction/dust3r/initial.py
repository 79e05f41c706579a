"""Where the global alignment starts: the views placed by the pairs that can be trusted, by closed forms alone."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from ovseg3r_model.reconstruction.dust3r.graph import HOLDS, Link, place_frames
from ovseg3r_model.reconstruction.dust3r.similarity import CLOSE, agreement, compose, fit_similarity, inverse
from ovseg3r_model.reconstruction.judge import Similarity
from ovseg3r_model.records import Float32, Float64, Int64

_HARDLY = 1e-6
"""Score of a pair that cannot be trusted, beside the best: it is taken where nothing else holds the graph together."""


@dataclass(frozen=True)
class Pointmaps:
    """E directed pairs of n views, at S pixels of each view; pairs 2k and 2k + 1 are one another's reverse.

    edges (E,2) int64: the views (i, j). points (E,2,S,3) float32: what i and what j see, both in i's camera frame and
    the pair's own unit. confidence (E,2,S) float32: DUSt3R's, at least 1; 0 where there is no point.
    """

    edges: Int64
    points: Float32
    confidence: Float32


@dataclass(frozen=True)
class Alignment:
    """All that DUSt3R's section 3.4 optimises, in one world frame whose unit is the median depth.

    view_rotation (n,3,3), view_position (n,3) float64: world_from_camera. depth (n,S) float64, positive, z-depth.
    pair_scale (E,), pair_rotation (E,3,3), pair_position (E,3) float64: world from the pair's frame. error: the median
    distance, by confidence, of a pair's point from the scene's, as a share of the depth; nan before refinement.
    """

    view_rotation: Float64
    view_position: Float64
    depth: Float64
    pair_scale: Float64
    pair_rotation: Float64
    pair_position: Float64
    error: float = float("nan")


def initial_alignment(maps: Pointmaps, views: int) -> Alignment:
    """Every pair says how its two views lie to one another; it holds by the share of points that come back to where
    they were once carried over and back by its two predictions: two that are wrong hardly ever are so in the same way.
    The best spanning tree, by this share times confidence, keeps all views together (as upstream does, which stops
    there); all other pairs that hold are then averaged with it, which halves the error where predictions are bent.
    """
    own = [_own_map(maps, v) for v in range(views)]
    point = [maps.points[e, 0].astype(np.float64) for e in own]
    weight = [maps.confidence[e, 0].astype(np.float64) for e in own]
    ratio = np.array([_ratio(maps, int(own[i]), e) for e, (i, _) in enumerate(maps.edges)])
    moves, fits = [], []
    for e, (_, j) in enumerate(maps.edges):
        target, sure = ratio[e] * maps.points[e, 1].astype(np.float64), np.sqrt(weight[j] * maps.confidence[e, 1])
        moves.append(fit_similarity(point[j], target, sure))
        fits.append(agreement(moves[e].points(point[j]), target, sure))
    score, holds = np.empty(len(maps.edges) // 2), np.empty(len(maps.edges) // 2)
    for k in range(len(score)):
        i = int(maps.edges[2 * k, 0])
        back = compose(moves[2 * k], moves[2 * k + 1]).points(point[i])
        holds[k] = agreement(back, point[i], weight[i])
        score[k] = maps.confidence[2 * k : 2 * k + 2].mean() * holds[k]
    cost = 1 / np.maximum(score, _HARDLY * max(float(score.max()), _HARDLY))
    first, second = maps.edges[::2].T
    tree = minimum_spanning_tree(csr_matrix((cost, (first, second)), shape=(views, views))).tocoo()
    in_tree = {(int(i), int(j)) for i, j in zip(tree.row, tree.col, strict=True)}
    links = []
    for k, (i, j) in enumerate(maps.edges[::2].tolist()):
        if holds[k] >= HOLDS:
            links += [Link(i, j, moves[2 * k], holds[k]), Link(j, i, moves[2 * k + 1], holds[k])]
        elif (i, j) in in_tree:  # one of its ways may still be right
            better = fits[2 * k] >= fits[2 * k + 1]
            links.append(Link(i, j, moves[2 * k] if better else inverse(moves[2 * k + 1]), holds[k]))
    return _normalised(maps, place_frames(views, links), point, ratio)


def _normalised(maps: Pointmaps, placed: list[Similarity], point: list[Float64], ratio: Float64) -> Alignment:
    scale = np.array([s.scale for s in placed])
    depth = scale[:, None] * np.stack([p[:, 2] for p in point])
    seen = depth[depth > 0]
    unit = float(np.median(seen)) if len(seen) else 1.0
    rotation, position = np.stack([s.rotation for s in placed]), np.stack([s.translation for s in placed]) / unit
    first = maps.edges[:, 0]
    return Alignment(
        view_rotation=rotation,
        view_position=position,
        depth=np.maximum(depth / unit, 1e-3),
        pair_scale=scale[first] * ratio / unit,
        pair_rotation=rotation[first],
        pair_position=position[first],
    )


def _own_map(maps: Pointmaps, view: int) -> int:
    """The directed pair whose pointmap of ``view``, in its own frame, agrees best with the other pairs'."""
    mine = np.flatnonzero(maps.edges[:, 0] == view)
    z, sure = maps.points[mine, 0, :, 2].astype(np.float64), maps.confidence[mine, 0].astype(np.float64)
    agree = np.zeros(len(mine))
    for a in range(len(mine)):
        for b in range(len(mine)):
            both = (z[a] > 0) & (z[b] > 0)
            if a != b and both.any():
                log = np.log(z[a][both] / z[b][both])
                agree[a] += np.mean(np.abs(log - np.median(log)) < CLOSE)
    return int(mine[np.argmax((1 + agree) * sure.mean(axis=1))])


def _ratio(maps: Pointmaps, own: int, e: int) -> float:
    """What brings pair e's pointmap of its first view to the unit of pair ``own``'s of the same view."""
    a, b = maps.points[own, 0, :, 2].astype(np.float64), maps.points[e, 0, :, 2].astype(np.float64)
    both = (a > 0) & (b > 0) & (maps.confidence[own, 0] > 0) & (maps.confidence[e, 0] > 0)
    return float(np.median(a[both] / b[both])) if both.any() else 1.0
