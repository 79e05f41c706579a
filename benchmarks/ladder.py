"""``python -m benchmarks.ladder``: what each part of the method is worth, on rooms (METHOD 4's ablation).

Rooms are filmed and go through the real line; base kinds are named in the scene-level rooms, novel kinds (one in
three, no relatives of the others) only by the 2D masks of the reconstructed rooms. For each rung a tiny network is
trained on each seed and judged on rooms that none has seen. A run that was stopped goes on where it was.
docs/ladder.md says what the rungs are.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.ladder_kinds import FLAT, KINDS, NOVEL
from benchmarks.measure import machine
from ovseg3r_model.training.model_settings import ModelSettings
from tasks.model_files import SceneKey

if TYPE_CHECKING:  # it imports Prefect, which reads where its server is as it is imported
    from benchmarks.ladder_data import LadderScenes

FIGURES = ("all", "base", "novel", "flat", "masks")
"""AP over all kinds, base, novel and flat ones; of masks whatever their names."""


@dataclass(frozen=True)
class Rung:
    """One training's data and settings. paper: (mAP, novel) of the rung it stands for, where the paper has it."""

    name: str
    scenes: tuple[SceneKey, ...]
    held_out: tuple[SceneKey, ...]
    vip: bool = True
    paper: tuple[float, float] | None = None


@dataclass(frozen=True)
class Scale:
    """How large: rooms of each sort, frames a room, steps, seeds."""

    annotated: int
    views: int
    held_out: int
    frames: int
    steps: int
    seeds: int
    size: str = "tiny"


SCALES = {
    "quick": Scale(1, 2, 1, 12, 4, 1),
    "cpu": Scale(3, 10, 16, 40, 1000, 3),
    "gpu": Scale(20, 80, 20, 80, 6000, 3, "small"),
}


def rungs(scenes: "LadderScenes") -> list[Rung]:
    """The ladder, from the whole method down."""
    both, judged = scenes.annotated + scenes.views, scenes.held_out
    full, without_vip, without_ibsp, none, tenth, two, alone = rung_names(len(scenes.views))
    some = scenes.views[: tenth_of(len(scenes.views))]
    return [
        Rung(full, both, judged, paper=(23.9, 23.0)),
        Rung(without_vip, both, judged, vip=False, paper=(18.4, 16.2)),
        Rung(without_ibsp, scenes.annotated + scenes.geometry, scenes.held_out_geometry, paper=(23.6, 22.0)),
        Rung(none, scenes.annotated, judged, paper=(5.0, 0.0)),
        Rung(tenth, scenes.annotated + some, judged, paper=(16.8, 14.8)),
        Rung(two, both + scenes.video, judged, paper=(24.6, 24.2)),
        Rung(alone, scenes.views, judged),
    ]


def rung_names(views: int) -> tuple[str, ...]:
    """Of the rungs, in order, with so many reconstructed rooms."""
    return (
        "full: scene-level and reconstructed", "without VIP", "without IBSp", "scene-level only (0 %)",
        f"{tenth_of(views)} of {views} reconstructed (10 %)", "two reconstructors", "reconstructed only",
    )  # fmt: skip


def tenth_of(views: int) -> int:
    """How many rooms a tenth is, at least one."""
    return max(1, round(views / 10))


def run_rung(folder: str, rung: Rung, settings: ModelSettings) -> dict[str, float]:
    """Trains and judges one network, on one thread; its figures in percent. What is trained already is judged alone.

    Every kind of thing that rooms have is asked for, whether a held-out room has it or not.
    """
    import torch

    torch.set_num_threads(1)
    from flows.train_settings import settled
    from ovseg3r_model.text import build_text_encoder
    from ovseg3r_model.training.data_settings import DataSettings
    from ovseg3r_model.training.model import load_model
    from ovseg3r_model.training.schedule import ScheduleSettings
    from storage.catalog import Catalog
    from storage.digests import stage_digest
    from storage.store import Store
    from tasks.evaluate import Classes, judged_scenes, summarise
    from tasks.found import on_device
    from tasks.train import STAGE, VERSION, train

    store = Store.open(Path(folder) / "store")
    settings, encoder = settled(settings)
    rows = {(row.scene_id, row.digest): row for row in Catalog(store).rows(latest_only=False)}
    chosen = [rows[key.scene_id, key.digest] for key in rung.scenes]
    vocabulary = tuple(sorted({name for row in chosen for name in row.label_histogram}))
    inputs = {f"scene {key.scene_id}": key.digest for key in rung.scenes} | {"text encoder": encoder}
    digest = stage_digest(STAGE, VERSION, {"ladder": settings.model_dump(mode="json")}, inputs)
    trained = train.fn(
        store.url, digest, rung.scenes, (), vocabulary, any(row.annotation == "scene" for row in chosen),
        settings, ScheduleSettings(data=DataSettings(workers=0), checkpoint_every=200),
    )  # fmt: skip
    model = on_device(load_model(trained.get), "auto")
    classes = Classes.of(KINDS)
    judged = judged_scenes(store, model, build_text_encoder(settings.text), rung.held_out, classes)
    groups = {
        "base": [name for name in KINDS if name not in NOVEL],
        "novel": [name for name in KINDS if name in NOVEL],
        "flat": [name for name in KINDS if name in FLAT],
    }
    summary = summarise((pair for _, pair in judged), classes, groups)
    scores = {"all": summary.overall, "masks": summary.class_agnostic, **summary.subsets}
    out = {name: 100 * scores[name].ap for name in FIGURES} | {"all AP50": 100 * summary.overall.ap50}
    astray = [value for _, value in json.loads(trained.get("history.json"))["matching"].get("astray", [])]
    late = astray[-(len(astray) // 4 + 1) :]  # of the last quarter of the training
    return out | {"seconds": trained.seconds, "astray": 100 * mean(late) if late else float("nan")}


def main() -> None:
    options = _options()
    scale = SCALES[options.scale]
    scale = replace(scale, **{n: v for n in ("steps", "seeds") if (v := getattr(options, n)) is not None})
    names = rung_names(scale.views)
    for word in options.rung or ():
        if not any(word in name for name in names):
            raise SystemExit(f"--rung {word!r}: is in no rung's name; there are {', '.join(names)}.")
    start = time.perf_counter()
    from flows.local_server import prefect_server

    with prefect_server():
        from benchmarks.ladder_data import make_scenes
        from flows.display import progress_shown

        with progress_shown():
            scenes = make_scenes(options.folder, scale.annotated, scale.views, scale.held_out, scale.frames)
    made = time.perf_counter() - start
    console = Console(width=None if Console().is_terminal else 150)
    about = {
        "schema_version": 1,
        "scale": options.scale,
        **vars(scale),
        "kinds": len(KINDS),
        "novel_kinds": sorted(NOVEL),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for found in _rungs_so_far(options, scale, scenes):
        seconds = {"scenes": made, "all": time.perf_counter() - start}
        options.out.write_text(json.dumps({**about, "seconds": seconds, "rungs": found}, indent=1) + "\n")
        console.print(table_of(found))
    console.print(f"Written to {options.out} after {(time.perf_counter() - start) / 60:.0f} min.")


def _rungs_so_far(options: argparse.Namespace, scale: Scale, scenes: "LadderScenes") -> Iterator[list[dict[str, Any]]]:
    """After each training, by rung the figures of each seed; seed by seed, so that a run that is stopped has whole
    ladders."""
    ladder = [rung for rung in rungs(scenes) if not options.rung or any(word in rung.name for word in options.rung)]
    figures: dict[str, list[dict[str, float]]] = {rung.name: [] for rung in ladder}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes to come: two trainings share two cores
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        running = {}
        for seed in range(scale.seeds):
            for rung in ladder:
                train = {"steps": scale.steps, "batch": 1, "seed": seed, "supervision": {"vip": rung.vip}}
                chosen = {"size": scale.size, "train": train}
                settings = ModelSettings.model_validate(chosen)
                running[pool.submit(run_rung, str(options.folder), rung, settings)] = (seed, rung)
        for future in as_completed(running):
            seed, rung = running[future]
            figures[rung.name].append({"seed": seed, **future.result()})
            yield [
                {"name": rung.name, "paper": rung.paper, "seeds": sorted(figures[rung.name], key=lambda f: f["seed"])}
                for rung in ladder
                if figures[rung.name]
            ]


def table_of(found: list[dict[str, Any]]) -> Table:
    """Mean and spread (standard deviation) over the seeds, with the paper's figures beside."""
    table = Table(title="Instance AP on held-out rooms, mean ± deviation over the seeds")
    for name in ("", "seeds", *FIGURES, "astray %", "s a training", "paper: mAP", "novel"):
        table.add_column(name, justify="left" if not name else "right")
    for rung in found:
        cells = [spread([seed[name] for seed in rung["seeds"]]) for name in (*FIGURES, "astray")]
        paper = [f"{value:.1f}" for value in rung["paper"] or ()] or ["", ""]
        table.add_row(
            rung["name"],
            str(len(rung["seeds"])),
            *cells,
            f"{mean(seed['seconds'] for seed in rung['seeds']):.0f}",
            *paper,
        )
    return table


def spread(values: list[float]) -> str:
    """ "12.3 ± 0.4"; without the deviation of a single one."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ladder", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="cpu: 90 minutes on 2 cores; gpu: larger")
    parser.add_argument("--folder", type=Path, default=Path("bench/ladder"), help="where rooms and scenes go")
    parser.add_argument("--out", type=Path, default=Path("bench/ladder.json"), help="where the figures go")
    parser.add_argument("--steps", type=int, help="of each training, instead of the scale's")
    parser.add_argument("--seeds", type=int, help="trainings of each rung, instead of the scale's")
    parser.add_argument("--rung", action="append", help="only rungs whose name has this in it; may be repeated")
    parser.add_argument("--processes", type=int, default=2, help="trainings at the same time, of one thread each")
    return parser.parse_args()


if __name__ == "__main__":
    main()
