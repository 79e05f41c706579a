"""Windows that were aligned apart, in one frame: a graph of the similarities that their shared views give."""

from dataclasses import dataclass

import numpy as np

from ovseg3r_model.reconstruction.dust3r.similarity import agreement, fit_similarity
from ovseg3r_model.reconstruction.dust3r.window import AlignedWindow
from ovseg3r_model.reconstruction.judge import Similarity
from ovseg3r_model.records import Float64, Int64

HOLDS = 0.5
"""Windows that are not neighbours are tied to one another only where that share of their common points agrees."""


@dataclass(frozen=True)
class Link:
    """The similarity ``first_from_second`` between two windows' frames; agree: the share of their common points, by
    confidence, that it brings within 5 % of one another.
    """

    first: int
    second: int
    first_from_second: Similarity
    agree: float


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


def place_windows(count: int, links: list[Link]) -> list[Similarity]:
    """The frame of each of the windows in that of the first: least squares over the links, first of the logarithms of
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
