"""The flow ``generate-labels``: sources -> published scenes. One page: who calls what."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.final_state import results_of, state_of
from flows.parts import start_parts
from flows.retry_settings import Until
from flows.runners import SceneRunner, check_runner, scene_runner
from flows.scenes import Course, Listed, SceneResult, course_of, known, told
from flows.settings import LabelParameters, NamedSource, name_scenes
from flows.sharing import Ended, Job, run_each
from flows.standing import Standing
from ovseg3r_model.records import Annotation
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.settings import PipelineSettings, SegmentSettings
from storage.catalog import Catalog
from storage.errors import StoreError
from storage.source_memory import SourceMemory
from storage.stages import StageRef, Stages
from storage.store import Store
from tasks.features import features
from tasks.fetch import Here, fetched
from tasks.ingest import ingest
from tasks.known_source import memory_keys, same_files
from tasks.lift import lift
from tasks.plan import Plan, plan, plan_reconstruction
from tasks.publish import publish
from tasks.reconstruct import reconstruct
from tasks.seen import run_seen
from tasks.segment import segment
from tasks.server import show_logs
from tasks.superpoints import superpoints
from tasks.truth import truth

MANY_FILES = 200
"""Files of the catalog from which on a run merges them at its end: each costs every reader a request."""


@flow(name="generate-labels", persist_result=False)
def generate_labels(parameters: LabelParameters) -> State[list[SceneResult]]:
    """Labels every source; one that fails does not stop the rest. Any number of runs may have the same sources at once:
    they share the work. The state's data is a list of :class:`SceneResult`, failed if one is.

    Raises:
        InputError: the store is unusable, or two sources would become one scene.
    """
    check_runner(parameters)
    store = Store.open(parameters.store)
    store.check_writable()
    scenes = name_scenes(parameters)
    start_parts(parameters)
    runner = scene_runner(parameters.workers, parameters.runner, parameters.runner_address)
    with runner as opened, run_seen("generate-labels", store.url, len(scenes)) as seen:
        return state_of(label_all(opened, store, scenes, seen.ended, parameters.until, parameters.skip_failed))


def label_all(
    runner: SceneRunner,
    store: Store,
    scenes: Sequence[NamedSource],
    ended: Ended,
    until: Until,
    skip_failed: bool = False,
) -> list[SceneResult]:
    """Labels the sources that are not done yet, and those that failed unless they are to be skipped."""
    standing = Standing(store, scenes, skip_failed, until)
    jobs = [
        Job(
            scene.source,
            scene.scene_id,
            {"scene": scene, "store_url": store.url, "key": standing.keys[scene.scene_id], "until": until},
        )
        for scene in scenes
    ]
    results = run_each(runner, label_scene.with_options(tags=["ovseg3r"]), store, jobs, standing, ended)
    with suppress(StoreError):  # the work is done; the next run or gc merges them
        Catalog(store).compact(least=MANY_FILES)
    return results


@task(name="label-scene", task_run_name="label-{scene.scene_id}", cache_policy=NO_CACHE, persist_result=False)
def label_scene(scene: NamedSource, store_url: str, key: str | None, until: Until, silent: str | None) -> SceneResult:
    """One source from end to end; what fails is told, not raised, so that the other scenes go on."""
    show_logs()
    course = course_of(Store.open(store_url), scene, key, until, silent)
    return told(course, partial(label, course, scene.settings, scene.tags))


def label(
    course: Course,
    settings: PipelineSettings,
    tags: tuple[str, ...],
    annotation: Annotation = "views",
) -> Listed:
    """The scene of one source, published, or found to be so; its reconstruction alone, where its course ends there.
    annotation: what is to supervise a training."""
    store, key, until = course.store, course.key, course.until
    if until is None:
        build_segmenter(settings.segment, settings.features.save)  # says what this machine lacks
    else:
        settings = settings.model_copy(update={"segment": SegmentSettings()})  # its files need not be there yet
        (key,) = memory_keys([(course.source, course.scene_id, settings)], until=until)
    course.at("source")
    with fetched(course.source, settings) as here:
        if until is not None:
            todo = plan_reconstruction(here.source, here.settings)
            listed = _reconstructed(course, here, todo)
        else:
            todo = plan(here.source, course.scene_id, here.settings, annotation)
            course.at("catalog", todo.digests["publish"])
            found = known(store, todo, course.scene_id, course.source, tags)
            listed = _published(course, here, todo, found.tags) if found.listed is None else found.listed
    if key is not None and same_files(key, course.source, settings, until):
        SourceMemory(store).put(key, todo.digests[until or "publish"])
    return listed


def _published(course: Course, here: Here, todo: Plan, tags: tuple[str, ...]) -> Listed:
    """The stages, one after the other; each finds done what was done before."""
    url, d, settings = course.store.url, todo.digests, here.settings
    course.at("ingest")
    keyframes = ingest(url, d["ingest"], str(here.source), settings.ingest)
    # masks first: what does not fit the frames is told before the longer work
    course.at("segment")
    masks = segment(url, d["segment"], keyframes, settings.segment, settings.features.save)
    course.at("reconstruct")
    reconstruction = reconstruct(url, d["reconstruct"], keyframes, settings.reconstruct, settings.seed)
    course.at("lift")
    lifted = lift(url, d["lift"], reconstruction, masks)
    course.at("superpoints")
    grouped = superpoints(url, d["superpoints"], reconstruction, masks, lifted, settings.superpoints)
    stages: dict[str, StageRef] = {
        "ingest": keyframes, "reconstruct": reconstruction, "segment": masks, "lift": lifted, "superpoints": grouped,
    }  # fmt: skip
    if settings.features.save:
        course.at("features")
        stages["features"] = features(url, d["features"], reconstruction, masks, settings.features)
    if "truth" in d and settings.segment.simulated.truth is not None:
        course.at("truth")
        stages["truth"] = truth(url, d["truth"], reconstruction, settings.segment.simulated.truth)
    course.at("publish")
    row = publish(url, todo, course.scene_id, course.source, stages, tags)
    return Listed(row, tuple(note for ref in stages.values() for note in ref.summary.get("notes", ())), True)


def _reconstructed(course: Course, here: Here, todo: Plan) -> Listed:
    """The stages up to the reconstruction, which the whole line finds done later."""
    url, d, settings = course.store.url, todo.digests, here.settings
    done = Stages(course.store).committed("reconstruct", d["reconstruct"]) is not None
    course.at("ingest")
    keyframes = ingest(url, d["ingest"], str(here.source), settings.ingest)
    course.at("reconstruct")
    reconstruction = reconstruct(url, d["reconstruct"], keyframes, settings.reconstruct, settings.seed)
    notes = tuple(note for ref in (keyframes, reconstruction) for note in ref.summary.get("notes", ()))
    return Listed(None, notes, not done)


def run(parameters: LabelParameters) -> list[SceneResult]:
    """Runs the flow in this process and gives its results, also those of a run in which scenes failed.

    Raises:
        InputError: nothing could be started.
    """
    return results_of(lambda: generate_labels(parameters, return_state=True))
