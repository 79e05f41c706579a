from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ovseg3r_model.commonest import commonest


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=40), st.sampled_from([np.int32, np.uint32]))
def test_it_is_what_counting_gives(pairs: list[tuple[int, int]], kind: type[np.integer]) -> None:
    expected = [-1] * 6  # the last group is always empty
    for group in range(5):
        counts = Counter(value for at, value in pairs if at == group)
        if counts:
            expected[group] = min(counts, key=lambda value: (-counts[value], value))
    groups, values = np.array(pairs, kind).reshape(-1, 2).T
    assert commonest(groups, values, 6).tolist() == expected
