import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digests import canonical_json, plain_json, stage_digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_the_order_of_keys_does_not_count(value: Any) -> None:
    assert canonical_json(value) == canonical_json(shuffled(value))


@given(st.dictionaries(st.text(alphabet="abc", min_size=1), st.integers(), max_size=4), st.integers())
def test_any_changed_setting_changes_the_digest(config: dict[str, int], other: int) -> None:
    base = stage_digest("lift", 1, config, {"in": "a"})
    for key, value in config.items():
        if value != other:
            assert stage_digest("lift", 1, {**config, key: other}, {"in": "a"}) != base


def test_stage_version_inputs_and_their_names_count() -> None:
    variants = [
        stage_digest("lift", 1, {"a": 1}, {"in": "x"}),
        stage_digest("lift", 2, {"a": 1}, {"in": "x"}),
        stage_digest("segment", 1, {"a": 1}, {"in": "x"}),
        stage_digest("lift", 1, {"a": 2}, {"in": "x"}),
        stage_digest("lift", 1, {"a": True}, {"in": "x"}),
        stage_digest("lift", 1, {"a": "1"}, {"in": "x"}),
        stage_digest("lift", 1, {"a": 1}, {"in": "y"}),
        stage_digest("lift", 1, {"a": 1}, {"out": "x"}),
        stage_digest("lift", 1, {}, {"a": "1", "in": "x"}),
    ]
    assert len(set(variants)) == len(variants)
    assert all(len(variant) == 64 for variant in variants)


def test_a_number_has_one_spelling() -> None:
    assert canonical_json({"x": 2.0, "y": -0.0}) == canonical_json({"y": 0, "x": 2}) == b'{"x":2,"y":0}'
    assert canonical_json(np.float64(0.1)) == b"0.1"
    assert plain_json({"x": 2.0}) == {"x": 2.0}
    assert isinstance(plain_json({"x": 2.0})["x"], float)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_digest_of_what_is_no_number(bad: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        stage_digest("lift", 1, {"deep": [{"x": bad}]}, {})


@pytest.mark.parametrize("bad", [object(), b"bytes", {1: 2}, {"a", "b"}, np.zeros(2)])
def test_no_digest_of_what_json_does_not_know(bad: object) -> None:
    with pytest.raises(TypeError):
        stage_digest("lift", 1, {"x": bad}, {})


def test_inputs_are_digests() -> None:
    with pytest.raises(TypeError, match="not a digest"):
        stage_digest("lift", 1, {}, {"in": 3})  # type: ignore[dict-item]


def test_another_process_finds_the_same_digest() -> None:
    config = {"labels": ["b", "a"], "voxel": 0.02, "nested": {"z": None, "ä": 1e-9}}
    code = (
        "import json,sys; from storage.digests import stage_digest;"
        "sys.stdout.write(stage_digest('s',1,json.loads(sys.argv[1]),{}))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config)], capture_output=True, text=True, check=True, timeout=30
    )
    assert other.stdout == stage_digest("s", 1, config, {})
