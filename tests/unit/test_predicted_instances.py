"""Predictions come to the same from every form that they can be given in, and what cannot be right is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg3r_model.errors import InputError
from ovseg3r_model.predicted_instances import PredictedInstances


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 6), st.integers(0, 70), st.sampled_from([0.0, 0.02, 0.5, 1.0]), st.integers(0, 10**6))
def test_masks_packed_masks_and_points_are_the_same(count: int, points: int, filled: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks, label, score = rng.random((count, points)) < filled, rng.integers(1, 9, count), rng.random(count)
    packed = np.packbits(masks, axis=1)
    if points % 8 and count:
        packed[:, -1] |= 2 ** (8 - points % 8) - 1  # what fills the last byte is nobody's
    for made in (
        PredictedInstances.from_masks(masks, label, score),
        PredictedInstances.from_packed(packed, points, label, score),
        PredictedInstances.from_points([np.flatnonzero(mask) for mask in masks], points, label, score),
    ):
        assert (made.scene_points, len(made)) == (points, count)
        assert (made.point.dtype, made.sizes.dtype, made.score.dtype) == (np.int32, np.int64, np.float64)
        assert [part.tolist() for part in made.points] == [np.flatnonzero(mask).tolist() for mask in masks]
        assert made.sizes.tolist() == masks.sum(axis=1).tolist()
        assert (made.label.tolist(), made.score.tolist()) == (label.tolist(), score.tolist())


@pytest.mark.parametrize(("change", "message"), [
    ({"point": [0, 2, 10, 1]}, "has point 10 of a scene of 10 points"),
    ({"point": [-1, 2, 3, 1]}, "has point -1 of a scene"),
    ({"point": [0, 2, 2, 1]}, "do not increase"),
    ({"point": [0, 3, 2, 1]}, "do not increase"),
    ({"sizes": [3, 2]}, "do not add up to their 4 points"),
    ({"sizes": [5, -1]}, "do not add up"),
    ({"label": [1]}, "2 masks, 1 labels and 2 scores"),
    ({"score": [0.5]}, "2 masks, 2 labels and 1 scores"),
    ({"score": [0.5, np.nan]}, "score of prediction 1 is no finite number"),
    ({"score": [-np.inf, 0.5]}, "score of prediction 0 is no finite number"),
])  # fmt: skip
def test_what_cannot_be_right_is_refused(change: dict[str, Any], message: str) -> None:
    given = {"point": [0, 2, 3, 1], "sizes": [3, 1], "label": [1, 2], "score": [0.5, 0.6]}
    dtype = {"point": np.int32, "sizes": np.int64, "label": np.int64, "score": np.float64}
    PredictedInstances(10, **{name: np.array(value, dtype[name]) for name, value in given.items()})
    with pytest.raises(InputError, match=message):
        PredictedInstances(10, **{name: np.array(v, dtype[name]) for name, v in (given | change).items()})


def test_packed_masks_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="of 17 points have 3 bytes each, not 2"):
        PredictedInstances.from_packed(np.zeros((1, 2), np.uint8), 17, np.ones(1, np.int64), np.ones(1))
