"""Scenes with ground truth, from folders to the catalog."""

import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import generate_labels, retry
from flows.import_annotated import run
from flows.import_settings import ImportParameters, name_annotated
from flows.retry_settings import RetryParameters
from flows.scenes import SceneResult
from flows.settings import LabelParameters
from flows.status import status_of_store
from ovseg3r_model.annotated.scannet200 import locate, read_scene
from ovseg3r_model.errors import InputError
from ovseg3r_model.records import LabelledScene
from ovseg3r_model.rooms import make_room
from ovseg3r_model.settings import SuperpointSettings
from storage.catalog import Catalog
from storage.scene_store import SceneStore
from storage.store import Store
from tests.rooms import VOXEL
from tests.unit.scan_folders import scan_of, two_cells, write_preprocessed, write_scan

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def store() -> str:
    return f"memory://{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def room(small_rooms: dict[str, Path]) -> Path:
    """The folder that a room was written to."""
    return small_rooms["tum"].parent


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan of a room, one that lacks its segments, and a tiny one."""
    folder = tmp_path_factory.mktemp("data") / "scans"
    write_scan(folder / "scene0000_00", scan_of(make_room(3), 0.2))
    broken = write_scan(folder / "scene0001_00", two_cells())
    (broken / "scene0001_00_vh_clean_2.0.010000.segs.json").unlink()
    write_scan(folder / "scene0002_00", two_cells())
    return folder


def parameters(sources: list[Path], store: str, **more: Any) -> ImportParameters:
    return ImportParameters.model_validate({"sources": [str(source) for source in sources], "store": store} | more)


def stored(store: str, result: SceneResult) -> LabelledScene:
    assert result.row is not None, result.message
    scenes = SceneStore(Store.open(store))
    assert scenes.verify(result.scene_id, result.row.digest) == []
    return scenes.read(result.scene_id, result.row.digest).scene


def test_a_room_is_published_with_its_truth_as_the_annotation(room: Path, store: str) -> None:
    given = parameters([room], store, voxel=VOXEL, max_views=10, tags=["split:train"], features={"save": True})
    (result,) = run(given)
    assert (result.status, result.scene_id, result.message) == ("published", "tum", "")
    scene = stored(store, result)
    assert (scene.annotation, len(scene.reconstruction.views)) == ("scene", 10)
    assert scene.features is not None
    assert scene.truth is not None
    known = make_room(3)
    names = np.array(["", *(i.name for i in known.instances)])[known.label_points(scene.reconstruction.points.xyz)]
    assert (np.array(["", *scene.truth.names])[scene.truth.instance] == names).mean() > 0.97
    # masks without errors: every observation has a name of the thing that its pixel shows
    seen = scene.observation > 0
    labels = np.array([scene.instances.label_names[k] for k in scene.instances.label])[scene.observation[seen] - 1]
    assert (labels == names[scene.reconstruction.correspondence.point()[seen]]).mean() > 0.97
    (row,) = Catalog(Store.open(store)).rows()
    assert (row.annotation, row.tags) == ("scene", ("split:train",))
    assert sum(row.label_histogram.values()) == len(scene.truth.names)
    (again,) = run(given)
    assert (again.status, again.row) == ("unchanged", row)


def test_the_same_room_labelled_keeps_its_truth_beside_the_views(room: Path, store: str) -> None:
    segment = {"engine": "simulated", "simulated": {"truth": str(room)}}
    values = {
        "sources": [str(room / "room-tum")],
        "store": store,
        "pipeline": {"reconstruct": {"voxel": VOXEL}, "segment": segment},
    }
    (labelled,) = generate_labels.run(LabelParameters.model_validate(values))
    scene = stored(store, labelled)
    assert scene.annotation == "views"
    (imported,) = run(parameters([room], store, voxel=VOXEL))
    other = stored(store, imported)
    assert scene.truth is not None
    assert other.truth is not None
    np.testing.assert_array_equal(scene.truth.instance, other.truth.instance)
    assert scene.truth.names == other.truth.names
    assert labelled.row is not None
    assert sum(labelled.row.label_histogram.values()) == len(scene.instances) > len(scene.truth.names)


def test_all_scans_of_a_folder_are_imported_and_a_broken_one_stops_none(scans: Path, store: str) -> None:
    given = parameters([scans], store, workers=2)
    results = run(given)
    assert [(r.scene_id, r.status) for r in results] == [
        ("scene0000_00", "published"),
        ("scene0001_00", "bad-input"),
        ("scene0002_00", "published"),
    ]
    assert "segs.json: is missing" in results[1].message
    scene = stored(store, results[0])
    expected = read_scene(locate(scans / "scene0000_00"), SuperpointSettings())
    assert scene.truth is not None
    assert expected.truth is not None
    np.testing.assert_array_equal(scene.truth.instance, expected.truth.instance)
    assert (scene.truth.names, scene.annotation) == (expected.truth.names, "scene")
    np.testing.assert_array_equal(scene.superpoint, expected.superpoint)
    assert len(scene.reconstruction.views) == len(scene.mask_ids) == 0
    pictures = SceneStore(Store.open(store)).pictures("scene0000_00", results[0].row.digest)
    assert sorted(pictures) == ["cloud.png", "superpoints.png", "truth.png"]
    assert [r.status for r in run(given)] == ["unchanged", "bad-input", "unchanged"]


def test_a_moved_scan_is_the_same_and_tags_are_given_to_what_is_there(scans: Path, store: str, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(scans / "scene0002_00", tmp_path / "scene0002_00"))
    (first,) = run(parameters([scans / "scene0002_00"], store))
    (second,) = run(parameters([moved], store, tags=["val"]))
    assert second.status == "unchanged"
    assert first.row is not None
    assert second.row is not None
    assert (second.row.digest, second.row.tags) == (first.row.digest, ("val",))
    shutil.rmtree(moved)
    write_scan(moved, replace(two_cells(), objects=(("bag", (9,)),)))
    (third,) = run(parameters([moved], store))
    assert third.status == "bad-input"
    assert "already published from another source" in third.message


def test_what_failed_is_told_by_the_store_and_tried_again_as_it_was(
    room: Path, scans: Path, store: str, tmp_path: Path
) -> None:
    """A scan and a room, each without a file that comes back later."""
    scan = Path(shutil.copytree(scans / "scene0002_00", tmp_path / "scene0002_00"))
    attic = Path(shutil.copytree(room, tmp_path / "attic"))
    (segments,), (depth, *_) = scan.glob("*.segs.json"), sorted((attic / "room-tum" / "depth").iterdir())
    lost = {path: path.read_bytes() for path in (segments, depth)}
    for path in lost:
        path.unlink()
    given = parameters([attic], store, voxel=VOXEL, max_views=10, tags=["split:train"])
    assert [r.status for r in run(given) + run(parameters([scan], store, tags=["val"]))] == ["bad-input"] * 2
    failed = {scene.scene_id: scene for scene in status_of_store(Store.open(store)).scenes}
    assert {scene_id: scene.state for scene_id, scene in failed.items()} == {
        "attic": "failed",
        "scene0002_00": "failed",
    }
    assert str(depth) in failed["attic"].message
    assert failed["attic"].stage == "ingest"
    assert (failed["scene0002_00"].stage, failed["scene0002_00"].todo) == ("publish", ("publish",))
    for path, content in lost.items():
        path.write_bytes(content)
    results = {r.scene_id: r for r in retry.run(RetryParameters.model_validate({"store": store}))}
    assert {scene_id: r.status for scene_id, r in results.items()} == dict.fromkeys(failed, "published")
    rows = {row.scene_id: row for row in Catalog(Store.open(store)).rows()}
    assert (rows["attic"].views, rows["attic"].tags, rows["scene0002_00"].tags) == (10, ("split:train",), ("val",))
    assert [r.status for r in run(given)] == ["unchanged"]
    assert status_of_store(Store.open(store)).count("failed") == 0


def test_what_was_not_there_yet_is_what_it_is_by_then(room: Path, scans: Path, store: str, tmp_path: Path) -> None:
    """A room that is copied later, and a folder of scans that is mounted later: it was never a scene of its own."""
    attic, many = tmp_path / "attic", tmp_path / "many"
    asked = parameters([attic, many], store)
    assert [r.status for r in run(asked)] == ["bad-input"] * 2
    shutil.copytree(room, attic)
    shutil.copytree(scans, many)
    results = {r.scene_id: r for r in retry.run(RetryParameters.model_validate({"store": store}))}
    assert results["attic"].status == "published"
    assert results["many"].status == "bad-input"
    assert f"{many}: holds 3 scenes by now; import it again" in results["many"].message
    again = run(parameters([many], store))
    assert [r.status for r in again] == ["published", "bad-input", "published"]
    failed = [s.scene_id for s in status_of_store(Store.open(store)).scenes if s.state == "failed"]
    assert failed == ["scene0001_00"]


def test_what_a_scan_has_no_use_for_is_refused(scans: Path, store: str) -> None:
    (result,) = run(parameters([scans / "scene0002_00"], store, voxel=0.05, features={"save": True}))
    assert result.status == "bad-input"
    assert "--voxel and --features would make no difference" in result.message


def test_rooms_and_scans_are_told_apart(room: Path, scans: Path, store: str, tmp_path: Path) -> None:
    both = parameters([room.parent, scans / "scene0000_00", tmp_path / "nothing"], store)
    named = [(scene.source.kind, scene.scene_id) for scene in name_annotated(both)]
    rooms = [("room", layout) for layout in ("7scenes", "nerfstudio", "scannet", "tum")]
    assert named == [*rooms, ("scannet200", "scene0000_00"), ("scannet200", "nothing")]
    as_room = parameters([scans / "scene0000_00"], store, format="room")
    for given, told in ((parameters([tmp_path / "nothing"], store), "does not exist"), (as_room, "synthetic room")):
        (result,) = run(given)
        assert result.status == "bad-input"
        assert told in result.message
    for name in ("a.ply", "b.ply"):
        write_preprocessed(tmp_path / "flat" / name, two_cells())
    flat = name_annotated(parameters([tmp_path / "flat"], store))
    assert [scene.scene_id for scene in flat] == ["a", "b"]
    with pytest.raises(InputError, match="would both be scene tum"):
        name_annotated(parameters([room, room.parent], store))
