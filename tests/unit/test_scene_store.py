import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Correspondence, LabelledScene
from storage.catalog import Catalog
from storage.catalog_rows import row_of
from storage.errors import SceneRefused
from storage.scene_store import SceneStore, scene_attributes
from storage.schema import SCENE_ARRAYS
from storage.store import Store
from storage.validation import csr_violations, validate_scene
from tests.unit.stored_scenes import change, digest, scene

BASE = scene()
assert BASE.features is not None


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def objects(store: Store, prefix: str) -> dict[str, bytes | None]:
    return {entry.key[len(prefix) :]: store.get(entry.key) for entry in store.list(prefix)}


def edited(path: str, index: Any, value: Any) -> LabelledScene:
    """BASE with one entry of an array changed; the path is the stored one."""
    spec = next(spec for spec in SCENE_ARRAYS if spec.path == path)
    array = np.array(spec.get(BASE))
    array[index] = value
    return change(BASE, FIELDS[path], array)


FIELDS = {
    "points/xyz": "reconstruction.points.xyz",
    "points/normal": "reconstruction.points.normal",
    "points/confidence": "reconstruction.points.confidence",
    "correspondence/indptr": "reconstruction.correspondence.indptr",
    "correspondence/view": "reconstruction.correspondence.view",
    "correspondence/pixel": "reconstruction.correspondence.pixel",
    "views/intrinsics": "reconstruction.views.intrinsics",
    "views/world_from_camera": "reconstruction.views.world_from_camera",
    "views/size": "reconstruction.views.size",
    "views/frame": "reconstruction.views.frame",
    "views/time": "reconstruction.views.time",
    "instances/view": "instances.view",
    "instances/label": "instances.label",
    "instances/score": "instances.score",
    "instances/box": "instances.box",
    "instances/position": "instances.position",
    "labels/observation": "observation",
    "superpoints/id": "superpoint",
    "truth/instance": "truth.instance",
    "features/points": "features.points",
    "features/objects": "features.objects",
    "features/points_mean": "features.point_reduction.mean",
    "features/points_basis": "features.point_reduction.basis",
    "features/objects_mean": "features.object_reduction.mean",
    "features/objects_basis": "features.object_reduction.basis",
}
TWICE_SEEN = int(np.flatnonzero(np.diff(BASE.reconstruction.correspondence.indptr) > 1)[0])
SECOND = int(BASE.reconstruction.correspondence.indptr[TWICE_SEEN]) + 1
LABELLED = int(np.flatnonzero(BASE.observation)[0])
MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])


def masks(view: int, change: Any) -> LabelledScene:
    maps = [mask.copy() for mask in BASE.mask_ids]  # type: ignore[attr-defined]
    maps[view] = change(maps[view])
    return _with_masks(maps)


def _with_masks(maps: list[Any]) -> LabelledScene:
    return change(BASE, "mask_ids", maps)


def _stranger(ids: Any) -> Any:
    ids[0, 0] = 99
    return ids


def _other_view(ids: Any) -> Any:
    ids[0, 0] = 1
    return ids


BROKEN = [
    (change(BASE, "superpoint", BASE.superpoint.astype(np.int64)), "superpoints/id is int64, not int32"),
    (change(BASE, "observation", BASE.observation[:-1]), "labels/observation has shape"),
    (_with_masks(list(BASE.mask_ids)[:-1]), "4 maps for 5 views"),  # type: ignore[call-overload]
    (edited("points/xyz", (3, 1), np.nan), "points/xyz is not finite at 1 points"),
    (edited("points/normal", 2, 0), "no unit length at 1 points"),
    (edited("points/normal", (2, 0), np.nan), "no unit length at 1 points"),
    (edited("points/confidence", 4, 0), "outside (0, 1] at 1 points"),
    (edited("correspondence/indptr", 0, 1), "indptr runs from 1"),
    (edited("correspondence/indptr", 5, 0), "indptr steps back"),
    (edited("correspondence/view", SECOND, 5), "names an unknown view in 1 observations"),
    (
        edited("correspondence/view", SECOND, BASE.reconstruction.correspondence.view[SECOND - 1]),
        "does not strictly increase",
    ),
    (edited("correspondence/pixel", (7, 0), 32), "outside the picture in 1 observations"),
    (edited("correspondence/pixel", (7, 1), 24), "outside the picture in 1 observations"),
    (edited("views/intrinsics", (0, 0, 0), -1), "no pinhole matrix in 1 views"),
    (edited("views/world_from_camera", 1, MIRROR), "no proper rotation and translation in 1 views"),
    (edited("views/world_from_camera", 1, np.nan), "no proper rotation and translation in 1 views"),
    (edited("views/world_from_camera", (1, 0, 0), 1.1), "no proper rotation and translation in 1 views"),
    (edited("views/size", 0, 0), "views/size is not positive"),
    (edited("views/frame", 0, -1), "views/frame is negative"),
    (edited("views/time", 0, np.inf), "views/time is infinite"),
    (edited("instances/view", 0, 9), "instances/view names an unknown view"),
    (edited("instances/label", 0, 2), "points outside the 2 label names"),
    (edited("instances/score", 0, 1.5), "instances/score is outside"),
    (edited("instances/box", 0, (5, 5, 4, 6)), "turned over or leaves the picture"),
    (edited("instances/box", 0, (5, 5, 32, 6)), "turned over or leaves the picture"),
    (edited("instances/position", (1, 0), np.nan), "neither a place nor nan"),
    (change(BASE, "instances.label_names", ("chair", "")), "1 empty texts"),
    (change(BASE, "instances.label_names", ("chair", "chair")), "holds a text twice"),
    (edited("labels/observation", LABELLED, 16), "names an unknown instance in 1 observations"),
    (
        edited("labels/observation", LABELLED, (BASE.observation[LABELLED] + 2) % 15 + 1),
        "an instance of another view in 1 observations",
    ),
    (edited("labels/observation", LABELLED, 0), "differs from the id under its pixel in 1 observations"),
    (masks(2, _stranger), "unknown ids or ids of other views in 1 views"),
    (masks(2, _other_view), "unknown ids or ids of other views in 1 views"),
    (masks(2, lambda ids: ids[:-1]), "all views have one size"),
    (masks(2, lambda ids: ids.astype(np.int32)), "all views have one size"),
    (edited("features/points", (1, 2), np.nan), "features/points is not finite in 1 entries"),
    (edited("features/objects_basis", (1, 1), np.inf), "features/objects_basis is not finite in 1 entries"),
    (change(BASE, "features.points", BASE.features.points[1:]), "features/points has shape"),
    (change(BASE, "features.objects", BASE.features.objects[:, :1]), "features/objects_basis has shape (4, 2), not"),
    (change(BASE, "features.point_reduction.mean", np.zeros(9, np.float32)), "features/points_mean has shape (9,)"),
    (edited("truth/instance", 0, 4), "none of the 3 instances' ids at 1 points"),
    (edited("truth/instance", 0, -1), "none of the 3 instances' ids at 1 points"),
    (change(BASE, "truth.instance", np.zeros(7, np.int32)), "truth/instance has shape (7,)"),
    (change(BASE, "truth.names", ("chair", " ", "")), "attrs.truth_names holds 2 empty texts"),
    (change(BASE, "truth.names", ()), "attrs.truth_names is empty"),
    (edited("superpoints/id", 0, -1), "not from 0 without gaps"),
    (edited("superpoints/id", slice(None), 1), "leaves out 1 ids"),
    (change(BASE, "reconstruction.voxel_size", 0.0), "not a positive length"),
    (change(BASE, "reconstruction.quality", {"ate": float("nan")}), "quality figures cannot be stored"),
]


@pytest.mark.parametrize(("broken", "sentence"), BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_each_broken_rule_has_its_own_sentence(broken: LabelledScene, sentence: str, store: Store) -> None:
    found = validate_scene(broken)
    assert any(sentence in one for one in found)
    assert all(one.endswith(".") for one in found)
    with pytest.raises(SceneRefused, match="room is not published") as caught:
        SceneStore(store).publish(broken, "room", digest(1), {}, {})
    assert caught.value.violations == tuple(found)
    assert store.list("") == []


def test_every_stored_array_can_be_refused() -> None:
    refused = {path for path in FIELDS if any(path in sentence for _, sentence in BROKEN)}
    assert refused >= {"points/xyz", "labels/observation", "superpoints/id"}
    assert set(FIELDS) | {"points/rgb"} == {spec.path for spec in SCENE_ARRAYS}


@pytest.mark.parametrize("path", ["features", "features.point_reduction", "features.object_reduction"])
def test_a_scene_may_do_without_features_and_without_their_reduction(store: Store, path: str) -> None:
    without = change(BASE, path, None)
    assert validate_scene(without) == []
    published = SceneStore(store).publish(without, "room", digest(2), {}, {})
    stored = SceneStore(store).read("room", digest(2))
    assert SceneStore(store).verify("room", digest(2)) == []
    assert stored.published.content == published.content
    if path == "features":
        assert stored.scene.features is None
        assert "feature_model" not in stored.attributes
        assert "features" not in store.open_group(f"{published.prefix}/scene.zarr")
    else:
        assert stored.scene.features is not None
        assert (stored.scene.features.point_reduction is None) == (path == "features.point_reduction")
        assert (stored.scene.features.object_reduction is None) == (path == "features.object_reduction")


def test_empty_scenes_are_refused() -> None:
    assert "The scene has no instances" in validate_scene(scene(per_view=0))[0]
    empty = scene(points=0, views=2)
    assert [sentence[:21] for sentence in validate_scene(empty)] == ["The scene has no poin", "The scene has no obse"]


def test_several_broken_rules_are_all_named() -> None:
    broken = change(edited("points/xyz", (3, 1), np.inf), "superpoint", np.full(200, 3, dtype=np.int32))
    assert len(validate_scene(broken)) == 2


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_csr_rules_agree_with_a_plain_reading(data: st.DataObject) -> None:
    lists = data.draw(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=6))
    flat = [view for views in lists for view in views]
    indptr = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    corr = Correspondence(indptr, np.array(flat, dtype=np.uint16), np.zeros((len(flat), 2), dtype=np.uint16))
    right = all(view < 4 for view in flat) and all(views == sorted(set(views)) for views in lists)
    assert (list(csr_violations(corr, 4)) == []) == right


@given(st.lists(st.integers(-1, 7), min_size=1, max_size=6))
def test_csr_pointers_agree_with_a_plain_reading(pointers: list[int]) -> None:
    corr = Correspondence(
        np.array(pointers, dtype=np.int64), np.arange(5, dtype=np.uint16), np.zeros((5, 2), dtype=np.uint16)
    )
    right = pointers[0] == 0 and pointers[-1] == 5 and pointers == sorted(pointers)
    assert (list(csr_violations(corr, 5)) == []) == right


def test_validation_is_fast() -> None:
    """0.05 s on the machine of docs/storage-format.md; a loop over points would take a minute."""
    large = scene(points=20_000, views=40)
    repeat = 40
    corr = large.reconstruction.correspondence
    total = len(corr)
    indptr = np.concatenate([[0], (corr.indptr[1:] + total * np.arange(repeat)[:, None]).ravel()])
    tiled = Correspondence(indptr, np.tile(corr.view, repeat), np.tile(corr.pixel, (repeat, 1)))
    start = time.perf_counter()
    assert list(csr_violations(tiled, 40)) == []
    assert time.perf_counter() - start < 20


def test_a_scene_comes_back_as_it_was(store: Store) -> None:
    pictures = {"b.png": b"two", "a.png": b"one"}
    SceneStore(store).publish(BASE, "room", digest(1), {"seeds": {"b": 1, "a": [1.0, None]}}, pictures)
    stored = SceneStore(store).read("room", digest(1))
    for spec in SCENE_ARRAYS:
        back, was = spec.get(stored.scene), spec.get(BASE)
        assert back.dtype == was.dtype
        np.testing.assert_array_equal(back, was)
    assert len(stored.scene.mask_ids) == 5
    for view in range(5):
        np.testing.assert_array_equal(stored.scene.mask_ids[view], BASE.mask_ids[view])
    rec = stored.scene.reconstruction
    assert (rec.scale_known, rec.world_frame, rec.voxel_size) == (True, "the first camera", 0.02)
    assert (rec.quality, rec.notes) == ({"coverage": 0.5}, ("one note",))
    assert stored.scene.instances.label_names == ("chair", "café table")
    assert stored.scene.truth is not None
    assert (stored.scene.truth.names, stored.scene.annotation) == (("chair", "sofa", "sofa"), "views")
    assert stored.scene.features is not None
    assert stored.scene.features.model == stored.attributes["feature_model"] == "simulated"
    assert stored.attributes == scene_attributes(BASE, "room", digest(1), {"seeds": {"b": 1, "a": [1.0, None]}})
    assert SceneStore(store).pictures("room", digest(1)) == pictures
    assert stored.published.bytes == sum(entry.size for entry in store.list(stored.published.prefix))
    assert stored.published.uri == f"{store.url}/{stored.published.prefix}/scene.zarr"


def test_two_publishes_give_the_same_bytes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Store.open(tmp_path_factory.mktemp("other"))
    first = SceneStore(store).publish(BASE, "room", digest(1), {"a": 1, "b": 2}, {"a.png": b"one"})
    second = SceneStore(other).publish(scene(), "room", digest(1), {"b": 2, "a": 1}, {"a.png": b"one"})
    assert objects(store, first.prefix) == objects(other, second.prefix)
    assert len(objects(store, first.prefix)) > 40
    assert first.content == second.content


def test_content_digest_sees_every_array() -> None:
    store = Store.open("memory://content")
    scenes = SceneStore(store)
    variants = [BASE, edited("points/xyz", (0, 0), 7), edited("superpoints/id", 0, 1), masks(0, _other_view)]
    digests = {scenes.write(variant, {}, {}, f"w/{number}") for number, variant in enumerate(variants)}
    digests.add(scenes.write(BASE, {"a": 1}, {}, "w/attributes"))
    digests.add(scenes.write(BASE, {}, {"a.png": b""}, "w/picture"))
    assert len(digests) == 6


def test_publishing_again_writes_nothing(store: Store) -> None:
    scenes = SceneStore(store)
    first = scenes.publish(BASE, "room", digest(1), {}, {})
    before = store.list("")
    assert scenes.publish(scene(seed=5), "room", digest(1), {}, {}) == first
    assert store.list("") == before


def test_attributes_of_the_scene_cannot_be_given(store: Store) -> None:
    with pytest.raises(ValueError, match="given by the scene"):
        SceneStore(store).publish(BASE, "room", digest(1), {"labels": []}, {})
    with pytest.raises(ValueError, match="not a number"):
        SceneStore(store).publish(BASE, "room", digest(1), {"x": float("inf")}, {})
    assert store.list("") == []


def test_a_kill_while_writing_leaves_nothing_to_see(store: Store) -> None:
    scenes, catalog = SceneStore(store), Catalog(store)
    scenes.write(BASE, {}, {}, f"scenes/room/{digest(1)}/0123456789abcdef")  # and killed
    assert scenes.published("room", digest(1)) is None
    assert catalog.rows() == []
    with pytest.raises(InputError, match="no scene room"):
        scenes.read("room", digest(1))
    published = scenes.publish(BASE, "room", digest(1), {}, {})
    assert scenes.verify("room", digest(1)) == []
    assert "0123456789abcdef" not in published.prefix


def test_a_kill_before_the_row_is_mended_by_a_rerun(store: Store) -> None:
    scenes, catalog = SceneStore(store), Catalog(store)
    first = scenes.publish(BASE, "room", digest(1), {}, {})  # and killed
    assert catalog.rows() == []
    again = scenes.publish(BASE, "room", digest(1), {}, {})
    assert again == first
    entry = row_of(again, BASE, source="x", source_digest="y", timings={}, settings={}, engines={})
    assert catalog.add(entry)
    assert catalog.rows() == [entry]
    assert (entry.points, entry.views, entry.instances, entry.superpoints) == (200, 5, 15, 7)
    assert entry.label_histogram == {"chair": 8, "café table": 7}


def test_the_slower_of_two_writers_gives_way(store: Store) -> None:
    scenes = SceneStore(store)
    content = scenes.write(BASE, {}, {}, f"scenes/room/{digest(1)}/{'a' * 16}")
    winner = scenes.publish(BASE, "room", digest(1), {}, {})
    assert scenes.commit("room", digest(1), "a" * 16, content) == winner
    assert all("a" * 16 not in entry.key for entry in store.list("scenes"))
    assert scenes.commit("room", digest(1), winner.prefix[-16:], winner.content).prefix == winner.prefix


@pytest.mark.parametrize("path", ["points/xyz/c/0/0", "masks/ids/c/0/0/0", "labels/observation/zarr.json"])
def test_verify_finds_lost_and_damaged_objects(path: str, store: Store) -> None:
    scenes = SceneStore(store)
    published = scenes.publish(BASE, "room", digest(1), {}, {"a.png": b"x"})
    key = f"{published.prefix}/scene.zarr/{path}"
    kept = store.get(key)
    assert kept is not None
    store.delete([key])
    assert scenes.verify("room", digest(1)) != []
    store.put_if_absent(key, kept[: len(kept) // 2])
    assert scenes.verify("room", digest(1)) != []
    store.delete([key])
    store.put_if_absent(key, kept)
    assert scenes.verify("room", digest(1)) == []
    store.delete([f"{published.prefix}/pictures/a.png"])
    assert "is not what was published" in scenes.verify("room", digest(1))[0]


def test_a_newer_schema_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    SceneStore(store).publish(BASE, "room", digest(1), {}, {})
    monkeypatch.setattr("storage.scene_store.SCHEMA_VERSION", 0)
    with pytest.raises(InputError, match="schema version 3"):
        SceneStore(store).read("room", digest(1))
