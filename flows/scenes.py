"""What the flows that publish scenes share: what became of a scene, and many of them, a few at a time."""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from prefect.client.schemas.objects import State
from prefect.futures import as_completed
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.settings import MOST_WORKERS
from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.plan import Plan
from tasks.progress import of_scene

logger = logging.getLogger("ovseg3r.flow")

THREADS: Any = ThreadPoolTaskRunner(max_workers=MOST_WORKERS)  # the flow itself keeps to `workers`
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


@dataclass(frozen=True)
class Listed:
    """A scene in the catalog; fresh: it was published just now."""

    row: CatalogRow
    notes: tuple[str, ...]
    fresh: bool


def told(source: str, scene_id: str, work: Callable[[], Listed]) -> SceneResult:
    """One scene's result; what fails is told, not raised, so that the other scenes go on."""
    start = time.perf_counter()

    def result(status: Literal["published", "unchanged", "bad-input", "failed"], **more: Any) -> SceneResult:
        return SceneResult(source, scene_id, status, round(time.perf_counter() - start, 2), **more)

    with of_scene(scene_id):
        try:
            done = work()
        except InputError as error:
            logger.info("%s: %s", scene_id, error)
            return result("bad-input", message=str(error) if source in str(error) else f"{source}: {error}")
        except Exception as error:
            logger.error("%s failed:\n%s", scene_id, traceback.format_exc())
            return result("failed", message=f"{type(error).__name__}: {error}")
        return result("published" if done.fresh else "unchanged", row=done.row, notes=done.notes)


@dataclass(frozen=True)
class Known:
    """What the catalog has of a scene. listed: where there is nothing to do. tags: those to publish it with, else."""

    listed: Listed | None
    tags: tuple[str, ...]


def known(store: Store, todo: Plan, scene_id: str, source: str, tags: tuple[str, ...]) -> Known:
    """Whether the scene is published and listed under the plan's digest, and with what tags; ``tags``, where any are
    given, replace those that it has.

    Raises:
        InputError: the id is that of a scene from another source.
    """
    digest = todo.digests["publish"]
    complete = SceneStore(store).published(scene_id, digest) is not None
    catalog = Catalog(store)
    rows = [row for row in catalog.rows(latest_only=False) if row.scene_id == scene_id]
    kept = tags or (rows[-1].tags if rows else ())
    for row in rows:
        if row.digest == digest and complete:
            return Known(_tagged(catalog, row, tags, () if row is rows[-1] else (_OLDER,)), kept)
    for row in rows[-1:]:
        if row.source_digest != todo.source and row.source != source:
            raise InputError(
                f"{source}: scene {scene_id} is already published from another source ({row.source}); "
                "choose a name with --scene-id."
            )
    return Known(None, kept)


def _tagged(catalog: Catalog, row: CatalogRow, tags: tuple[str, ...], notes: tuple[str, ...]) -> Listed:
    """A listed scene, with the tags that are given now, where they are others."""
    if not tags or set(tags) == set(row.tags):
        return Listed(row, notes, False)
    tagged = catalog.tag(row, tags)
    return Listed(tagged, (*notes, f"Its tags are now {', '.join(tagged.tags)}."), False)


def run_each(submissions: Sequence[Callable[[], Any]], workers: int) -> State[list[SceneResult]]:
    """Submits a task for each scene, at most ``workers`` at a time. The state's data is their results in order; it is
    failed if one is."""
    running: dict[int, Any] = {}
    done: dict[int, SceneResult] = {}
    for number, submit in enumerate(submissions):
        if len(running) == workers:
            _collect(next(as_completed(list(running.values()))), running, done)
        running[number] = submit()
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


def results_of(state: State[Any]) -> list[SceneResult]:
    """The results in a flow's final state, also where scenes failed.

    Raises:
        InputError: nothing could be started.
    """
    results = state.result(raise_on_failure=False)
    if isinstance(results, BaseException):
        raise results
    done: list[SceneResult] = results
    return done
