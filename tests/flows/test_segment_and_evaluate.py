"""What a trained model finds in published scenes and in recordings, and how good it is said to be."""

import io
import json
import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.evaluate_model import evaluate_model
from flows.segment_scene import segment_scene
from flows.segment_settings import SegmentParameters, check_target
from flows.train import train_model
from flows.train_settings import TrainParameters
from ovseg3r_model.benchmark_files import read_scenes
from ovseg3r_model.benchmark_summary import BenchmarkSummary, benchmark_summary
from ovseg3r_model.errors import InputError
from ovseg3r_model.records import SceneTruth
from ovseg3r_model.training.data_settings import AugmentSettings
from storage.selection import SelectionSettings
from storage.store import Store
from tests.rooms import VOXEL
from tests.small_training import NAMES, SETTINGS, publish, publish_all, viewed, whole, without_truth

pytestmark = pytest.mark.usefixtures("prefect_api", "one_torch_thread")

CLASSES = {1: "café table", 2: "chair", 3: "sofa"}
"""Of names that are not all ScanNet200's: numbers in the order of the names."""


@pytest.fixture(scope="module")
def store(prefect_api: str) -> Store:
    """attic, cellar, hall, kitchen; study without truth; loft with a truth of ScanNet200's names; and the model net,
    which has learned the hall by heart."""
    made = Store.open(f"memory://{secrets.token_hex(8)}")
    publish_all(made)
    publish(made, "study", without_truth(viewed(5)), 5)
    seen = viewed(6)
    assert seen.truth is not None
    publish(made, "loft", replace(seen, truth=SceneTruth(seen.truth.instance, ("chair", "couch", "table"))), 6)
    optimiser = {"learning_rate": 5e-3, "warm_up": 5}
    train = SETTINGS["train"] | {"steps": 60, "batch": 1, "optimiser": optimiser}
    model = SETTINGS | {"train": train, "augment": AugmentSettings.none().model_dump()}
    values = {"model_id": "net", "store": made.url, "scenes": {"scenes": ["hall"]}, "model": model}
    train_model(TrainParameters.model_validate(values | {"schedule": {"data": {"workers": 0}}}))
    return made


def parameters(store: Store, target: str | Path, **given: Any) -> SegmentParameters:
    values = {"target": str(target), "store": store.url, "model": "net", "device": "cpu"}
    return SegmentParameters.model_validate(values | given)


def segmented(store: Store, target: str | Path, out: Path, **given: Any) -> dict[str, Any]:
    chosen = parameters(store, target, out=str(out), **given)
    check_target(chosen)
    report: dict[str, Any] = segment_scene(chosen)
    assert json.loads((out / "instances.json").read_text(encoding="utf-8")) == report
    return report


def masks(report: dict[str, Any], out: Path) -> list[np.ndarray]:
    """The points of each instance, once all that is written agrees."""
    with (
        np.load(out / "masks.npz", allow_pickle=False) as held,
        np.load(out / "points.npz", allow_pickle=False) as all_,
    ):
        assert all_["xyz"].shape == all_["rgb"].shape == (report["points"], 3)
        each = np.split(held["point"], np.cumsum(held["sizes"])[:-1]) if len(held["sizes"]) else []
        scores, labels = held["score"].tolist(), held["label"].tolist()
    assert [found["points"] for found in report["instances"]] == [len(points) for points in each]
    assert [found["name"] for found in report["instances"]] == [report["words"][k] for k in labels]
    assert [found["score"] for found in report["instances"]] == pytest.approx(scores, abs=1e-4)
    assert scores == sorted(scores, reverse=True)
    for points in each:
        assert (np.diff(points) > 0).all()
        assert 0 <= points.min() <= points.max() < report["points"]
    for name in ("cloud.png", "found.png"):
        with Image.open(io.BytesIO((out / name).read_bytes())) as picture:
            picture.load()
            assert picture.format == "PNG"
    return each


def test_what_was_learned_is_found_by_its_name(store: Store, tmp_path: Path) -> None:
    """In a mesh that no view has seen, which is drawn all the same."""
    report = segmented(store, "hall", tmp_path / "found")
    found = masks(report, tmp_path / "found")
    assert report["words"] == sorted(NAMES)  # without words those that the model has learned
    assert (report["scene_id"], report["points"], report["notes"]) == ("hall", 700, [])
    truth = whole(2).truth
    assert truth is not None
    for number, name in enumerate(NAMES, 1):
        surest = next(k for k, each in enumerate(report["instances"]) if each["name"] == name)
        assert report["instances"][surest]["score"] > 0.3
        np.testing.assert_array_equal(found[surest], np.flatnonzero(truth.instance == number))
    drawn = [np.asarray(Image.open(tmp_path / "found" / name)) for name in ("cloud.png", "found.png")]
    assert drawn[0].shape != drawn[1].shape or not np.array_equal(*drawn)


def test_any_words_can_be_asked_for(store: Store, tmp_path: Path) -> None:
    given = {"prompt": "armchair. zebra. armchair", "inference": {"min_score": 0.01}}
    report = segmented(store, "attic", tmp_path / "found", **given)
    masks(report, tmp_path / "found")
    assert report["words"] == ["armchair", "zebra"]
    assert {each["name"] for each in report["instances"]} == {"armchair", "zebra"}
    assert len(report["notes"]) == 1
    sure = segmented(store, "attic", tmp_path / "sure", **given | {"inference": {"min_score": 0.99}})
    assert sure["instances"] == []
    assert masks(sure, tmp_path / "sure") == []


def test_words_come_from_a_list_too(store: Store, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("sofa\ncafé table\n", encoding="utf-8")
    report = segmented(store, "hall", tmp_path / "found", vocabulary=str(words))
    assert report["words"] == ["sofa", "café table"]
    masks(report, tmp_path / "found")


def test_a_recording_is_reconstructed_and_segmented(store: Store, small_rooms: dict[str, Path], tmp_path: Path) -> None:
    given = {"prompt": "chair. table", "pipeline": {"reconstruct": {"voxel": VOXEL}, "ingest": {"max_views": 6}}}
    report = segmented(store, small_rooms["tum"], tmp_path / "found", **given, inference={"min_score": 0.01})
    assert (report["scene_id"], report["words"]) == ("room-tum", ["chair", "table"])
    assert report["points"] > 1000
    masks(report, tmp_path / "found")
    with pytest.raises(InputError, match=r"^room-tum is neither a scene of"):
        check_target(parameters(store, "room-tum"))  # it was not published


def test_what_is_not_there_is_said_before_any_work(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for given, told in (
        ({"model": "nets"}, r"There is no model nets in memory://\w+; trained are: net\."),
        (
            {"target": "shed"},
            r"^shed is neither a scene of memory://\w+ nor a file or folder here; published are: attic, .*study\.$",
        ),
        ({"vocabulary": str(tmp_path / "empty.txt")}, "empty.txt"),
        ({"store": str(tmp_path / "nowhere")}, "there is no store"),
    ):
        values = {"target": "hall", "store": store.url, "model": "net"} | given
        with pytest.raises(InputError, match=told) as error:
            check_target(SegmentParameters.model_validate(values))
        assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/found: cannot be written to"):
        segment_scene(parameters(store, "hall", out=str(tmp_path / "file" / "found")))


def evaluated(
    store: Store, *scenes: str, asked: dict[str, str] | None = None, write: Path | None = None
) -> BenchmarkSummary:
    return evaluate_model(store, "net", SelectionSettings(scenes=scenes), asked or {}, "cpu", write)


def read_back(folder: Path, names: dict[int, str], groups: dict[str, list[int]]) -> BenchmarkSummary:
    return benchmark_summary(read_scenes(folder / "predictions", folder / "truth", names), names, groups)


def test_the_figures_are_those_of_the_files_that_are_written(store: Store, tmp_path: Path) -> None:
    summary = evaluated(store, "hall", "kitchen", write=tmp_path / "out")
    assert summary.scenes == 2
    again = read_back(tmp_path / "out", CLASSES, {"trained on": [1, 2, 3], "never trained on": []})
    assert repr(asdict(again)) == repr(asdict(summary))  # where nan is equal to itself
    by_id = {name: number for number, name in CLASSES.items()}
    for scene, made in (("hall", whole(2)), ("kitchen", viewed(3))):
        assert made.truth is not None
        codes = np.array([0, *(by_id[name] * 1000 + 1 for name in NAMES)])[made.truth.instance]
        written = np.loadtxt(tmp_path / "out" / "truth" / f"{scene}.txt", dtype=np.int64)
        np.testing.assert_array_equal(written, codes)
    assert evaluated(store, "hall").overall.ap50 == 1.0  # learned by heart
    with pytest.raises(InputError, match="out/predictions: is there already"):
        evaluated(store, "hall", write=tmp_path / "out")


def test_scannet200_names_have_its_ids_and_groups(store: Store, tmp_path: Path) -> None:
    summary = evaluated(store, "loft", write=tmp_path / "out")
    codes = np.unique(np.loadtxt(tmp_path / "out" / "truth" / "loft.txt", dtype=np.int64))
    assert codes.tolist() == [0, 2001, 4001, 6001]  # chair, table, couch
    counted = {name: scores.classes for name, scores in summary.subsets.items()}
    assert counted == {
        "trained on": 1, "never trained on": 2, "head": 3, "common": 0, "tail": 0, "base": 3, "novel": 0,
    }  # fmt: skip


def test_another_word_can_be_asked_for(store: Store, tmp_path: Path) -> None:
    """The class keeps its name, but what is found under it is what the other word means to the model."""
    swapped = {"chair": "sofa", "sofa": "chair"}
    summary = evaluated(store, "hall", asked=swapped)
    assert list(summary.per_class) == sorted(NAMES)
    right = {name: scores.ap50 for name, scores in summary.per_class.items()}
    assert right["café table"] == 1.0
    usual = {name: scores.ap50 for name, scores in evaluated(store, "hall").per_class.items()}
    assert usual["chair"] == usual["sofa"] == 1.0
    assert max(right["chair"], right["sofa"]) < 0.5
    assert summary.class_agnostic == evaluated(store, "hall").class_agnostic
    with pytest.raises(InputError, match="No scene holds 'bed', for which a word is given; they hold: café table,"):
        evaluated(store, "hall", asked={"bed": "cot"})


def test_what_cannot_be_evaluated_is_said(store: Store) -> None:
    with pytest.raises(InputError, match="Scene study has no truth to be judged by"):
        evaluated(store, "hall", "study")
    with pytest.raises(InputError, match="the selection holds no scene"):
        evaluated(store, "garden-*")
    with pytest.raises(InputError, match="There is no model nets"):
        evaluate_model(store, "nets", SelectionSettings(), {}, "cpu", None)
