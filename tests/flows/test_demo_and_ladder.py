"""The second half of the demo, and a rung of the ladder, as small as they go."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.ladder import FIGURES, SCALES, Rung, run_rung, rungs, table_of
from benchmarks.ladder_data import LadderScenes
from flows import demo_train
from ovseg3r_model.training.model_settings import ModelSettings
from storage.catalog import Catalog, ModelCatalog
from storage.store import Store
from tasks.model_files import SceneKey

SEED = 3


@pytest.fixture(scope="module")
def demo(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One room to learn from and one to be judged by; the folder and the report."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as small:
        small.setattr(demo_train, "ROOMS", 1)
        small.setattr(demo_train, "VIEWS", 8)
        small.setattr(demo_train, "SIZE", (160, 120))
        small.setattr(demo_train, "STEPS", 2)
        return folder, demo_train.run_demo_train(folder, SEED)


def test_the_demo_trains_on_what_it_labelled_and_judges_by_another_room(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, report = demo
    assert json.loads((folder / "report-train.json").read_text()).keys() == report.keys()
    store = Store.open(folder / "store")
    scenes = {row.scene_id for row in Catalog(store).rows()}
    assert scenes == {"labelled-room-3", "labelled-room-4"}
    assert set(report["labelled"]) == {"labelled-room-3"}
    (model,) = ModelCatalog(store).rows()
    assert (model.model_id, model.digest) == (demo_train.MODEL, report["model"]["digest"])
    trained_on = set(report["labelled"]["labelled-room-3"])
    assert set(report["asked"]) <= trained_on
    assert not set(report["asked"].values()) & trained_on  # words that the training never heard
    assert [name for name in report["pictures"] if not Path(name).is_file()] == []
    for scores in report["scores"].values():
        assert scores["overall"]["classes"] == len(report["asked"])


def test_a_rung_is_trained_and_judged(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = demo
    rows = Catalog(Store.open(folder / "store")).rows()
    learned, judged = (SceneKey(row.scene_id, row.digest) for row in sorted(rows, key=lambda row: row.scene_id))
    settings = ModelSettings.model_validate({"size": "tiny", "train": {"steps": 2, "batch": 1, "seed": 0}})
    figures = run_rung(str(folder), Rung("full", (learned,), (judged,)), settings)
    assert [name for name in FIGURES if not 0 <= figures[name] <= 100] == []
    table_of([{"name": "full", "paper": None, "seeds": [figures]}])  # it holds all that the table shows


def test_the_table_shows_mean_and_deviation() -> None:
    seeds = [dict.fromkeys((*FIGURES, "astray", "seconds"), value) for value in (10.0, 14.0)]
    out = io.StringIO()
    Console(width=150, file=out).print(table_of([{"name": "full", "paper": (23.9, 23.0), "seeds": seeds}]))
    assert out.getvalue().count("12.0 ± 2.8") == len(FIGURES) + 1
    assert "23.9" in out.getvalue()


def test_rungs_take_away_what_their_names_say() -> None:
    def keys(kind: str, count: int) -> tuple[SceneKey, ...]:
        return tuple(SceneKey(f"{kind}-{number}", "0" * 64) for number in range(count))

    scenes = LadderScenes(
        keys("whole", 3), keys("views", 20), keys("geometry", 20), keys("video", 20), keys("out", 4), keys("out-geo", 4)
    )
    full, without_vip, without_ibsp, scene_level, tenth, two, reconstructed = rungs(scenes)
    assert full.scenes == scenes.annotated + scenes.views
    assert without_vip == replace(full, name=without_vip.name, vip=False, paper=without_vip.paper)
    assert (without_ibsp.scenes, without_ibsp.held_out) == (
        scenes.annotated + scenes.geometry,
        scenes.held_out_geometry,
    )
    assert scene_level.scenes == scenes.annotated
    assert len(set(tenth.scenes) & set(scenes.views)) == 2
    assert set(two.scenes) - set(full.scenes) == set(scenes.video)
    assert reconstructed.scenes == scenes.views
    assert all(rung.held_out == scenes.held_out for rung in (full, without_vip, scene_level, tenth, two, reconstructed))
    assert set(SCALES) == {"quick", "cpu", "gpu"}
