"""Frames, of views or of windows, from the similarities between some pairs of them."""

from dataclasses import dataclass

import numpy as np

from ovseg3r_model.reconstruction.judge import Similarity
from ovseg3r_model.records import Float64

HOLDS = 0.5
"""A link that a smaller share of the common points agrees with is used only where there is nothing else."""


@dataclass(frozen=True)
class Link:
    """The similarity ``first_from_second`` between two frames; agree: the share of their common points, by confidence,
    that it brings within 5 % of one another.
    """

    first: int
    second: int
    first_from_second: Similarity
    agree: float


def place_frames(count: int, links: list[Link]) -> list[Similarity]:
    """Each of the frames in the first one: least squares over the links, first of the logarithms of
    their scales, then of the rotations, then of the positions. Without loops the links hold exactly; where a loop
    closes, what does not fit is spread over it.
    """
    if count == 1:
        return [Similarity(1.0, np.eye(3), np.zeros(3))]
    weight = np.sqrt([max(link.agree, 1e-3) for link in links])
    logs = np.array([[np.log(link.first_from_second.scale)] for link in links])
    scale = np.exp(_solved(count, links, weight, [np.eye(1)] * len(links), logs[:, None], np.zeros((1, 1)))[:, 0, 0])
    turns = [link.first_from_second.rotation.T for link in links]
    # columns of each window's transposed rotation: (R_b)^T = (R_ab)^T (R_a)^T
    free = _solved(count, links, weight, turns, np.zeros((len(links), 3, 3)), np.eye(3))
    u, _, vt = np.linalg.svd(np.swapaxes(free, 1, 2))
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    rotation = u @ vt
    shift = np.stack([scale[k.first] * rotation[k.first] @ k.first_from_second.translation for k in links])
    weight = weight / scale[[k.first for k in links]]
    position = _solved(count, links, weight, [np.eye(3)] * len(links), shift[..., None], np.zeros((3, 1)))[..., 0]
    return [Similarity(float(s), r, t) for s, r, t in zip(scale, rotation, position, strict=True)]


def _solved(
    count: int, links: list[Link], weight: Float64, turns: list[Float64], shift: Float64, first: Float64
) -> Float64:
    """(count,d,m): the least-squares solution of x_second = turn @ x_first + shift over the links, x_0 = first (d,m).

    turns: per link (d,d); shift (L,d,m); weight (L,).
    """
    d, m = first.shape
    left, right = np.zeros((len(links) * d, count * d)), np.zeros((len(links) * d, m))
    for k, link in enumerate(links):
        rows = slice(k * d, (k + 1) * d)
        left[rows, link.second * d : (link.second + 1) * d] = weight[k] * np.eye(d)
        left[rows, link.first * d : (link.first + 1) * d] = -weight[k] * turns[k]
        right[rows] = weight[k] * shift[k]
    right -= left[:, :d] @ first
    rest = np.linalg.lstsq(left[:, d:], right, rcond=None)[0]
    return np.concatenate([first[None], rest.reshape(count - 1, d, m)])
