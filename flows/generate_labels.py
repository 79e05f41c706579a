"""The flow ``generate-labels``: sources -> published scenes. One page: who calls what."""

from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.scenes import THREADS, Listed, SceneResult, known, results_of, run_each, told
from flows.settings import LabelParameters, name_scenes, with_scene_paths
from ovseg3r_model.records import Annotation
from ovseg3r_model.settings import PipelineSettings
from storage.stages import StageRef
from storage.store import Store
from tasks.features import features
from tasks.ingest import ingest
from tasks.lift import lift
from tasks.plan import plan
from tasks.publish import publish
from tasks.reconstruct import reconstruct
from tasks.segment import segment
from tasks.superpoints import superpoints
from tasks.truth import truth


@flow(name="generate-labels", persist_result=False, task_runner=THREADS)
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
    jobs = [
        partial(runner.submit, source, scene_id, store.url, parameters.pipeline, parameters.tags)
        for source, scene_id in scenes
    ]
    return run_each(jobs, parameters.workers)


@task(name="label-scene", task_run_name="label-{scene_id}", cache_policy=NO_CACHE, persist_result=False)
def label_scene(
    source: str, scene_id: str, store_url: str, settings: PipelineSettings, tags: tuple[str, ...]
) -> SceneResult:
    """One source from end to end; what fails is told, not raised, so that the other scenes go on."""
    return told(source, scene_id, lambda: label(source, scene_id, store_url, settings, tags))


def label(
    source: str,
    scene_id: str,
    store_url: str,
    settings: PipelineSettings,
    tags: tuple[str, ...],
    annotation: Annotation = "views",
) -> Listed:
    """The scene of one source, published, or found to be so. annotation: what is to supervise a training."""
    settings = with_scene_paths(settings, scene_id)
    todo = plan(Path(source), scene_id, settings, annotation)
    before = known(Store.open(store_url), todo, scene_id, source, tags)
    if before.listed is not None:
        return before.listed
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
    if "truth" in d and settings.segment.simulated.truth is not None:
        stages["truth"] = truth(store_url, d["truth"], reconstruction, settings.segment.simulated.truth)
    row = publish(store_url, todo, scene_id, source, stages, before.tags)
    notes = tuple(note for ref in stages.values() for note in ref.summary.get("notes", ()))
    return Listed(row, notes, True)


def run(parameters: LabelParameters) -> list[SceneResult]:
    """Runs the flow in this process and gives its results, also those of a run in which scenes failed.

    Raises:
        InputError: nothing could be started.
    """
    state: State[Any] = generate_labels(parameters, return_state=True)
    return results_of(state)
