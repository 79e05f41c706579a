"""Confidence of any unit made comparable.

Systems state confidence in units of their own (DUSt3R's and VGGT's start at 1 and have no end), which say nothing about
the chance to be right. What survives in all of them is the order. So a pixel's confidence becomes its *rank within the
recording*: the share of all given pixels that are at most as sure, in (0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovseg3r_model.records import Float32

DROPPED = 0.2
"""The least sure fifth of a recording's pixels is left out: sky, mirrors, smeared edges. Equally sure pixels are not
told apart, so that a constant confidence drops nothing."""

UNRANKED_NOTE = "The given depth has no confidence, or not in every view: all of it counts the same."
RANKED_NOTE = (
    f"The confidence is the rank of the given one within the recording, not a chance to be right; the least sure "
    f"{DROPPED:.0%} of the pixels are left out."
)


@dataclass(frozen=True)
class Ranks:
    """sample (n,) float32, increasing: the confidence of pixels from all over the recording, n > 0."""

    sample: Float32

    @staticmethod
    def of(samples: Sequence[Float32]) -> "Ranks":
        return Ranks(np.sort(np.concatenate(samples)))

    def __call__(self, confidence: Float32) -> Float32:
        """The ranks, in (0, 1], and 0 for what is left out; any shape."""
        n = len(self.sample)
        rank = np.searchsorted(self.sample, confidence, side="right") / n
        kept = confidence >= self.sample[int(DROPPED * n)]
        out: Float32 = (rank * kept).astype(np.float32)
        return out
