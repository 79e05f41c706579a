"""What people see of a run in the Prefect UI: how far it is, each scene, all scenes with their seconds."""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from storage.catalog_rows import CatalogRow
from storage.model_rows import ModelRow
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.assets import model_made, scene_made
from tasks.scene_report import scene_markdown
from tasks.server import named_server, show_logs

logger = logging.getLogger("ovseg3r.seen")

_EVERY = 1.0  # seconds between two messages of progress
_MOST_ROWS = 1000  # of a table, so that it stays one that a browser shows
_PICTURES = ("instances.png", "truth.png", "cloud.png")  # the first that a scene has is shown
_FIRST = ("failed", "bad-input", "published")  # what a table begins with


class Outcome(Protocol):
    """What became of a scene. status: "published" if that is new. row: of the catalog; None where it has none."""

    @property
    def scene_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def message(self) -> str: ...
    @property
    def row(self) -> CatalogRow | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


@contextmanager
def run_seen(flow: str, store_url: str, total: int) -> "Iterator[RunSeen]":
    """Inside a flow run: its progress, and at the end, however that comes, the table of its scenes. Where the server is
    a private one, nothing."""
    seen = RunSeen(flow, store_url, total)
    show_logs()
    try:
        yield seen
    finally:
        seen.close()


class RunSeen:
    """A flow run over scenes, as people see it. Made by :func:`run_seen`."""

    def __init__(self, flow: str, store_url: str, total: int) -> None:
        self._flow, self._store_url, self._total = flow, store_url, total
        self._ended: list[Outcome] = []
        self._shown = named_server()
        self._told = time.monotonic()
        self._progress: UUID | None = None
        if self._shown:
            self._progress = _tried(
                lambda: create_progress_artifact(0.0, key=f"{flow}-progress", description=f"0 of {total} scenes")
            )

    def ended(self, outcome: Outcome) -> None:
        """Counts a scene. One that was published newly gets its page, and is announced as an asset."""
        if not self._shown:
            return
        self._ended.append(outcome)
        row = outcome.row
        if outcome.status == "published" and row is not None:
            _tried(lambda: scene_made(self._store_url, row))
            _tried(lambda: _show_scene(self._store_url, row, outcome.notes))
        if time.monotonic() - self._told >= _EVERY:
            self._tell_progress()

    def close(self) -> None:
        """The last progress, and the table."""
        if not self._shown:
            return
        self._tell_progress()
        table, said = scenes_table(self._ended), f"{self._said()} Store: {self._store_url}"
        _tried(lambda: create_table_artifact(table, key=f"{self._flow}-scenes", description=said))

    def _tell_progress(self) -> None:
        self._told = time.monotonic()
        artifact = self._progress
        if artifact is not None:
            done = 100.0 * len(self._ended) / max(self._total, 1)
            _tried(lambda: update_progress_artifact(artifact, progress=done, description=self._said()))

    def _said(self) -> str:
        counts = Counter(outcome.status for outcome in self._ended)
        parts = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        return f"{len(self._ended)} of {self._total} scenes" + (f": {parts}." if parts else ".")


def scenes_table(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """A row for each scene, those that failed first, and before all their sum: status, seconds in all and by stage
    where it was run now, and why a scene is not published."""
    fresh = [o.row.timings for o in outcomes if o.status == "published" and o.row is not None]
    stages = list(dict.fromkeys(name for timings in fresh for name in timings))

    def line(scene: str, status: str, seconds: float, timings: dict[str, float], why: str) -> dict[str, Any]:
        by_stage = {f"{name} s": round(timings[name], 1) if name in timings else "" for name in stages}
        return {"scene": scene, "status": status, "seconds": round(seconds, 1), **by_stage, "why": why}

    sums = {name: sum(timings.get(name, 0.0) for timings in fresh) for name in stages}
    counts = Counter(o.status for o in outcomes)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    ranked = sorted(outcomes, key=lambda o: _FIRST.index(o.status) if o.status in _FIRST else len(_FIRST))
    rows = [line(f"all {len(outcomes)}", said, sum(o.seconds for o in outcomes), sums, "")]
    for o in ranked[:_MOST_ROWS]:
        timings = o.row.timings if o.status == "published" and o.row is not None else {}
        rows.append(line(o.scene_id, o.status, o.seconds, timings, o.message))
    if len(ranked) > _MOST_ROWS:
        rows.append(line(f"and {len(ranked) - _MOST_ROWS} more", "", 0.0, {}, ""))
    return rows


def model_seen(store_url: str, row: ModelRow) -> None:
    """Announces a model that was published newly as an asset; nothing where the server is a private one."""
    if named_server():
        _tried(lambda: model_made(store_url, row))


def _show_scene(store_url: str, row: CatalogRow, notes: tuple[str, ...]) -> None:
    markdown = scene_markdown(row, notes, _picture(Store.open(store_url), row))
    said = f"{row.points:,} points, {row.instances:,} 2D instances, {len(row.label_histogram):,} labels"
    create_markdown_artifact(markdown, key=artifact_key(row.scene_id), description=said)


def artifact_key(scene_id: str) -> str:
    """The key of a scene's page: its id with dashes alone, as Prefect wants, and no two scenes' the same."""
    plain = scene_id.replace("_", "-")
    return (
        f"scene-{plain}" if plain == scene_id else f"scene-{plain}-{hashlib.sha256(scene_id.encode()).hexdigest()[:8]}"
    )


def _picture(store: Store, row: CatalogRow) -> bytes | None:
    published = SceneStore(store).published(row.scene_id, row.digest)
    if published is None:
        return None
    found = (store.get(f"{published.prefix}/pictures/{name}") for name in _PICTURES)
    return next((data for data in found if data is not None), None)


def _tried(tell: Callable[[], Any]) -> Any:
    """What is only to be looked at stops no run: a server that is away is told in the log."""
    try:
        return tell()
    except Exception as error:
        logger.warning("the Prefect server was not told: %s: %s", type(error).__name__, error)
        return None
