import secrets
from pathlib import Path
from typing import Any

import pytest

from flows.generate_labels import run
from flows.scenes import SceneResult
from flows.settings import LabelParameters, checked
from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.store import Store
from tests.rooms import VOXEL

pytestmark = pytest.mark.usefixtures("prefect_api")


def labelled(source: Path, store: str, tags: list[str], **superpoints: Any) -> SceneResult:
    pipeline = {"reconstruct": {"voxel": VOXEL}, "segment": {"engine": "regions"}, "superpoints": superpoints}
    given = {"sources": [str(source)], "store": store, "tags": tags, "pipeline": pipeline}
    (result,) = run(LabelParameters.model_validate(given))
    return result


def test_tags_are_listed_replaced_and_kept(small_rooms: dict[str, Path]) -> None:
    store = f"memory://{secrets.token_hex(8)}"
    source, catalog = small_rooms["tum"], Catalog(Store.open(store))
    first = labelled(source, store, ["kitchen", "split:train"])
    assert first.status == "published"
    assert [row.tags for row in catalog.rows()] == [("kitchen", "split:train")]

    again = labelled(source, store, [])  # nothing is said of tags
    assert (again.status, again.notes, again.row) == ("unchanged", (), first.row)

    other = labelled(source, store, ["split:val"])
    assert (other.status, other.notes) == ("unchanged", ("Its tags are now split:val.",))
    assert first.row is not None
    assert other.row is not None
    (row,) = catalog.rows(latest_only=False)
    assert row == other.row
    assert (row.tags, row.digest, row.published_at) == (("split:val",), first.row.digest, first.row.published_at)

    newer = labelled(source, store, [], k_threshold=0.05)  # a scene made anew is the same scene
    assert newer.status == "published"
    assert [row.tags for row in catalog.rows(latest_only=False)] == [("split:val",), ("split:val",)]


def test_an_unusable_tag_is_said_before_any_work() -> None:
    with pytest.raises(InputError, match=r"tags\.1: tag 'Split' cannot be used"):
        checked({"sources": ["x"], "tags": ["kitchen", "Split"]})
