"""The other half of the demo: rooms filmed and labelled, a network trained on the labels, and a room it never saw
segmented by words it never heard."""

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows import generate_labels
from flows.demo import MASK_ERRORS
from flows.evaluate_model import evaluate_model
from flows.plain_json import finite
from flows.scenes import SceneResult
from flows.segment_scene import segment_scene
from flows.segment_settings import SegmentParameters
from flows.settings import LabelParameters
from flows.train import train_model
from flows.train_settings import TrainParameters
from ovseg3r_model.benchmark_summary import BenchmarkSummary
from ovseg3r_model.errors import InputError
from ovseg3r_model.rooms import make_room, write_room
from ovseg3r_model.settings import (
    IngestSettings,
    PipelineSettings,
    ReconstructSettings,
    SegmentSettings,
    SimulatedSettings,
)
from ovseg3r_model.training.data_settings import DataSettings
from ovseg3r_model.training.model_settings import ModelSettings
from ovseg3r_model.training.schedule import ScheduleSettings
from storage.scene_store import SceneStore
from storage.selection import SelectionSettings
from storage.store import Store
from tasks.evaluate import true_names
from tasks.model_files import SceneKey
from tasks.progress import announce, of_scene

ROOMS = 6
"""Rooms to learn from; one more to be judged by."""
VIEWS, SIZE = 48, (320, 240)
VOXEL = 0.04
"""Fusion grid, metres."""
STEPS = 700
MODEL = "demo"


def run_demo_train(folder: Path, seed: int) -> dict[str, Any]:
    """Films, labels, trains, judges; the report as JSON values. What is there already is not made again.

    Raises:
        InputError: the folder cannot be written, or a step fails for a reason the user can mend.
    """
    start = time.perf_counter()
    rooms = [seed + number for number in range(ROOMS + 1)]
    films = [filmed(folder / "rooms", room, VIEWS) for room in rooms]
    store = str(folder / "store")
    all_filmed = time.perf_counter()
    labelled = [
        _only(generate_labels.run(_labelling(film, store, room))) for film, room in zip(films, rooms, strict=True)
    ]
    *learned, judge_by = labelled
    done = time.perf_counter()
    row = train_model(
        TrainParameters(
            model_id=MODEL,
            store=store,
            scenes=SelectionSettings(scenes=tuple(result.scene_id for result in learned)),
            model=ModelSettings.model_validate({"size": "tiny", "train": {"steps": STEPS, "batch": 1, "seed": seed}}),
            schedule=ScheduleSettings(data=DataSettings(workers=1)),
        )
    )
    trained = time.perf_counter()
    opened = Store.open(store)
    key = SceneKey(judge_by.scene_id, "" if judge_by.row is None else judge_by.row.digest)
    seen = set(true_names(opened, [key]))  # what the walk through the room has shown
    synonyms = _synonyms(rooms[-1], seen & {name for result in learned for name in _histogram(result)})
    chosen = SelectionSettings(scenes=(judge_by.scene_id,))
    scores = {
        words: _scores(evaluate_model(opened, MODEL, chosen, asked, "auto", None), synonyms)
        for words, asked in (("names as trained", {}), ("synonyms, never trained", synonyms))
    }
    prompt = ". ".join(dict.fromkeys(synonyms.values()))
    found = segment_scene(
        SegmentParameters(
            target=judge_by.scene_id, store=store, model=MODEL, prompt=prompt, out=str(folder / "pictures")
        )
    )
    drawn = _draw_truth(opened, judge_by, folder / "pictures")
    report: dict[str, Any] = {
        "rooms": rooms,
        "labelled": {result.scene_id: _histogram(result) for result in learned},
        "model": asdict(row),
        "asked": synonyms,
        "scores": scores,
        "found": found["instances"],
        "pictures": [str(folder / "pictures" / name) for name in ("found.png", "cloud.png")] + [drawn],
        "seconds": {
            "film": all_filmed - start,
            "label": done - all_filmed,
            "train": trained - done,
            "total": time.perf_counter() - start,
        },
    }
    (folder / "report-train.json").write_text(json.dumps(finite(report), indent=1, allow_nan=False) + "\n")
    return report


def filmed(folder: Path, seed: int, views: int) -> Path:
    """The folder of a room's recording, video and truth; one that a killed run left unfinished is made anew."""
    room = folder / f"room-{seed}"
    if not (room / "done").exists():
        try:
            shutil.rmtree(room, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            with of_scene(room.name):
                write_room(
                    make_room(seed), room, "7scenes", views, seed, size=SIZE, video=True, jpeg=True,
                    progress=lambda n, of: announce("film", n, of),
                )  # fmt: skip
            (room / "done").touch()
        except OSError as error:
            raise InputError(
                f"{room}: the room cannot be written ({error.strerror}); name another --folder."
            ) from error
    return room


def _labelling(film: Path, store: str, seed: int) -> LabelParameters:
    """With the recording's depth, which takes seconds where the video alone takes minutes; imperfect masks that use
    each kind's first name only: its synonyms stay unheard."""
    errors = MASK_ERRORS.model_copy(update={"synonym": 0.0})
    return LabelParameters(
        sources=(str(film / "recording"),),
        store=store,
        scene_id=f"labelled-{film.name}",
        pipeline=PipelineSettings(
            ingest=IngestSettings(max_views=VIEWS),
            reconstruct=ReconstructSettings(voxel=VOXEL),
            segment=SegmentSettings(
                engine="simulated", simulated=SimulatedSettings(truth=str(film), errors=errors, seed=seed)
            ),
        ),
    )


def _only(results: Sequence[SceneResult]) -> SceneResult:
    (result,) = results
    if result.row is None:
        raise (
            InputError(f"The demo's scene {result.scene_id} was not published: {result.message}")
            if result.status == "bad-input"
            else RuntimeError(result.message)
        )
    return result


def _histogram(result: SceneResult) -> dict[str, int]:
    return {} if result.row is None else result.row.label_histogram


def _synonyms(seed: int, trained: set[str]) -> dict[str, str]:
    """For each kind of thing in the room that was trained on: another word for it, which was not."""
    kinds = {i.name: i.synonyms for i in make_room(seed).instances}
    unheard = {name: [word for word in words if word not in trained] for name, words in kinds.items()}
    return {name: words[0] for name, words in sorted(unheard.items()) if words and name in trained}


def _scores(summary: BenchmarkSummary, kinds: Iterable[str]) -> dict[str, dict[str, float]]:
    """Means over the kinds, and those of masks whatever their names."""
    found = [asdict(summary.per_class[kind]) for kind in kinds]
    counted = [each for each in found if each["classes"]]
    mean = {name: sum(each[name] for each in counted) / max(len(counted), 1) for name in ("ap", "ap50", "ap25")}
    return {"overall": mean | {"classes": len(counted)}, "class_agnostic": asdict(summary.class_agnostic)}


def _draw_truth(store: Store, result: SceneResult, folder: Path) -> str:
    if result.row is None:
        raise ValueError("only a published scene has a truth to draw")
    drawn = SceneStore(store).pictures(result.scene_id, result.row.digest)
    (folder / "truth.png").write_bytes(drawn["truth.png"])
    return str(folder / "truth.png")
