"""The flow ``import-annotated``: scenes with ground truth -> published scenes that a training is supervised by as a
whole.

A room goes through the labelling line with its exact depth, poses and masks; a scan is read as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.final_state import results_of, state_of
from flows.generate_labels import label
from flows.import_settings import ImportParameters, NamedScene, name_annotated
from flows.runners import SceneRunner, scene_runner
from flows.scenes import Course, Listed, SceneResult, known, told
from flows.sharing import Ended, Job, Knowledge, run_each
from ovseg3r_model.annotated.find import AnnotatedSource, find_annotated
from ovseg3r_model.annotated.rooms import recording_of
from ovseg3r_model.annotated.scannet200 import locate
from storage.store import Store
from tasks.annotate import plan_scan, publish_scan
from tasks.seen import run_seen
from tasks.server import show_logs


@flow(name="import-annotated", persist_result=False)
def import_annotated(parameters: ImportParameters) -> State[list[SceneResult]]:
    """Imports every scene; one that fails does not stop the rest. The state's data is a list of :class:`SceneResult`,
    failed if one is.

    Raises:
        InputError: the store is unusable, or two sources would become one scene.
    """
    store = Store.open(parameters.store)
    store.check_writable()
    scenes = name_annotated(parameters)
    runner = scene_runner(parameters.workers)
    with runner as opened, run_seen("import-annotated", store.url, len(scenes)) as seen:
        return state_of(import_all(opened, store, scenes, seen.ended))


def import_all(runner: SceneRunner, store: Store, scenes: Sequence[NamedScene], ended: Ended) -> list[SceneResult]:
    """Imports the scenes that are not published yet."""
    jobs = [Job(str(scene.source.path), scene.scene_id, {"scene": scene, "store_url": store.url}) for scene in scenes]
    return run_each(runner, import_scene.with_options(tags=["ovseg3r"]), store, jobs, Knowledge(), ended)


@task(name="import-scene", task_run_name="import-{scene.scene_id}", cache_policy=NO_CACHE, persist_result=False)
def import_scene(scene: NamedScene, store_url: str, silent: str | None) -> SceneResult:
    """One scene from end to end; what fails is told, not raised, so that the other scenes go on."""
    show_logs()
    source, parameters = scene.source, scene.parameters
    course = Course(Store.open(store_url), str(source.path), scene.scene_id, silent, parameters=scene.kept())
    work = _import_room if source.kind == "room" else _import_scan
    return told(course, partial(work, course, source, parameters))


def _import_room(course: Course, source: AnnotatedSource, parameters: ImportParameters) -> Listed:
    (room,) = find_annotated(source.path, "room")
    recording = replace(course, source=str(recording_of(room.path)))
    try:
        return label(recording, parameters.for_room(room.path), parameters.tags, "scene")
    finally:  # how far it came, for the record of a failure
        course.stage, course.done, course.digest = recording.stage, recording.done, recording.digest


def _import_scan(course: Course, source: AnnotatedSource, parameters: ImportParameters) -> Listed:
    (scan,) = find_annotated(source.path, "scannet200")
    parameters.check_for_scan(scan.path)
    files, path = locate(scan.path), str(scan.path)
    course.at("source")
    todo = plan_scan(files, course.scene_id, parameters.superpoints)
    course.at("publish", todo.digests["publish"])
    before = known(course.store, todo, course.scene_id, path, parameters.tags)
    if before.listed is not None:
        return before.listed
    row = publish_scan(course.store.url, todo, course.scene_id, path, files, parameters.superpoints, before.tags)
    return Listed(row, (), True)


def run(parameters: ImportParameters) -> list[SceneResult]:
    """Runs the flow in this process and gives its results, also those of a run in which scenes failed.

    Raises:
        InputError: nothing could be started.
    """
    return results_of(lambda: import_annotated(parameters, return_state=True))
