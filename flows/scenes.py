"""One scene of many: claimed, worked on, and what became of it. What the flows that publish scenes share."""

import logging
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from flows.retry_settings import Until, kept
from flows.settings import NamedSource
from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.claims import Claim, Claims
from storage.failures import Failure, Failures
from storage.parquet_rows import utc_now
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.plan import STAGE_VERSIONS, Plan
from tasks.progress import of_scene

logger = logging.getLogger("ovseg3r.flow")

Status = Literal["published", "unchanged", "reconstructed", "skipped", "bad-input", "failed", "elsewhere"]
FAILURES = ("failed", "bad-input")
ENGINES = "engines"
"""What a scene's work begins with: whether this machine has what the settings ask for. No source is to blame for it."""

_OLDER = "The catalog shows a newer version of this scene, made with other settings; --all lists this one too."


@dataclass(frozen=True)
class SceneResult:
    """What became of one source. ``row`` is its catalog row where it is published; ``message`` says why where it is
    not. A scene that is "elsewhere", with another worker, is looked at again before a flow ends.
    """

    source: str
    scene_id: str
    status: Status
    seconds: float
    message: str = ""
    row: CatalogRow | None = None
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Listed:
    """A scene that the work came to. row: in the catalog, None where it was to be reconstructed alone; fresh: that was
    done just now."""

    row: CatalogRow | None
    notes: tuple[str, ...]
    fresh: bool


@dataclass
class Course:
    """The way of one scene through its stages. silent: the last sign of life of a worker that left it. key: of its
    source as it is now, and the settings. until: the stage that it ends with. parameters: what another try needs; None
    where failures are not recorded.
    """

    store: Store
    source: str
    scene_id: str
    silent: str | None = None
    key: str | None = None
    until: Until = None
    parameters: dict[str, Any] | None = None
    stage: str = ENGINES
    done: tuple[str, ...] = ()
    digest: str | None = None
    claim: Claim | None = None

    def at(self, stage: str, digest: str | None = None) -> None:
        """What is done now, for those who ask; digest: of the scene it will be, once that is known."""
        if self.stage in STAGE_VERSIONS:
            self.done += (self.stage,)
        self.stage, self.digest = stage, digest or self.digest
        if self.claim is not None:
            self.claim.at(stage, self.done, self.digest or "")


def course_of(store: Store, scene: NamedSource, key: str | None, until: Until, silent: str | None) -> Course:
    """The way of a source that is labelled."""
    return Course(store, scene.source, scene.scene_id, silent, key, until, kept(scene, until))


def told(course: Course, work: Callable[[], Listed]) -> SceneResult:
    """One scene's result, unless another worker has the scene; what fails is told, not raised, so that the other scenes
    go on."""
    start = time.perf_counter()
    with of_scene(course.scene_id):
        try:
            course.claim = Claims(course.store).take(course.scene_id, silent=course.silent)
        except Exception as error:
            result = _told(course, error)
        else:
            if course.claim is None:
                return SceneResult(course.source, course.scene_id, "elsewhere", 0.0)
            with course.claim:  # a failure is recorded before others may take the scene up
                result = _worked(course, work)
    return replace(result, seconds=round(time.perf_counter() - start, 2))


def _worked(course: Course, work: Callable[[], Listed]) -> SceneResult:
    try:
        done = work()
    except Exception as error:
        return _told(course, error)
    _beside(course, lambda: forget_failure(course.store, course.scene_id, course.until))
    fresh: Status = "reconstructed" if done.row is None else "published"
    status: Status = fresh if done.fresh else "unchanged"
    return SceneResult(course.source, course.scene_id, status, 0.0, row=done.row, notes=done.notes)


def concerns(failure: Failure, until: Until) -> bool:
    """Whether it is a failure of a run that ends with that stage, too: of such a run, or at one of its stages."""
    return until is None or failure.stage in ("ingest", until) or failure.parameters.get("until") == until


def forget_failure(store: Store, scene_id: str, until: Until) -> None:
    """Of a scene that came so far: it has failed no more, unless that was later on the way."""
    failures = Failures(store)
    failure = None if until is None else failures.of(scene_id)
    if failure is None or concerns(failure, until):
        failures.clear(scene_id)


def _told(course: Course, error: Exception) -> SceneResult:
    """The result of an error in the work."""
    if isinstance(error, InputError):
        logger.info("%s: %s", course.scene_id, error)
        message = str(error) if course.source in str(error) else f"{course.source}: {error}"
        return failed(course, "bad-input", message)
    logger.error("%s failed:\n%s", course.scene_id, "".join(traceback.format_exception(error)))
    return failed(course, "failed", f"{type(error).__name__}: {error}")


def failed(course: Course, status: Literal["bad-input", "failed"], message: str) -> SceneResult:
    """The result, which is recorded for `ovseg3r status` and `retry` where failures are."""
    _beside(course, lambda: _record(course, status, message))
    return SceneResult(course.source, course.scene_id, status, 0.0, message)


def _record(course: Course, status: Literal["bad-input", "failed"], message: str) -> None:
    if course.parameters is None:
        return
    holder = None if course.claim is None else course.claim.holder
    failure = Failure(
        scene_id=course.scene_id,
        source=course.source,
        status=status,
        stage=course.stage,
        done=course.done,
        message=message,
        when=utc_now(),
        worker="" if holder is None else holder.worker,
        attempt=secrets.token_hex(8),
        digest=course.digest,
        key=course.key,
        parameters=course.parameters,
    )
    Failures(course.store).record(failure)


def _beside(course: Course, note: Callable[[], None]) -> None:
    """Does what the scene's result does not hang on."""
    try:
        note()
    except (OSError, InputError) as error:
        logger.warning("%s: the record of failures could not be changed: %s", course.scene_id, error)


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
    rows = Catalog(store).rows_of(scene_id)
    listed = listed_in(store, rows, todo.digests["publish"], tags)
    if listed is None:
        for row in rows[-1:]:
            if row.source_digest != todo.source and row.source != source:
                raise InputError(
                    f"{source}: scene {scene_id} is already published from another source ({row.source}); "
                    "choose a name with --scene-id."
                )
    return Known(listed, tags or (rows[-1].tags if rows else ()))


def listed_in(store: Store, rows: Sequence[CatalogRow], digest: str, tags: tuple[str, ...]) -> Listed | None:
    """The scene with that digest among its rows, in order of time, with ``tags`` where any are given; None where it is
    not there, or its data is lost."""
    for row in rows:
        if row.digest == digest and SceneStore(store).published(row.scene_id, digest) is not None:
            return _tagged(Catalog(store), row, tags, () if row is rows[-1] else (_OLDER,))
    return None


def _tagged(catalog: Catalog, row: CatalogRow, tags: tuple[str, ...], notes: tuple[str, ...]) -> Listed:
    """A listed scene, with the tags that are given now, where they are others."""
    if not tags or set(tags) == set(row.tags):
        return Listed(row, notes, False)
    tagged = catalog.tag(row, tags)
    return Listed(tagged, (*notes, f"Its tags are now {', '.join(tagged.tags)}."), False)
