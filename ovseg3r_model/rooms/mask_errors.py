"""2D instance masks as a segmenter would give them: the truth of a view, with errors at stated rates."""

from collections.abc import Sequence

import cv2
import numpy as np

from ovseg3r_model.records import Bool, UInt32, ViewMasks
from ovseg3r_model.rooms.catalogue import FLAT_KINDS, SOLID_KINDS
from ovseg3r_model.rooms.room import RoomInstance
from ovseg3r_model.settings import MaskErrors


def corrupt(ids: UInt32, instances: Sequence[RoomInstance], errors: MaskErrors, seed: int) -> ViewMasks:
    """The masks of one view from its true ids (H,W) of a room's instances, with errors; local ids 1..K without gaps, in
    the order of the true ids.

    A score is 0.75 to 0.99 for a mask with the right name, 0.3 to 0.8 for a wrong one. The same seed gives the same
    masks.
    """
    rng = np.random.default_rng([seed, 5])
    present = np.unique(ids)
    present = present[present > 0]
    n = len(present)
    # One draw per instance and error, whatever the rates: raising one rate leaves the other errors where they were.
    draw = rng.random((n, 8))
    owner = np.searchsorted(present, ids).astype(np.int64)  # 0..n-1 where ids > 0
    local = np.where(ids > 0, owner + 1, 0)
    kept = draw[:, 0] >= errors.miss
    touching = _touching(local, n)
    joined = np.arange(1, n + 1)  # the local id each one goes under
    for k in range(n):
        free = [j for j in touching[k] if kept[j] and joined[j] == j + 1]
        if kept[k] and joined[k] == k + 1 and free and draw[k, 1] < errors.merge:
            other = free[int(draw[k, 2] * len(free))]
            small, large = sorted((k, other), key=lambda j: (int((local == j + 1).sum()), j))
            joined[joined == small + 1] = large + 1
    merged = np.concatenate([[0], np.where(kept, joined, 0)])[local]
    result = np.zeros(ids.shape, np.uint32)
    labels: list[str] = []
    scores: list[float] = []
    # Small masks last: where grown masks meet, the small one is in front, as it mostly is.
    masks = [(k, merged == k + 1) for k in range(n)]
    parts: list[tuple[int, Bool]] = []
    for k, mask in masks:
        if mask.any():
            grown = _resize(mask, draw[k, 3], errors)
            parts += [
                (k, part)
                for part in (_halves(grown, draw[k, 5]) if draw[k, 4] < errors.split and grown.any() else (grown,))
                if part.any()
            ]
    for index in sorted(range(len(parts)), key=lambda i: -int(parts[i][1].sum())):
        result[parts[index][1]] = index + 1
    present_parts = np.unique(result)
    present_parts = present_parts[present_parts > 0]
    renumber = np.zeros(len(parts) + 1, np.uint32)
    renumber[present_parts] = np.arange(1, len(present_parts) + 1)
    for index in present_parts - 1:
        k = parts[int(index)][0]
        label, score = _name(instances, int(present[k]), draw[k, 6], draw[k, 7], errors, rng)
        labels.append(label)
        scores.append(score)
    return ViewMasks(renumber[result], tuple(labels), np.array(scores, np.float32))


def _touching(local: np.ndarray, n: int) -> list[list[int]]:
    """For each of n instances the others that share a pixel edge with it, increasing."""
    pairs = np.concatenate([
        np.stack([local[:, 1:].ravel(), local[:, :-1].ravel()], axis=1),
        np.stack([local[1:].ravel(), local[:-1].ravel()], axis=1),
    ])  # fmt: skip
    pairs = np.unique(pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(axis=1)], axis=0)
    return [
        sorted({int(b) - 1 for a, b in pairs if a == k + 1} | {int(a) - 1 for a, b in pairs if b == k + 1})
        for k in range(n)
    ]


def _resize(mask: Bool, draw: float, errors: MaskErrors) -> Bool:
    if draw < errors.dilate:
        return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(errors.dilate_px)), np.bool_)
    if draw < errors.dilate + errors.erode:
        return np.asarray(
            cv2.erode(mask.astype(np.uint8), _disc(errors.erode_px), borderType=cv2.BORDER_REPLICATE), np.bool_
        )
    return mask


def _disc(radius: int) -> np.ndarray:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))


def _halves(mask: Bool, draw: float) -> tuple[Bool, Bool]:
    """The two sides of a line through the mask's middle, at an angle given by ``draw`` in [0, 1)."""
    y, x = np.nonzero(mask)
    angle = np.pi * draw
    rows, columns = np.indices(mask.shape)
    side = (columns - x.mean()) * np.cos(angle) + (rows - y.mean()) * np.sin(angle) > 0
    return mask & side, mask & ~side


def _name(
    instances: Sequence[RoomInstance],
    instance: int,
    wrong: float,
    other: float,
    errors: MaskErrors,
    rng: np.random.Generator,
) -> tuple[str, float]:
    thing = instances[instance - 1]
    sure = float(rng.random())
    if wrong < errors.wrong_name:
        names = sorted(({k.name for k in SOLID_KINDS} | {k.name for k in FLAT_KINDS}) - {thing.name, *thing.synonyms})
        return names[int(other * len(names))], 0.3 + 0.5 * sure
    if thing.synonyms and other < errors.synonym:
        return thing.synonyms[int(other / errors.synonym * len(thing.synonyms))], 0.75 + 0.24 * sure
    return thing.name, 0.75 + 0.24 * sure
