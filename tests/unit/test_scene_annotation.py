"""Scenes that are annotated as a whole: a mesh without a view, or a recording with its truth."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.display import show_catalog, show_scene
from flows.inspect_scene import describe
from ovseg3r_model.errors import InputError
from ovseg3r_model.records import LabelledScene
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow, row_of
from storage.garbage import collect_garbage
from storage.scene_store import SceneStore, scene_attributes
from storage.schema import SCENE_ATTRIBUTES
from storage.store import Store
from storage.validation import validate_scene
from tests.unit.stored_scenes import change, digest, mesh, scene

MESH = mesh(50)
GIVEN = {"seed": 0, "stages": {}, "software": {}, "source_notes": []}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def published(store: Store, given: LabelledScene, number: int = 1, **fields: Any) -> CatalogRow:
    done = SceneStore(store).publish(given, "mesh", digest(number), GIVEN, {})
    row = row_of(done, given, source="a mesh", source_digest="d", timings={}, settings={}, engines={}, **fields)
    Catalog(store).add(row)
    return row


def test_a_mesh_without_views_comes_back(store: Store) -> None:
    published(store, MESH)
    stored = SceneStore(store).read("mesh", digest(1))
    assert SceneStore(store).verify("mesh", digest(1)) == []
    back = stored.scene
    assert (back.annotation, len(back.mask_ids), len(back.instances), len(back.observation)) == ("scene", 0, 0, 0)
    assert (len(back.reconstruction.views), len(back.reconstruction.correspondence)) == (0, 0)
    assert back.truth is not None
    assert back.truth.names == ("chair", "sofa", "sofa")
    np.testing.assert_array_equal(back.truth.instance, np.arange(50) % 3)
    assert stored.attributes["annotation"] == "scene"
    assert stored.attributes["truth_names"] == ["chair", "sofa", "sofa"]


def test_the_attributes_that_a_scene_gives_are_named() -> None:
    assert set(scene_attributes(scene(), "room", digest(1), {})) == set(SCENE_ATTRIBUTES)


def test_a_lost_truth_is_found(store: Store) -> None:
    published(store, MESH)
    prefix = SceneStore(store).read("mesh", digest(1)).published.prefix
    store.delete([f"{prefix}/scene.zarr/truth/instance/c/0"])
    assert "is not what was published" in SceneStore(store).verify("mesh", digest(1))[0]


def test_names_count_where_a_point_has_them(store: Store) -> None:
    row = published(store, MESH, tags=["val", "scannet", "val"])
    assert row.label_histogram == {"chair": 1, "sofa": 1}  # no point is of the second sofa
    assert (row.annotation, row.views, row.observations, row.instances, row.points) == ("scene", 0, 0, 0, 50)
    assert row.quality["labelled_share"] == pytest.approx(33 / 50)
    assert row.quality["views_per_point"] == 0
    assert row.tags == ("scannet", "val")
    assert Catalog(store).rows() == [row]


def test_the_annotation_says_whose_names_count(store: Store) -> None:
    both = scene()
    assert published(store, both, 1).label_histogram == {"chair": 8, "café table": 7}
    assert published(store, change(both, "annotation", "scene"), 2).label_histogram == {"chair": 1, "sofa": 1}
    assert validate_scene(change(both, "truth", None)) == []


def test_a_mesh_is_described_and_shown(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = published(store, MESH, tags=["split:val"])
    description = describe(store, "mesh", verify=True)
    assert json.loads(json.dumps(description)) == description
    assert (description["annotation"], description["tags"], description["faults"]) == ("scene", ["split:val"], [])
    assert description["counts"] == {"views": 0, "points": 50, "observations": 0, "instances": 0, "superpoints": 7}
    shapes = {array["name"]: array["shape"] for array in description["arrays"]}
    assert (shapes["truth/instance"], shapes["masks/ids"]) == ([50], [0, 1, 1])
    show_scene(description)
    show_catalog([row])
    shown = capsys.readouterr().out
    assert "annotation: scene" in shown
    assert shown.count("split:val") == 2


def test_a_replaced_mesh_is_collected(store: Store) -> None:
    published(store, MESH, 1, published_at="2026-01-01T00:00:00.000000Z")
    published(store, MESH, 2, published_at="2026-01-02T00:00:00.000000Z")
    past = time.time() - 48 * 3600
    for path in Path(store.root or "").rglob("*"):
        os.utime(path, (past, past))
    assert collect_garbage(store, 24, superseded=True, dry_run=False).scenes == 1
    assert store.list(f"scenes/mesh/{digest(1)}") == []
    assert SceneStore(store).verify("mesh", digest(2)) == []


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (change(MESH, "annotation", "views"), "The scene has no views"),
        (change(MESH, "annotation", "video"), "neither 'views' nor 'scene'"),
        (change(MESH, "truth", None), "The annotation is the scene's truth, but the scene has none"),
        (change(MESH, "truth.instance", np.zeros(50, np.int32)), "truth/instance marks no point"),
        (change(MESH, "truth.names", ("chair",)), "none of the 1 instances' ids at 16 points"),
        (change(MESH, "instances", scene(points=1, views=1).instances), "no views that they could be in"),
        (change(MESH, "mask_ids", [np.zeros((1, 1), np.uint32)]), "masks/ids has 1 maps for 0 views"),
    ],
)
def test_what_a_mesh_cannot_do_without(broken: LabelledScene, sentence: str) -> None:
    assert any(sentence in one for one in validate_scene(broken))


def test_an_unknown_scene_is_said(store: Store) -> None:
    published(store, MESH)
    with pytest.raises(InputError, match="published are: mesh"):
        describe(store, "room")
