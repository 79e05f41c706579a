"""How far the scenes of a store, or of a list of sources, are: by stage, with what failed and how long the rest takes.

Nothing is run for it. Of what the store knows by itself it costs a few listings, and a request for each scene in hand
and each that failed.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flows.retry_settings import kept
from flows.settings import NamedSource
from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.claims import Claims, Holder
from storage.failures import Failure, Failures
from storage.source_memory import SourceMemory
from storage.stages import Stages
from storage.store import Store
from tasks.known_source import memory_keys
from tasks.plan import STAGE_VERSIONS, plan
from tasks.remote_files import is_url

State = Literal["done", "running", "failed", "waiting"]
OPTIONAL = ("features", "truth")
"""Stages that not every scene has."""

_LINE = tuple(STAGE_VERSIONS)
_FIRST = _LINE[0]
_READERS = 16


@dataclass(frozen=True)
class SceneStatus:
    """One scene. stage: that it is in, or failed in. done: the stages behind it; todo: those that it still needs, with
    the one it is in. worker: who has it, or had; message: why it failed."""

    scene_id: str
    state: State
    done: tuple[str, ...] = ()
    todo: tuple[str, ...] = ()
    stage: str = ""
    worker: str = ""
    when: str = ""
    message: str = ""


@dataclass(frozen=True)
class StageStatus:
    """Scenes by where they stand with one stage."""

    stage: str
    done: int
    running: int
    failed: int
    waiting: int


@dataclass(frozen=True)
class StoreStatus:
    """rest_seconds: until all that is running or waiting is done; None where nothing tells. rests_on: what that is
    computed from, in words."""

    scenes: tuple[SceneStatus, ...]
    stages: tuple[StageStatus, ...]
    rest_seconds: float | None
    rests_on: str

    def count(self, state: State) -> int:
        """Scenes in that state."""
        return sum(scene.state == state for scene in self.scenes)

    def plain(self) -> dict[str, Any]:
        """As JSON values; of scenes that are done, or wait, only how many there are."""
        shown = [asdict(scene) for scene in self.scenes if scene.state in ("running", "failed")]
        states: tuple[State, ...] = ("done", "running", "failed", "waiting")
        return {
            "scenes": {state: self.count(state) for state in states},
            "stages": [asdict(stage) for stage in self.stages],
            "running": [scene for scene in shown if scene["state"] == "running"],
            "failed": [scene for scene in shown if scene["state"] == "failed"],
            "rest_seconds": self.rest_seconds,
            "rests_on": self.rests_on,
        }


def status_of_store(store: Store) -> StoreStatus:
    """Of all scenes that the store knows: published, in hand, or failed."""
    rows = Catalog(store).rows()
    holders = {holder.scene_id: holder for holder in Claims(store).holders()}
    failures = {failure.scene_id: failure for failure in Failures(store).all()}
    known = {row.scene_id: _published(row) for row in rows}
    known |= {scene_id: _failed(failure) for scene_id, failure in failures.items()}
    known |= {scene_id: _running(holder) for scene_id, holder in holders.items()}
    return _summed(list(known.values()), rows, holders.values())


def status_of_sources(store: Store, sources: Sequence[NamedSource], exact: bool) -> StoreStatus:
    """Of these sources alone. exact: as they are labelled with these settings; what waits is read then, to see which of
    its stages are done. Else a scene is done when it is published from its source, whatever the settings were."""
    rows = Catalog(store).rows(latest_only=False)
    holders = {holder.scene_id: holder for holder in Claims(store).holders()}
    failures = {failure.scene_id: failure for failure in Failures(store).all()}
    listed = {(row.scene_id, row.digest): row for row in rows}
    published = {(row.scene_id, row.source): row for row in rows}
    keys = memory_keys([(s.source, s.scene_id, s.settings) for s in sources]) if exact else [None] * len(sources)
    digests = SourceMemory(store).known() if exact else {}

    def standing(source: NamedSource, key: str | None) -> SceneStatus:
        scene_id = source.scene_id
        row = listed.get((scene_id, digests.get(key or "", ""))) if exact else published.get((scene_id, source.source))
        failure = failures.get(scene_id)
        if scene_id in holders:
            return _running(holders[scene_id])
        if failure is not None and failure.source == source.source and (not exact or _same(failure, source)):
            return _failed(failure)
        if row is not None:
            return _published(row)
        return _read(store, source, listed) if exact and not is_url(source.source) else _waiting(source)

    with ThreadPoolExecutor(_READERS) as pool:
        known = list(pool.map(standing, sources, keys))
    return _summed(known, rows, holders.values())


def _same(failure: Failure, source: NamedSource) -> bool:
    return bool(failure.parameters.get("settings") == kept(source, None)["settings"])


def _read(store: Store, source: NamedSource, listed: dict[tuple[str, str], CatalogRow]) -> SceneStatus:
    """As the store has the stages of a source that it does not remember; the source is read."""
    try:
        digests = plan(Path(source.source), source.scene_id, source.settings).digests
    except InputError:  # labelling it will tell
        return _waiting(source)
    row = listed.get((source.scene_id, digests["publish"]))
    if row is not None:
        return _published(row)
    stages = Stages(store)
    done = [stage for stage, digest in digests.items() if stage != "publish" and stages.committed(stage, digest)]
    return _ahead("waiting", source.scene_id, done, digests)


def _waiting(source: NamedSource) -> SceneStatus:
    return _ahead("waiting", source.scene_id, (), _stages_of(source.settings.features.save))


def _published(row: CatalogRow) -> SceneStatus:
    return SceneStatus(row.scene_id, "done", done=tuple(row.timings))


def _running(holder: Holder) -> SceneStatus:
    more = {"stage": _in_line(holder.stage), "worker": holder.worker, "when": holder.since}
    return _ahead("running", holder.scene_id, holder.done, _stages_of(holder.stage == "features"), **more)


def _failed(failure: Failure) -> SceneStatus:
    more = {"worker": failure.worker, "when": failure.when, "message": failure.message}
    settings = failure.parameters.get("import" if failure.of_import else "settings", {})
    stages = _stages_of(settings.get("features", {}).get("save", False))
    if failure.of_import and not failure.done and failure.stage not in _LINE[:-1]:
        stages = _LINE[-1:]  # as far as is known a scan, which is published as it is
    stage = failure.stage if failure.stage in stages else stages[0]
    return _ahead("failed", failure.scene_id, failure.done, stages, stage=stage, **more)


def _ahead(state: State, scene_id: str, done: Iterable[str], stages: Iterable[str], **more: str) -> SceneStatus:
    """A scene that is not at its end."""
    behind = tuple(done)
    return SceneStatus(scene_id, state, behind, tuple(stage for stage in stages if stage not in behind), **more)


def _stages_of(features: bool) -> tuple[str, ...]:
    return tuple(stage for stage in _LINE if stage not in OPTIONAL or (stage == "features" and features))


def _in_line(stage: str) -> str:
    """What comes before the first stage is counted with it."""
    return stage if stage in _LINE else _FIRST


def _summed(scenes: Sequence[SceneStatus], rows: Sequence[CatalogRow], holders: Iterable[Holder]) -> StoreStatus:
    stages = [_stage(stage, scenes) for stage in _LINE]
    shown = [s for s in stages if s.stage not in OPTIONAL or s.done + s.running + s.failed + s.waiting]
    workers = max(len({(holder.machine, holder.process, holder.scene_id) for holder in holders}), 1)
    timed = [row.timings for row in rows if _FIRST in row.timings]
    seconds = {stage: [timings[stage] for timings in timed if stage in timings] for stage in _LINE}
    mean = {stage: sum(found) / len(found) for stage, found in seconds.items() if found}
    rest = sum(mean.get(stage, 0.0) for s in scenes if s.state in ("running", "waiting") for stage in s.todo)
    in_order = tuple(sorted(scenes, key=lambda scene: scene.scene_id))
    if not timed:
        return StoreStatus(in_order, tuple(shown), None, "no scene is published yet whose stages' seconds would tell")
    at_once = "one scene at a time" if workers == 1 else f"{workers} at a time, as now"
    basis = f"the stages' mean seconds in {len(timed)} published scene{'s' * (len(timed) > 1)}, {at_once}"
    return StoreStatus(in_order, tuple(shown), round(rest / workers, 1), basis)


def _stage(stage: str, scenes: Sequence[SceneStatus]) -> StageStatus:
    def count(state: State) -> int:
        return sum(scene.state == state and scene.stage == stage for scene in scenes)

    done = sum(stage in scene.done for scene in scenes)
    # what failed does not go on by itself: its later stages wait for nothing
    waiting = sum(scene.state != "failed" and stage in scene.todo and stage != scene.stage for scene in scenes)
    return StageStatus(stage, done, count("running"), count("failed"), waiting)
