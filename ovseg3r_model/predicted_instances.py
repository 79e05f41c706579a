"""Predicted instances of a scene, held so that they are small and quick to score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Bool, Float64, Int32, Int64, UInt8


@dataclass(frozen=True)
class PredictedInstances:
    """P predictions for a scene of N points; their masks may overlap. K is the number of all masks' points.

    scene_points: N. point (K,) int32: the points of the first prediction, increasing, then those of the second, and so
    on. sizes (P,) int64: how many points each has. label (P,) int64: class ids. score (P,) float64, higher is surer.

    Raises:
        InputError: a prediction has a point that the scene has not, its points do not increase, a score is not finite,
            or there are not as many sizes, labels and scores, or not as many points as the sizes say.
    """

    scene_points: int
    point: Int32
    sizes: Int64
    label: Int64
    score: Float64

    def __post_init__(self) -> None:
        counts = len(self.sizes), len(self.label), len(self.score)
        if len(set(counts)) > 1:
            raise InputError(f"There are {counts[0]} masks, {counts[1]} labels and {counts[2]} scores: not as many.")
        if self.sizes.min(initial=0) < 0 or self.sizes.sum() != len(self.point):
            raise InputError(f"The sizes of the masks do not add up to their {len(self.point)} points.")
        outside = (self.point < 0) | (self.point >= self.scene_points)
        if outside.any():
            raise InputError(
                f"A prediction has point {self.point[outside][-1]} of a scene of {self.scene_points} points."
            )
        follows = np.ones(len(self.point), np.bool_)
        follows[(np.cumsum(self.sizes) - self.sizes)[self.sizes > 0]] = False  # each prediction's first
        if (np.diff(self.point, prepend=-1)[follows] <= 0).any():
            raise InputError("A prediction's points do not increase: sort them and name each once.")
        if not np.isfinite(self.score).all():
            raise InputError(f"The score of prediction {np.argmin(np.isfinite(self.score))} is no finite number.")

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def points(self) -> tuple[Int32, ...]:
        """The points of each, P arrays that share memory with ``point``."""
        end = np.cumsum(self.sizes)
        return tuple(self.point[e - n : e] for e, n in zip(end.tolist(), self.sizes.tolist(), strict=True))

    @classmethod
    def from_masks(cls, masks: Bool, label: Int64, score: NDArray[np.floating]) -> Self:
        """From masks (P,N) bool. Raises InputError as the class does."""
        return cls.from_packed(np.packbits(masks, axis=1), masks.shape[1], label, score)

    @classmethod
    def from_packed(cls, masks: UInt8, scene_points: int, label: Int64, score: NDArray[np.floating]) -> Self:
        """From masks (P, N/8 rounded up) uint8 as ``np.packbits`` makes them; what fills the last byte is ignored.

        Raises:
            InputError: as the class, and where the bytes are not for N points.
        """
        width = -(-scene_points // 8)
        if masks.shape[1] != width:
            raise InputError(f"Packed masks of {scene_points} points have {width} bytes each, not {masks.shape[1]}.")
        flat = masks.reshape(-1)
        byte = np.flatnonzero(flat != 0)  # few are not empty
        bit = np.flatnonzero(np.unpackbits(flat[byte]).astype(np.bool_))
        row, column = np.divmod(byte, max(width, 1))
        row, point = row[bit >> 3], column[bit >> 3] * 8 + (bit & 7)
        inside = point < scene_points
        sizes = np.bincount(row[inside], minlength=len(masks))
        return cls(scene_points, point[inside].astype(np.int32), sizes, label, score.astype(np.float64))

    @classmethod
    def from_points(
        cls, points: Sequence[NDArray[np.integer]], scene_points: int, label: Int64, score: NDArray[np.floating]
    ) -> Self:
        """From P arrays of increasing indices of points. Raises InputError as the class does."""
        sizes = np.array([len(each) for each in points], np.int64)
        point = np.concatenate([np.zeros(0, np.int32), *(each.astype(np.int32) for each in points)])
        return cls(scene_points, point, sizes, label, score.astype(np.float64))
