"""What a learned engine finds in one frame, before masks of several things become one id map."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Bool, Float16, Float32, Int64, UInt8

Features: TypeAlias = tuple[Float16, tuple[float, float]]
"""A frame's feature map (h,w,C) and its scale, as in ``records.ViewFeatures``."""


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


class PackedMasks:
    """K masks of one size as bits: an eighth of the memory of booleans, and quick to intersect."""

    def __init__(self, size: tuple[int, int]) -> None:
        """size: (width, height) of all masks."""
        self.shape: tuple[int, int] = (size[1], size[0])
        self._bits: list[NDArray[np.uint8]] = []

    def add(self, mask: Bool) -> None:
        """The next mask, (H,W)."""
        self._bits.append(np.packbits(mask.reshape(-1)))

    def __len__(self) -> int:
        return len(self._bits)

    def __getitem__(self, index: int) -> Bool:
        """Mask (H,W) bool."""
        height, width = self.shape
        bits = np.unpackbits(self._bits[index], count=height * width)
        return bits.reshape(height, width).view(np.bool_)

    def replace(self, index: int, mask: Bool) -> None:
        self._bits[index] = np.packbits(mask.reshape(-1))

    def chosen(self, index: Int64) -> "PackedMasks":
        """Those at ``index``, in its order."""
        masks = PackedMasks((self.shape[1], self.shape[0]))
        masks._bits = [self._bits[k] for k in index]
        return masks

    def area(self, index: int) -> int:
        return _ones(self._bits[index])

    def intersection(self, one: int, other: int) -> int:
        """Pixels that both masks have."""
        return _ones(self._bits[one] & self._bits[other])


def _ones(bits: UInt8) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))
