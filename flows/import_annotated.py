"""The flow ``import-annotated``: scenes with ground truth -> published scenes that a training is supervised by as a
whole.

A room goes through the labelling line with its exact depth, poses and masks; a scan is read as it is.
"""

from functools import partial
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.generate_labels import label
from flows.import_settings import ImportParameters, name_annotated
from flows.scenes import THREADS, Listed, SceneResult, known, results_of, run_each, told
from ovseg3r_model.annotated.find import AnnotatedSource, find_annotated
from ovseg3r_model.annotated.rooms import recording_of
from ovseg3r_model.annotated.scannet200 import locate
from storage.store import Store
from tasks.annotate import plan_scan, publish_scan


@flow(name="import-annotated", persist_result=False, task_runner=THREADS)
def import_annotated(parameters: ImportParameters) -> State[list[SceneResult]]:
    """Imports every scene; one that fails does not stop the rest. The state's data is a list of :class:`SceneResult`,
    failed if one is.

    Raises:
        InputError: the store is unusable, or two sources would become one scene.
    """
    store = Store.open(parameters.store)
    store.check_writable()
    runner = import_scene.with_options(tags=["ovseg3r"])
    jobs = [
        partial(runner.submit, scene, scene_id, store.url, parameters) for scene, scene_id in name_annotated(parameters)
    ]
    return run_each(jobs, parameters.workers)


@task(name="import-scene", task_run_name="import-{scene_id}", cache_policy=NO_CACHE, persist_result=False)
def import_scene(source: AnnotatedSource, scene_id: str, store_url: str, parameters: ImportParameters) -> SceneResult:
    """One scene from end to end; what fails is told, not raised, so that the other scenes go on."""
    work = _import_room if source.kind == "room" else _import_scan
    return told(str(source.path), scene_id, lambda: work(source, scene_id, store_url, parameters))


def _import_room(source: AnnotatedSource, scene_id: str, store_url: str, parameters: ImportParameters) -> Listed:
    (room,) = find_annotated(source.path, "room")
    recording = str(recording_of(room.path))
    return label(recording, scene_id, store_url, parameters.for_room(room.path), parameters.tags, "scene")


def _import_scan(source: AnnotatedSource, scene_id: str, store_url: str, parameters: ImportParameters) -> Listed:
    (scan,) = find_annotated(source.path, "scannet200")
    parameters.check_for_scan(scan.path)
    files, path = locate(scan.path), str(scan.path)
    todo = plan_scan(files, scene_id, parameters.superpoints)
    before = known(Store.open(store_url), todo, scene_id, path, parameters.tags)
    if before.listed is not None:
        return before.listed
    row = publish_scan(store_url, todo, scene_id, path, files, parameters.superpoints, before.tags)
    return Listed(row, (), True)


def run(parameters: ImportParameters) -> list[SceneResult]:
    """Runs the flow in this process and gives its results, also those of a run in which scenes failed.

    Raises:
        InputError: nothing could be started.
    """
    state: State[Any] = import_annotated(parameters, return_state=True)
    return results_of(state)
