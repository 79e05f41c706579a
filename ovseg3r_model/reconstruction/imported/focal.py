"""The focal length that a pointmap implies."""

import numpy as np

from ovseg3r_model.records import Float64

_ROUNDS = 20
_MOST_POINTS = 20_000


def fit_focal(points: Float64, offset: Float64) -> float:
    """The focal length f, in pixels, that minimises sum |offset - f (x/z, y/z)|: no outlier counts more than its
    distance (iteratively reweighted least squares, each round in closed form).

    points (n,3) float64 in the camera, z > 0; offset (n,2): their pixels from the principal point.
    """
    plane = points[:, :2] / points[:, 2:]
    weight = np.ones(len(plane))
    focal = 0.0
    for _ in range(_ROUNDS):
        focal = float((weight[:, None] * offset * plane).sum() / (weight[:, None] * plane**2).sum())
        away = np.linalg.norm(offset - focal * plane, axis=1)
        weight = 1 / np.maximum(away, 1e-3)  # a thousandth of a pixel is no error
    return focal


def spread_out(count: int) -> slice:
    """Which of ``count`` values are enough for a fit: every k-th."""
    return slice(None, None, max(1, count // _MOST_POINTS))
