"""Robust closed forms: the similarity between two pointmaps, the focal length of one."""

import numpy as np

from ovseg3r_model.reconstruction.judge import Similarity
from ovseg3r_model.records import Float64

CLOSE = 0.05
"""Points that are apart by no more than this share of their distance from the origin go together."""

_ROUNDS = 12


def fit_similarity(source: Float64, target: Float64, weight: Float64) -> Similarity:
    """The similarity that carries source (n,3) to target (n,3): the least weighted sum of distances (not squares), by
    reweighted least squares, so that a minority of wrong points does not matter. weight (n,), none negative.

    The scale is the ratio of the two spreads: unlike the least-squares scale it does not shrink what is noisy.
    """
    spread = float(np.median(np.linalg.norm(target - np.median(target, axis=0), axis=1)))
    now, result = weight, Similarity(1.0, np.eye(3), np.zeros(3))
    for _ in range(_ROUNDS):
        share = now / max(float(now.sum()), 1e-300)
        mean_s, mean_t = share @ source, share @ target
        s, t = source - mean_s, target - mean_t
        u, _, vt = np.linalg.svd((t * share[:, None]).T @ s)
        rotation = (u * [1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0]) @ vt
        ratio = float((share @ (t**2)).sum()) / max(float((share @ (s**2)).sum()), 1e-300)
        scale = max(float(np.sqrt(ratio)), 1e-12)
        result = Similarity(scale, rotation, mean_t - scale * rotation @ mean_s)
        away = np.linalg.norm(result.points(source) - target, axis=1)
        now = weight / np.maximum(away, max(1e-3 * spread, 1e-12))
    return result


def compose(outer: Similarity, inner: Similarity) -> Similarity:
    """x -> outer(inner(x))."""
    return Similarity(
        outer.scale * inner.scale, outer.rotation @ inner.rotation, outer.points(inner.translation[None])[0]
    )


def inverse(given: Similarity) -> Similarity:
    """The other way round."""
    rotation = given.rotation.T
    return Similarity(1 / given.scale, rotation, -(rotation @ given.translation) / given.scale)


def agreement(points: Float64, others: Float64, weight: Float64) -> float:
    """The weighted share of points (n,3) within 5 % of their distance to the origin from the others (n,3)."""
    close = np.linalg.norm(points - others, axis=1) <= CLOSE * np.linalg.norm(others, axis=1)
    return float(weight[close].sum()) / max(float(weight.sum()), 1e-300)


def focal_of(points: Float64, offset: Float64, weight: Float64) -> float:
    """The focal length, pixels, of the pointmap (n,3) of a camera's own view; offset (n,2): pixels from the principal
    point. Nan where no point is in front of the camera.

    DUSt3R, section 3.3: the least weighted sum of pixel distances, by Weiszfeld's iteration.
    """
    usable = (points[:, 2] > 1e-9) & (weight > 0)
    if usable.sum() < 10:
        return float("nan")
    plane, at, weight = points[usable, :2] / points[usable, 2:], offset[usable], weight[usable]
    along, square = (plane * at).sum(axis=1), (plane**2).sum(axis=1)
    now, focal = weight, 0.0
    for _ in range(_ROUNDS):
        focal = float(now @ along) / max(float(now @ square), 1e-300)
        now = weight / np.maximum(np.linalg.norm(at - focal * plane, axis=1), 1e-3)
    return focal
