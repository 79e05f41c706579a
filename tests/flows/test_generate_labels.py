import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.final_state import results_of
from flows.generate_labels import generate_labels, run
from flows.scenes import SceneResult
from flows.settings import LabelParameters, name_scenes
from ovseg3r_model.errors import InputError
from ovseg3r_model.rooms import Layout
from storage.catalog import Catalog
from storage.scene_store import SceneStore
from storage.stages import Stages
from storage.store import Store
from tasks.progress import Progress, listening
from tests.rooms import VOXEL, masks_of

pytestmark = pytest.mark.usefixtures("prefect_api")

STAGES = {"ingest", "reconstruct", "segment", "lift", "superpoints"}


@pytest.fixture
def store() -> str:
    return f"memory://{secrets.token_hex(8)}"


def parameters(sources: list[Path], store: str, **pipeline: Any) -> LabelParameters:
    given = {
        "sources": [str(source) for source in sources],
        "store": store,
        "pipeline": {"reconstruct": {"voxel": VOXEL}, "segment": {"engine": "regions"}} | pipeline,
    }
    return LabelParameters.model_validate(given)


def labelled(given: LabelParameters) -> tuple[list[SceneResult], dict[str, bool]]:
    """The results, and for each stage that was announced whether it was reused."""
    seen: list[Progress] = []
    with listening(seen.append):
        results = run(given)
    return results, {event.stage: event.reused for event in seen}


def test_a_broken_source_does_not_stop_the_others(small_rooms: dict[str, Path], store: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(small_rooms["7scenes"], broken)
    (broken / "frame-000004.pose.txt").unlink()
    given = parameters([small_rooms["tum"], broken, small_rooms["scannet"]], store)
    states = []
    results = results_of(lambda: states.append(generate_labels(given, return_state=True)) or states[0])
    assert states[0].is_failed()
    assert states[0].message == "1 of 3 scenes failed: broken"
    assert [(r.scene_id, r.status) for r in results] == [
        ("room-tum", "published"),
        ("broken", "bad-input"),
        ("room-scannet", "published"),
    ]
    assert str(broken / "frame-000004.pose.txt") in results[1].message
    assert [row.scene_id for row in Catalog(Store.open(store)).rows()] == ["room-scannet", "room-tum"]


def test_a_run_over_a_folder_that_grew_by_two_labels_these_alone(
    small_rooms: dict[str, Path], store: str, tmp_path: Path
) -> None:
    """As a schedule makes it: the same parameters, whose pattern finds more the second time."""
    given = parameters([tmp_path / "room-*"], store)
    shutil.copytree(small_rooms["tum"], tmp_path / "room-1")
    assert [(r.scene_id, r.status) for r in run(given)] == [("room-1", "published")]
    for name, layout in (("room-0", "scannet"), ("room-2", "nerfstudio")):
        shutil.copytree(small_rooms[layout], tmp_path / name)
    seen: list[Progress] = []
    with listening(seen.append):
        results = run(given)
    assert [(r.scene_id, r.status) for r in results] == [
        ("room-0", "published"),
        ("room-1", "unchanged"),
        ("room-2", "published"),
    ]
    assert {event.scene_id for event in seen} == {"room-0", "room-2"}
    assert len(Catalog(Store.open(store)).rows(latest_only=False)) == 3


def test_a_defect_in_one_scene_is_told_and_the_others_go_on(small_rooms: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "store"
    (first,) = run(parameters([small_rooms["tum"]], str(place)))
    assert first.row is not None
    # The stage is committed, but somebody deleted its data: no bad input, and not the other scene's business.
    ref = Stages(Store.open(place)).committed("ingest", json_digests(first)["ingest"])
    assert ref is not None
    shutil.rmtree(place / ref.prefix / "data.zarr" / "color")
    sources = [small_rooms["tum"], small_rooms["scannet"]]
    results = run(parameters(sources, str(place), segment={"engine": "regions", "min_area": 30}))
    assert [r.status for r in results] == ["failed", "published"]
    assert "Error" in results[0].message
    assert Catalog(Store.open(place)).rows()[1].digest == first.row.digest  # the older scene is still what it was


def json_digests(result: SceneResult) -> dict[str, str]:
    """The digests of the stages behind a published scene, from the scene itself."""
    assert result.row is not None
    stored = SceneStore(Store.open(result.row.uri.split("/scenes/")[0])).read(result.scene_id, result.row.digest)
    return {name: str(digest) for name, digest in stored.attributes["stages"].items()}


@dataclass(frozen=True)
class Labelled:
    given: LabelParameters
    result: SceneResult
    stages: dict[str, bool]


@pytest.fixture(scope="module")
def first(small_rooms: dict[str, Path]) -> Labelled:
    """A scene that was labelled once, and what was announced; the store is shared by the tests of further runs."""
    given = parameters([small_rooms["tum"]], f"memory://{secrets.token_hex(8)}")
    (result,), stages = labelled(given)
    return Labelled(given, result, stages)


def test_a_second_run_finds_everything_done(first: Labelled) -> None:
    assert first.result.status == "published"
    assert first.stages == dict.fromkeys({*STAGES, "publish"}, False)
    (second,), stages = labelled(first.given)
    assert (second.status, second.row, stages) == ("unchanged", first.result.row, {})


def test_a_changed_setting_runs_only_what_depends_on_it(first: Labelled, small_rooms: dict[str, Path]) -> None:
    store = first.given.store
    (second,), stages = labelled(parameters([small_rooms["tum"]], store, superpoints={"k_threshold": 0.05}))
    fresh = {"superpoints", "publish"}
    assert {name for name, reused in stages.items() if not reused} == fresh
    assert {name for name, reused in stages.items() if reused} == STAGES - fresh
    before, after = json_digests(first.result), json_digests(second)
    assert {name for name in before if before[name] != after[name]} == fresh
    listed = Catalog(Store.open(store))
    assert [row.digest for row in listed.rows()] == [after["publish"]]
    assert before["publish"] in [row.digest for row in listed.rows(latest_only=False)]


def test_going_back_to_older_settings_says_that_a_newer_version_is_shown(
    first: Labelled, small_rooms: dict[str, Path]
) -> None:
    run(parameters([small_rooms["tum"]], first.given.store, superpoints={"k_threshold": 0.03}))
    (result,) = run(first.given)
    assert result.status == "unchanged"
    assert "newer version" in result.notes[0]


def test_a_scene_whose_data_was_lost_is_made_again(small_rooms: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "store"
    given = parameters([small_rooms["tum"]], str(place))
    (first,) = run(given)
    shutil.rmtree(place / "scenes")
    (second,) = run(given)
    assert first.row is not None
    assert second.status == "published"
    assert SceneStore(Store.open(place)).verify("room-tum", first.row.digest) == []


@pytest.mark.parametrize("layout", ["7scenes", "scannet", "tum", "nerfstudio"])
def test_every_layout_is_labelled_with_imported_masks(small_rooms: dict[str, Path], store: str, layout: Layout) -> None:
    source = small_rooms[layout]
    (result,) = run(parameters([source], store, segment={"masks": masks_of(source)}))
    assert (result.status, result.message) == ("published", "")
    assert result.row is not None
    assert result.row.views == 12
    assert {"bed", "sofa", "pillow"} <= result.row.label_histogram.keys()
    assert result.row.engines == {"reconstruct": "posed-rgbd", "segment": "imported"}
    assert SceneStore(Store.open(store)).verify(result.scene_id, result.row.digest) == []


def test_the_scene_does_not_depend_on_where_the_source_lies_or_on_other_scenes(
    first: Labelled, small_rooms: dict[str, Path], store: str, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "room-tum"
    shutil.copytree(small_rooms["tum"], moved)
    several = parameters([moved, *(small_rooms[name] for name in ("7scenes", "scannet"))], store)
    run(several.model_copy(update={"workers": 3}))
    alone = first.result.row
    assert alone is not None
    contents = [SceneStore(Store.open(url)).published("room-tum", alone.digest) for url in (first.given.store, store)]
    assert contents[0] is not None
    assert contents[1] is not None
    assert contents[0].content == contents[1].content


def test_two_sources_of_one_name_are_refused(small_rooms: dict[str, Path], store: str, tmp_path: Path) -> None:
    twin = tmp_path / "room-tum"
    shutil.copytree(small_rooms["tum"], twin)
    with pytest.raises(InputError, match="would both be scene room-tum"):
        run(parameters([small_rooms["tum"], twin], store))
    assert Catalog(Store.open(store)).rows() == []


def test_another_recording_does_not_take_over_a_scene(small_rooms: dict[str, Path], store: str) -> None:
    def named(source: Path) -> LabelParameters:
        return parameters([source], store).model_copy(update={"scene_id": "mine"})

    run(named(small_rooms["tum"]))
    (result,) = run(named(small_rooms["scannet"]))
    assert result.status == "bad-input"
    assert "already published from another source" in result.message
    assert [row.source for row in Catalog(Store.open(store)).rows()] == [str(small_rooms["tum"])]


def test_the_settings_are_one_value_that_survives_json() -> None:
    given = LabelParameters.model_validate(
        {"sources": ["a", "b"], "workers": 2, "pipeline": {"superpoints": {"cut": "any"}, "seed": 3}}
    )
    assert LabelParameters.model_validate(json.loads(given.model_dump_json())) == given
    assert generate_labels.validate_parameters({"parameters": given.model_dump()}) is not None
    schema = json.dumps(generate_labels.parameters.model_dump())
    for name in ("voxel", "k_threshold", "max_views", "masks"):
        assert f'"{name}"' in schema  # what Prefect's form asks for


def test_masks_of_one_recording_are_not_given_to_several(small_rooms: dict[str, Path], store: str) -> None:
    sources = [small_rooms["tum"], small_rooms["scannet"]]
    given = parameters(sources, store, segment={"masks": "masks.json"})
    with pytest.raises(InputError, match="scene_id"):
        name_scenes(given)
    name_scenes(parameters(sources, store, segment={"masks": "{scene_id}.json"}))
    for part in ({"reconstruction": "sparse"}, {"scale_from": "positions:one.csv"}):
        with pytest.raises(InputError, match="scene_id"):
            name_scenes(parameters(sources, store, reconstruct=part))
    name_scenes(parameters(sources, store, reconstruct={"scale_from": "positions:{scene_id}.csv"}))


def test_prefect_may_give_the_parameters_as_plain_values(first: Labelled) -> None:
    (again,) = generate_labels(parameters=first.given.model_dump(mode="json") | {"workers": 2})
    assert again.status == "unchanged"


def test_naming_what_auto_chooses_changes_nothing(first: Labelled, small_rooms: dict[str, Path]) -> None:
    (again,) = run(parameters([small_rooms["tum"]], first.given.store, ingest={"source_format": "tum"}))
    assert again.status == "unchanged"
