"""Which keyframes the network sees together, and which are aligned at a time."""

from dataclasses import dataclass

import cv2
import numpy as np

from ovseg3r_model.reconstruction.dust3r.crops import Crop
from ovseg3r_model.reconstruction.sfm_pairs import FEATURES_PER_PICTURE, choose_pairs
from ovseg3r_model.records import Bool, Images, Int64, UInt8
from ovseg3r_model.settings import Dust3rSettings


@dataclass(frozen=True)
class Window:
    """n keyframes that are aligned at a time.

    views (n,) int64, increasing: which of the recording's. pairs (P,2) int64: indices into ``views``, first < second.
    kept (n,) bool: the views whose cameras and depth are taken from this window; every keyframe is kept once.
    """

    views: Int64
    pairs: Int64
    kept: Bool


def pair_graph(color: Images, crop: Crop, settings: Dust3rSettings, seed: int) -> Int64:
    """Pairs (P,2) int64 of the keyframes, first < second: neighbours in time, and pictures that look alike."""
    descriptors = (
        [_sift(crop.cut(color[i])) for i in range(len(color))]
        if settings.loop_neighbours
        else [np.empty((0, 128), np.uint8)] * len(color)
    )
    return choose_pairs(descriptors, settings.neighbours, settings.loop_neighbours, seed)


def _sift(rgb: UInt8) -> UInt8:
    """(n,128) uint8, the strongest first."""
    sift = cv2.SIFT.create(nfeatures=FEATURES_PER_PICTURE)
    keypoints, found = sift.detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
    if found is None:
        return np.empty((0, 128), np.uint8)
    order = np.argsort([-k.response for k in keypoints], kind="stable")
    out: UInt8 = found[order].astype(np.uint8)
    return out


def plan_windows(count: int, pairs: Int64, size: int, neighbours: int) -> list[Window]:
    """Windows over ``count`` keyframes of which each shares a quarter of its ``size`` (two at least) with the next.

    A window also takes in, as guests, at most a quarter of its size of earlier keyframes that loops pair its own with:
    they tie it to where the camera has been before.
    """
    overlap = max(2, size // 4)
    starts = [0] if count <= size else list(range(0, count - overlap, size - overlap))
    ends = [min(start + size, count) for start in starts]
    # where two windows overlap, each keeps the half that is farther from its end
    keeps = [0, *(start + overlap // 2 for start in starts[1:]), count]
    windows = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        views = np.concatenate([_guests(pairs, start, end, overlap, neighbours), np.arange(start, end)])
        both = np.isin(pairs, views).all(axis=1)
        kept = (views >= keeps[k]) & (views < keeps[k + 1])
        windows.append(Window(views, np.searchsorted(views, pairs[both]).astype(np.int64), kept))
    return windows


def _guests(pairs: Int64, start: int, end: int, most: int, neighbours: int) -> Int64:
    loops = (pairs[:, 0] < start) & (pairs[:, 1] >= start) & (pairs[:, 1] < end)
    loops &= pairs[:, 1] - pairs[:, 0] > neighbours
    guest, times = np.unique(pairs[loops, 0], return_counts=True)
    out: Int64 = np.sort(guest[np.argsort(-times, kind="stable")[:most]]).astype(np.int64)
    return out
