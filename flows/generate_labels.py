"""The flow ``generate-labels``: sources -> published scenes. One page: who calls what."""

import logging
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import as_completed
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.settings import MOST_WORKERS, LabelParameters, name_scenes, with_scene_paths
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.scene_store import SceneStore
from storage.stages import StageRef
from storage.store import Store
from tasks.features import features
from tasks.ingest import ingest
from tasks.lift import lift
from tasks.plan import plan
from tasks.progress import of_scene
from tasks.publish import publish
from tasks.reconstruct import reconstruct
from tasks.segment import segment
from tasks.superpoints import superpoints

logger = logging.getLogger("ovseg3r.flow")

_THREADS: Any = ThreadPoolTaskRunner(max_workers=MOST_WORKERS)  # the flow itself keeps to `workers`
_OLDER = "The catalog shows a newer version of this scene, made with other settings; --all lists this one too."


@dataclass(frozen=True)
class SceneResult:
    """What became of one source. ``row`` is its catalog row where it is published; ``message`` says why where it is
    not.
    """

    source: str
    scene_id: str
    status: Literal["published", "unchanged", "bad-input", "failed"]
    seconds: float
    message: str = ""
    row: CatalogRow | None = None
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@flow(name="generate-labels", persist_result=False, task_runner=_THREADS)
def generate_labels(parameters: LabelParameters) -> State[list[SceneResult]]:
    """Labels every source; one that fails does not stop the rest. The state's data is a list of :class:`SceneResult`,
    failed if one is.

    Raises:
        InputError: the store is unusable, or two sources would become one scene.
    """
    store = Store.open(parameters.store)
    store.check_writable()
    scenes = name_scenes(parameters)
    runner = label_scene.with_options(tags=["ovseg3r"])
    running: dict[int, Any] = {}
    done: dict[int, SceneResult] = {}
    for number, (source, scene_id) in enumerate(scenes):
        if len(running) == parameters.workers:
            _collect(next(as_completed(list(running.values()))), running, done)
        running[number] = runner.submit(source, scene_id, store.url, parameters.pipeline)
    for future in list(running.values()):
        _collect(future, running, done)
    results = [done[number] for number in sorted(done)]
    bad = [r for r in results if r.status in ("failed", "bad-input")]
    if bad:
        return Failed(
            message=f"{len(bad)} of {len(results)} scenes failed: {', '.join(r.scene_id for r in bad)}", data=results
        )
    return Completed(data=results)


def _collect(future: Any, running: dict[int, Any], done: dict[int, SceneResult]) -> None:
    """Moves a scene's result from those running to those done."""
    number = next(n for n, other in running.items() if other == future)
    done[number] = running.pop(number).result()


@task(name="label-scene", task_run_name="label-{scene_id}", cache_policy=NO_CACHE, persist_result=False)
def label_scene(source: str, scene_id: str, store_url: str, settings: PipelineSettings) -> SceneResult:
    """One source from end to end; what fails is told, not raised, so that the other scenes go on."""
    start = time.perf_counter()

    def result(status: Literal["published", "unchanged", "bad-input", "failed"], **more: Any) -> SceneResult:
        return SceneResult(source, scene_id, status, round(time.perf_counter() - start, 2), **more)

    with of_scene(scene_id):
        try:
            row, notes, fresh = _label(source, scene_id, store_url, settings)
        except InputError as error:
            logger.info("%s: %s", scene_id, error)
            return result("bad-input", message=str(error) if source in str(error) else f"{source}: {error}")
        except Exception as error:
            logger.error("%s failed:\n%s", scene_id, traceback.format_exc())
            return result("failed", message=f"{type(error).__name__}: {error}")
        return result("published" if fresh else "unchanged", row=row, notes=notes)


def _label(
    source: str, scene_id: str, store_url: str, settings: PipelineSettings
) -> tuple[CatalogRow, tuple[str, ...], bool]:
    """The catalog row, the notes for the user, and whether anything had to be published."""
    settings = with_scene_paths(settings, scene_id)
    todo = plan(Path(source), scene_id, settings)
    store = Store.open(store_url)
    complete = SceneStore(store).published(scene_id, todo.digests["publish"]) is not None
    listed = [row for row in Catalog(store).rows(latest_only=False) if row.scene_id == scene_id]
    for row in listed:
        if row.digest == todo.digests["publish"] and complete:
            return row, () if row is listed[-1] else (_OLDER,), False
    for row in listed[-1:]:
        if row.source_digest != todo.source and row.source != source:
            raise InputError(
                f"{source}: scene {scene_id} is already published from another source ({row.source}); "
                "choose a name with --scene-id."
            )
    d = todo.digests
    keyframes = ingest(store_url, d["ingest"], source, settings.ingest)
    # masks first: what does not fit the frames is told before the longer work
    masks = segment(store_url, d["segment"], keyframes, settings.segment, settings.features.save)
    reconstruction = reconstruct(store_url, d["reconstruct"], keyframes, settings.reconstruct, settings.seed)
    lifted = lift(store_url, d["lift"], reconstruction, masks)
    grouped = superpoints(store_url, d["superpoints"], reconstruction, masks, lifted, settings.superpoints)
    stages: dict[str, StageRef] = {
        "ingest": keyframes, "reconstruct": reconstruction, "segment": masks, "lift": lifted, "superpoints": grouped,
    }  # fmt: skip
    if settings.features.save:
        stages["features"] = features(store_url, d["features"], reconstruction, masks, settings.features)
    row = publish(store_url, todo, scene_id, source, stages)
    notes = tuple(note for ref in stages.values() for note in ref.summary.get("notes", ()))
    return row, notes, True


def run(parameters: LabelParameters) -> list[SceneResult]:
    """Runs the flow in this process and gives its results, also those of a run in which scenes failed.

    Raises:
        InputError: nothing could be started.
    """
    state: State[Any] = generate_labels(parameters, return_state=True)
    results = state.result(raise_on_failure=False)
    if isinstance(results, BaseException):
        raise results
    done: list[SceneResult] = results
    return done
