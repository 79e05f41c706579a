"""What a learned engine finds in one frame, before masks of several things become one id map."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ovseg3r_model.records import Bool, Float16, Float32, Int64

Features: TypeAlias = tuple[Float16, tuple[float, float]]
"""A frame's feature map (h,w,C) and its scale, as in ``records.ViewFeatures``."""

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Detections:
    """K things found in a frame of W x H pixels.

    box (K,4) float32: x0, y0, x1, y1 in pixels of the frame, where the frame is [0, W] x [0, H]. score (K,) float32 in
    [0, 1]. phrase (K,) int64: index into the vocabulary. feature (K,C) float32: of the thing (METHOD 1.2's R), C is 0
    where features are not asked for.
    """

    box: Float32
    score: Float32
    phrase: Int64
    feature: Float32

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: Int64 | Bool) -> "Detections":
        return Detections(self.box[index], self.score[index], self.phrase[index], self.feature[index])

    @classmethod
    def joined(cls, parts: "list[Detections]") -> "Detections":
        """Those of several passes over one frame."""
        box, score, phrase, feature = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("box", "score", "phrase", "feature")
        )
        return cls(box, score, phrase, feature)


@dataclass(frozen=True)
class Mask:
    """One mask: ``inside`` (h,w) bool is what it is within its ``window`` of the frame; elsewhere it is not."""

    window: Window
    inside: Bool

    @classmethod
    def of(cls, part: Bool, top: int = 0, left: int = 0) -> "Mask":
        """That of a frame (H,W), or of a part of it whose corner is at (top, left), cut to the smallest window that
        holds it all."""
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        if not len(rows):
            return cls((slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.bool_))
        (y0, y1), (x0, x1) = (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
        window = slice(top + y0, top + y1), slice(left + x0, left + x1)
        return cls(window, part[y0:y1, x0:x1].copy())

    def area(self) -> int:
        """Pixels that it has."""
        return int(np.count_nonzero(self.inside))

    def shared(self, other: "Mask") -> int:
        """Pixels that both have."""
        mine, theirs = [], []
        for a, b in zip(self.window, other.window, strict=True):
            low, high = max(a.start, b.start), min(a.stop, b.stop)
            if low >= high:
                return 0
            mine.append(slice(low - a.start, high - a.start))
            theirs.append(slice(low - b.start, high - b.start))
        return int(np.count_nonzero(self.inside[tuple(mine)] & other.inside[tuple(theirs)]))
