"""The flow ``import-annotated``: scenes with ground truth -> published scenes that a training is supervised by as a
whole.

A room goes through the labelling line with its exact depth, poses and masks; a scan is read as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.final_state import results_of, state_of
from flows.generate_labels import label
from flows.import_settings import ImportParameters, NamedScene, name_annotated
from flows.runners import SceneRunner, scene_runner
from flows.scenes import Course, Listed, SceneResult, failed, known, told
from flows.sharing import Ended, Job, Knowledge, run_each
from ovseg3r_model.annotated.find import AnnotatedSource
from ovseg3r_model.annotated.rooms import recording_of
from ovseg3r_model.annotated.scannet200 import locate
from ovseg3r_model.sources import scene_id_of
from storage.failures import Failures
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
    _forget_places(store, scenes, parameters.sources)
    runner = scene_runner(parameters.workers)
    with runner as opened, run_seen("import-annotated", store.url, len(scenes)) as seen:
        return state_of(import_all(opened, store, scenes, seen.ended))


def import_all(runner: SceneRunner, store: Store, scenes: Sequence[NamedScene], ended: Ended) -> list[SceneResult]:
    """Imports the scenes that are not published yet."""
    jobs = [Job(str(scene.source.path), scene.scene_id, {"scene": scene, "store_url": store.url}) for scene in scenes]
    return run_each(runner, import_scene.with_options(tags=["ovseg3r"]), store, jobs, _Imports(store), ended)


class _Imports(Knowledge):
    def __init__(self, store: Store) -> None:
        self._store = store

    def lost(self, job: Job, message: str) -> SceneResult:
        course = _course(self._store, job.call["scene"], None)
        course.stage = ""  # it took that with it
        return failed(course, "failed", message)


def _course(store: Store, scene: NamedScene, silent: str | None) -> Course:
    return Course(store, str(scene.source.path), scene.scene_id, silent, parameters=scene.kept())


def _forget_places(store: Store, scenes: Sequence[NamedScene], sources: Sequence[str]) -> None:
    """A folder that held no scene and failed as one itself has scenes now: its failure will be no scene's."""
    failures, ids = Failures(store), {scene.scene_id for scene in scenes}
    marks = failures.marks()
    for path in (Path(source).expanduser().resolve() for source in sources):
        scene_id = scene_id_of(path)
        if scene_id in marks.keys() - ids and (known := failures.of(scene_id)) is not None and known.of_import:
            failures.clear(scene_id)


@task(name="import-scene", task_run_name="import-{scene.scene_id}", cache_policy=NO_CACHE, persist_result=False)
def import_scene(scene: NamedScene, store_url: str, silent: str | None) -> SceneResult:
    """One scene from end to end; what fails is told, not raised, so that the other scenes go on."""
    show_logs()
    course = _course(Store.open(store_url), scene, silent)
    return told(course, partial(_import, course, scene))


def _import(course: Course, scene: NamedScene) -> Listed:
    found = scene.found()
    work = _import_room if found.kind == "room" else _import_scan
    return work(course, found, scene.parameters)


def _import_room(course: Course, room: AnnotatedSource, parameters: ImportParameters) -> Listed:
    recording = replace(course, source=str(recording_of(room.path)))
    try:
        return label(recording, parameters.for_room(room.path), parameters.tags, "scene")
    finally:  # how far it came, for the record of a failure
        course.stage, course.done, course.digest = recording.stage, recording.done, recording.digest


def _import_scan(course: Course, scan: AnnotatedSource, parameters: ImportParameters) -> Listed:
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
