from datetime import date
from itertools import permutations
from typing import Any

import pytest
from pydantic import ValidationError

from ovseg3r_model.errors import InputError
from storage.catalog_rows import CatalogRow
from storage.selection import SelectionSettings, check_scene_pattern, parse_moment, select
from tests.unit.stored_scenes import row


def day(number: int) -> str:
    return f"2026-11-{number:02}T12:00:00.000000Z"


ROWS = [
    row("hall", tags=(), published_at=day(1), label_histogram={"door": 2}, quality={"labelled_share": 0.2}),
    row("kitchen-1", tags=("kitchen", "split:train"), published_at=day(2), quality={"labelled_share": 0.5}),
    row("kitchen-2", tags=("kitchen", "split:val"), published_at=day(3), annotation="scene", quality={}),
    row("office", tags=("split:train",), published_at=day(4), label_histogram={"office desk": 1}),
]


def ids(rows: list[CatalogRow] | None = None, **fields: Any) -> list[str]:
    return [found.scene_id for found in select(rows or ROWS, SelectionSettings.model_validate(fields))]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["hall", "kitchen-1", "kitchen-2", "office"]),
        ({"scenes": ["office", "hall"]}, ["hall", "office"]),
        ({"scenes": ["kitchen-*"]}, ["kitchen-1", "kitchen-2"]),
        ({"scenes": ["kitchen-[!1]", "h?ll"]}, ["hall", "kitchen-2"]),
        ({"scenes": ["garden-*"]}, []),
        ({"tags": ["kitchen", "split:train"]}, ["kitchen-1"]),
        ({"tags": ["split:train"]}, ["kitchen-1", "office"]),
        ({"without_tags": ["split:val", "nowhere"]}, ["hall", "kitchen-1", "office"]),
        ({"labels": ["door", "office desk", "unicorn"]}, ["hall", "office"]),
        ({"annotation": "scene"}, ["kitchen-2"]),
        ({"annotation": "views", "tags": ["kitchen"]}, ["kitchen-1"]),
        ({"published_after": "2026-11-02", "published_before": "2026-11-04"}, ["kitchen-1", "kitchen-2"]),
        ({"published_after": day(2), "published_before": day(3)}, ["kitchen-1"]),
        ({"published_after": "2026-11-03T13:00+01:00"}, ["kitchen-2", "office"]),
        ({"published_after": date(2026, 11, 4)}, ["office"]),
        ({"min_quality": {"labelled_share": 0.5}}, ["kitchen-1"]),
        ({"min_quality": {"labelled_share": -1.0, "coverage": 0.25}}, []),
        ({"min_quality": {"coverage": 0.25}}, ["office"]),
        ({"limit": 2}, ["hall", "kitchen-1"]),
        ({"limit": 2, "tags": ["kitchen"]}, ["kitchen-1", "kitchen-2"]),
    ],
    ids=str,
)
def test_each_condition(fields: dict[str, Any], expected: list[str]) -> None:
    assert ids(**fields) == expected


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = [*ROWS, row("office", 2, published_at=day(1))]
    expected = select(shuffled, SelectionSettings(limit=4))
    assert [found.published_at for found in expected] == [day(1), day(2), day(3), day(1)]
    for order in permutations(shuffled):
        assert select(order, SelectionSettings(limit=4)) == expected


def test_a_scene_named_in_full_must_be_there() -> None:
    with pytest.raises(InputError, match="scene cellar is not published"):
        ids(scenes=["hall", "cellar"])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"published_after": "yesterday"}, "no date or time"),
        ({"published_before": "2026-13-01"}, "no date or time"),
        ({"published_before": "0001-01-01T00:00+05:00"}, "no date or time"),
        ({"scenes": ["Kitchen-*"]}, "can match no scene id"),
        ({"scenes": ["kitchen-[12"]}, "can match no scene id"),
        ({"scenes": ["a/*"]}, "can match no scene id"),
        ({"scenes": ["a b"]}, "scene id 'a b' cannot be used"),
        ({"tags": ["Split"]}, "tag 'Split' cannot be used"),
        ({"min_quality": {"labelled_share": float("nan")}}, "finite"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"scene": ["hall"]}, "not permitted"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SelectionSettings.model_validate(fields)


def test_the_checks_alone_raise_input_errors() -> None:
    with pytest.raises(InputError):
        check_scene_pattern("[")
    with pytest.raises(InputError):
        parse_moment("now")


def test_a_selection_survives_json() -> None:
    given = SelectionSettings(scenes=("k*",), published_after="2026-11-02", min_quality={"a": 1.0})
    assert given.published_after == "2026-11-02T00:00:00.000000Z"
    assert SelectionSettings.model_validate_json(given.model_dump_json()) == given
