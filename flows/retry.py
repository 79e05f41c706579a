"""The flow ``retry-failed``: scenes that failed, labelled or imported -> another try, by the records of it."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.final_state import results_of, state_of
from flows.generate_labels import label_all
from flows.import_annotated import import_all
from flows.retry_settings import RetryParameters, Until, to_retry
from flows.runners import scene_runner
from flows.scenes import SceneResult
from storage.store import Store
from tasks.seen import run_seen


@flow(name="retry-failed", persist_result=False)
def retry_failed(parameters: RetryParameters) -> State[list[SceneResult]]:
    """Tries the scenes again, as they were to be labelled or imported. The state's data is as ``generate-labels``'.

    Raises:
        InputError: the store is unusable, or a scene that is named has not failed.
    """
    store = Store.open(parameters.store, create=False)
    store.check_writable()
    chosen = to_retry(store, parameters.scenes)
    goals: tuple[Until, ...] = ("reconstruct", None)
    runner = scene_runner(parameters.workers, parameters.runner, parameters.runner_address)
    results = []
    with runner as opened, run_seen("retry-failed", store.url, len(chosen)) as seen:
        for until in goals:
            scenes = [scene for scene, goal in chosen.labels if goal == until]
            results += label_all(opened, store, scenes, seen.ended, until)
        results += import_all(opened, store, chosen.imports, seen.ended)
    return state_of(results)


def run(parameters: RetryParameters) -> list[SceneResult]:
    """As ``generate_labels.run``."""
    return results_of(lambda: retry_failed(parameters, return_state=True))
