"""What the store knows of sources without looking into them: that they are done, or failed as they are."""

import logging
import time
from collections.abc import Sequence

from flows.retry_settings import Until
from flows.scenes import ENGINES, SceneResult, concerns, course_of, failed, forget_failure, listed_in
from flows.settings import NamedSource
from flows.sharing import Job, Knowledge
from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.failures import Failure, Failures
from storage.source_memory import SourceMemory
from storage.stages import Stages
from storage.store import Store
from tasks.known_source import Look, memory_keys

logger = logging.getLogger("ovseg3r.flow")

_REFRESH = 10.0  # seconds between two listings of what other workers may have done meanwhile


def already_done(
    store: Store, scenes: Sequence[NamedSource], skip_failed: bool, until: Until
) -> list[SceneResult] | None:
    """The results of a run that finds nothing to do, told without Prefect and its server; None where something is."""
    done: list[SceneResult] = []
    # what is new mostly comes last: where it does, the others are not looked at twice
    for some in filter(None, (scenes[-1:], scenes[:-1])):
        standing = Standing(store, some, skip_failed, until)
        results = [standing.settled(Job(scene.source, scene.scene_id, {}), False) for scene in some]
        found = [result for result in results if result is not None]
        if len(found) < len(some):
            return None
        done = found + done
    return done


class Standing(Knowledge):
    """The scenes of a run as the store has them; ``settled`` is asked before a task is started for one.

    skip_failed: scenes are not tried again that failed as bad input, as long as source and settings are what they were.
    until: the stage at which a scene is done for this run.
    """

    def __init__(self, store: Store, scenes: Sequence[NamedSource], skip_failed: bool, until: Until) -> None:
        self._store, self._skip_failed, self._until = store, skip_failed, until
        asked = [(scene.source, scene.scene_id, scene.settings) for scene in scenes]
        ids, look = [scene.scene_id for scene in scenes], Look()
        self.keys = dict(zip(ids, memory_keys(asked, look=look), strict=True))
        early = [] if until is None else zip(ids, memory_keys(asked, until=until, look=look), strict=True)
        self._early = dict(early)
        self._tags = {scene.scene_id: scene.tags for scene in scenes}
        self._rows: dict[str, list[CatalogRow]] | None = None  # the catalog, read when the first of it is asked for
        self._memory, self._failed = SourceMemory(store), Failures(store)
        self._read()
        self._before = dict(self._marks)

    def settled(self, job: Job, was_elsewhere: bool) -> SceneResult | None:
        try:
            if was_elsewhere or time.monotonic() - self._looked > _REFRESH:
                self._read()
            return (
                self._listed(job, was_elsewhere)
                or self._far_enough(job, was_elsewhere)
                or self._has_failed(job, was_elsewhere)
            )
        except (OSError, InputError) as error:  # the task will tell, if it lasts
            logger.warning("what is known of %s cannot be read: %s", job.scene_id, error)
            return None

    def lost(self, job: Job, message: str) -> SceneResult:
        call = job.call
        course = course_of(self._store, call["scene"], call["key"], call["until"], None)
        course.stage = ""  # it took that with it
        return failed(course, "failed", message)

    def _read(self) -> None:
        self._digests, self._marks = self._memory.known(), self._failed.marks()
        self._looked = time.monotonic()

    def _listed(self, job: Job, was_elsewhere: bool) -> SceneResult | None:
        """As the scene is listed already."""
        digest = self._digests.get(self.keys[job.scene_id] or "")
        if digest is None:
            return None
        rows = self._rows_with(job.scene_id, digest)
        listed = listed_in(self._store, rows, digest, self._tags[job.scene_id])
        if listed is None:
            return None
        meanwhile = ("Another worker labelled it meanwhile.",) if was_elsewhere else ()
        return self._unchanged(job, listed.row, (*listed.notes, *meanwhile))

    def _far_enough(self, job: Job, was_elsewhere: bool) -> SceneResult | None:
        """As it is done up to the stage that the run ends with."""
        digest = self._digests.get(self._early.get(job.scene_id) or "")
        if self._until is None or digest is None or Stages(self._store).committed(self._until, digest) is None:
            return None
        meanwhile = ("Another worker did it meanwhile.",) if was_elsewhere else ()
        return self._unchanged(job, None, meanwhile)

    def _unchanged(self, job: Job, row: CatalogRow | None, notes: tuple[str, ...]) -> SceneResult:
        if job.scene_id in self._marks:
            forget_failure(self._store, job.scene_id, self._until if row is None else None)
        return SceneResult(job.source, job.scene_id, "unchanged", 0.0, row=row, notes=notes)

    def _rows_with(self, scene_id: str, digest: str) -> list[CatalogRow]:
        """The scene's rows, among which that of the digest should be."""
        catalog = Catalog(self._store)
        if self._rows is None:
            self._rows = {}
            for row in catalog.rows(latest_only=False):
                self._rows.setdefault(row.scene_id, []).append(row)
        rows = self._rows.get(scene_id, [])
        if digest not in {row.digest for row in rows}:  # it came since
            rows = self._rows[scene_id] = catalog.rows_of(scene_id)
        return rows

    def _has_failed(self, job: Job, was_elsewhere: bool) -> SceneResult | None:
        """As another worker has found just now; or as it failed before, where that is to be left so."""
        mark = self._marks.get(job.scene_id)
        if mark is None:
            return None
        is_new = mark != self._before.get(job.scene_id)
        failure = self._failed.of(job.scene_id) if is_new or self._skip_failed else None
        if failure is None or failure.stage == ENGINES:  # this machine may have what another lacks
            return None
        if not concerns(failure, self._until):
            return None
        if is_new and (was_elsewhere or self._is_of_the_source(failure)):
            message = f"{failure.message} (found by {failure.worker or 'another worker'})"
            return SceneResult(job.source, job.scene_id, failure.status, 0.0, message)
        if self._skip_failed and self._is_of_the_source(failure):
            message = f"not tried again, as it failed on {failure.when[:16]}: {failure.message}"
            return SceneResult(job.source, job.scene_id, "skipped", 0.0, message)
        return None

    def _is_of_the_source(self, failure: Failure) -> bool:
        """Whether another try would end the same: the source and the settings are what they were, and it was they."""
        same = failure.key is not None and failure.key == self.keys[failure.scene_id]
        return same and failure.status == "bad-input"
