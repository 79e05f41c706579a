"""What orchestration costs: small rooms labelled by the flow on each task runner, beside the same stages called one
after the other without Prefect, claims or server. Each run is a process of its own, timed from its start to its end.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measure import Row
from flows.settings import LabelParameters
from ovseg3r_model.rooms import make_room, write_room

BARE = "bare"
"""Instead of a runner: the stages, one after the other."""
_RUNNERS = ("threads", "processes", "dask", "ray")
_STARTS = 3
_WORDS = "12 views of 160x120, one worker"


def orchestration_rows(quick: bool) -> list[Row]:
    """Two rows for each runner: a process that labels one room, and what each room more takes. Quick: the former alone,
    for threads."""
    count = 1 if quick else 24
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [_room(folder, seed) for seed in range(count)]
        if quick:
            return [_start_row(_RUNNERS[0], *(_seconds(folder, way, sources) for way in (_RUNNERS[0], BARE)), 1)]
        _seconds(folder, BARE, sources[:1])  # compiles, for all that come
        bare_one, bare_more = _one_and_more(folder, BARE, sources)
        rows = []
        for runner in _RUNNERS:
            one, more = _one_and_more(folder, runner, sources)
            rows += [
                _start_row(runner, one, bare_one, _STARTS),
                Row(
                    "orchestration", f"each room more, {runner}", f"{count - 1} rooms of {_WORDS}", more, 1, more,
                    "s", "the stages alone", bare_more, 1.05 * bare_more,
                ),
            ]  # fmt: skip
        return rows


def _start_row(runner: str, seconds: float, bare: float, runs: int) -> Row:
    name = f"one room, {runner}"
    return Row("orchestration", name, _WORDS, seconds, runs, seconds, "s", "the stages alone", bare, bare + 3)


def _room(folder: Path, seed: int) -> str:
    made = write_room(make_room(seed), folder / str(seed), "tum", 12, seed, size=(160, 120)).recording
    return str(made.rename(made.with_name(f"room-{seed:03d}")))


def _one_and_more(folder: Path, runner: str, sources: list[str]) -> tuple[float, float]:
    """Seconds of a process for one room, the median of a few, and for each room more."""
    one = median(_seconds(folder, runner, sources[:1]) for _ in range(_STARTS))
    every = _seconds(folder, runner, sources)
    return one, max(every - one, 1e-3) / (len(sources) - 1)  # other programs' noise may be more than a small room takes


def _seconds(folder: Path, runner: str, sources: list[str]) -> float:
    store = tempfile.mkdtemp(dir=folder)
    start = time.perf_counter()
    subprocess.run(command(runner, store, sources), check=True)  # noqa: S603 - our own module
    return time.perf_counter() - start


def command(way: str, store: str, sources: list[str]) -> list[str]:
    """Of a process that labels the sources. way: a runner of scenes, or :data:`BARE`, the stages as plain functions."""
    return [sys.executable, "-m", "benchmarks.orchestration", way, store, *sources]


def _label(runner: str, store: str, sources: list[str]) -> None:
    pipeline = {"reconstruct": {"voxel": 0.05}, "segment": {"engine": "regions"}}
    given = {"sources": sources, "store": store, "pipeline": pipeline}
    if runner == BARE:
        _bare(LabelParameters.model_validate(given))
        return
    from flows.local_server import prefect_server

    with prefect_server("flows.generate_labels"):
        from flows.generate_labels import run

        results = run(LabelParameters.model_validate(given | {"runner": runner}))
    if {result.status for result in results} != {"published"}:
        raise RuntimeError(f"not all rooms were labelled: {results}")


def _bare(parameters: LabelParameters) -> None:
    """The stages as plain functions."""
    from storage.store import Store
    from tasks.ingest import ingest
    from tasks.lift import lift
    from tasks.plan import plan
    from tasks.publish import publish
    from tasks.reconstruct import reconstruct
    from tasks.segment import segment
    from tasks.superpoints import superpoints

    url, settings = Store.open(parameters.store).url, parameters.pipeline
    for source in map(Path, parameters.sources):
        todo = plan(source, source.name, settings, "views")
        d = todo.digests
        keyframes = ingest.fn(url, d["ingest"], str(source), settings.ingest)
        masks = segment.fn(url, d["segment"], keyframes, settings.segment)
        reconstruction = reconstruct.fn(url, d["reconstruct"], keyframes, settings.reconstruct, settings.seed)
        lifted = lift.fn(url, d["lift"], reconstruction, masks)
        grouped = superpoints.fn(url, d["superpoints"], reconstruction, masks, lifted, settings.superpoints)
        stages = {
            "ingest": keyframes, "reconstruct": reconstruction, "segment": masks, "lift": lifted,
            "superpoints": grouped,
        }  # fmt: skip
        publish.fn(url, todo, source.name, str(source), stages)


if __name__ == "__main__":
    _label(sys.argv[1], sys.argv[2], sys.argv[3:])
