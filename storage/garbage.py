"""What nobody can see any more is removed, when it is old enough that nobody can still be writing it."""

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path

from ovseg3r_model.errors import InputError
from storage.catalog import Catalog, ModelCatalog
from storage.claims import CLAIMS
from storage.commits import MARKER, read_marker
from storage.failures import FAILURES
from storage.model_store import MODELS
from storage.names import check_digest, check_scene_id
from storage.parquet_rows import AnyRow
from storage.scene_store import SCENES
from storage.store import PROBES, Entry, Store
from storage.table import Table

_FAILURES_KEPT = timedelta(days=30)  # as long somebody may want to know, or to try again
_READERS = 32  # markers read at once: object stores answer in tens of milliseconds
_STAGING = re.compile(r"#\d+$")  # what a killed put leaves on a local disk; obstore neither lists nor deletes it


@dataclass(frozen=True)
class GcReport:
    """What was removed, or would be with ``dry_run``: how many of each kind, stored objects and bytes together.

    attempts: uncommitted or beaten tries at a stage. parts: folders of saved pieces. outputs: committed stage outputs.
    scenes, models: superseded published ones. leftovers: folders of either, never committed. temporary: files of killed
    writes, claims of workers that are gone, failures of more than a month ago.
    """

    attempts: int
    parts: int
    outputs: int
    scenes: int
    models: int
    leftovers: int
    temporary: int
    objects: int
    bytes: int
    dry_run: bool


@dataclass(frozen=True)
class _Doomed:
    """One thing to remove: the objects go in this order."""

    kind: str
    entries: tuple[Entry, ...]


def collect_garbage(
    store: Store,
    older_than_hours: float,
    *,
    intermediates: bool = False,
    superseded: bool = False,
    dry_run: bool = True,
) -> GcReport:
    """Removes what is invisible and was last written more than ``older_than_hours`` ago.

    intermediates: also committed stage outputs; a later run then starts from the source. superseded: also published
    scenes and models whose id has a newer row: the row goes first, then the data. Never touches another listed one. Not
    to be run with a short time beside a flow that reads the same outputs: age is counted from the last write, not the
    last read.
    """
    before = datetime.now(UTC) - timedelta(hours=older_than_hours)
    doomed = [
        *_stages(store, intermediates),
        *_published(Catalog(store), SCENES, before, superseded, dry_run),
        *_published(ModelCatalog(store), MODELS, before, superseded, dry_run),
        *_singles(store, PROBES, before),
        *_singles(store, CLAIMS, before),
        *_singles(store, FAILURES, min(before, datetime.now(UTC) - _FAILURES_KEPT)),
    ]
    doomed = [item for item in doomed if item.entries and max(entry.modified for entry in item.entries) < before]
    files = list(_staging_files(store.root, before))
    if not dry_run:
        for item in doomed:
            store.delete([item.entries[0].key])  # the marker, where there is one, before the data it vouches for
            store.delete(entry.key for entry in item.entries[1:])
        for path, _ in files:
            path.unlink(missing_ok=True)
    return _report(doomed, [size for _, size in files], dry_run)


def _stages(store: Store, intermediates: bool) -> Iterator[_Doomed]:
    for _, entries, winner in _folders(store, "stages"):
        for name, group in _by_child(entries):
            if name == "parts":
                yield _Doomed("parts", group)
            elif name not in (MARKER, winner):
                yield _Doomed("attempts", group)
        if winner is not None and intermediates:
            yield _Doomed("outputs", _marker_first(entries, winner))


def _published(table: Table[AnyRow], top: str, before: datetime, superseded: bool, dry_run: bool) -> Iterator[_Doomed]:
    """Folders of scenes or models. What is complete but has no row is kept, the next publish lists it; what was taken
    off the list goes."""
    # Time runs from the newer row: until then the older one was what readers took.
    settled = {row.id: row.digest for row in table.rows() if datetime.fromisoformat(row.listed_at) < before}
    listed = {(row.id, row.digest) for row in table.rows(latest_only=False)}
    for folder, entries, winner in _folders(table.store, top):
        _, name, digest = folder.split("/")
        for child, group in _by_child(entries):
            if child not in (MARKER, winner):
                yield _Doomed("leftovers", group)
        if winner is None:
            continue
        old = max(entry.modified for entry in entries) < before
        if superseded and old and (name, digest) in listed and settled.get(name, digest) != digest:
            if not dry_run:
                table.remove(name, digest)
            yield _Doomed(top, _marker_first(entries, winner))
        elif (name, digest) not in listed and table.is_removed(name, digest):
            yield _Doomed(top, _marker_first(entries, winner))


def _winner(store: Store, folder: str) -> str | None:
    """The attempt that the folder's marker names; None where there is no marker."""
    marker = read_marker(store, folder)
    return None if marker is None else str(marker["attempt"])


def _singles(store: Store, folder: str, before: datetime) -> Iterator[_Doomed]:
    """Objects that stand each for itself and are not written any more."""
    for entry in store.list(folder):
        if entry.modified < before:
            yield _Doomed("temporary", (entry,))


def _folders(store: Store, top: str) -> list[tuple[str, tuple[Entry, ...], str | None]]:
    """Objects below ``top`` by their folder, top/name/digest, and the attempt that its marker names."""
    deep = (entry for entry in store.list(top) if entry.key.count("/") > 2)
    grouped = groupby(deep, key=lambda entry: "/".join(entry.key.split("/")[:3]))
    # Objects of other programs lie elsewhere in the tree and are left alone.
    found = [(folder, tuple(entries)) for folder, entries in grouped if _is_digest_folder(folder)]
    with ThreadPoolExecutor(_READERS) as pool:
        winners = pool.map(partial(_winner, store), (folder for folder, _ in found))
        return [(folder, entries, winner) for (folder, entries), winner in zip(found, winners, strict=True)]


def _is_digest_folder(folder: str) -> bool:
    _, name, digest = folder.split("/")
    try:
        check_digest(digest)
        check_scene_id(name)  # stages and models are named alike
    except InputError:
        return False
    return True


def _by_child(entries: Iterable[Entry]) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """Objects of one digest's folder by what follows it: an attempt, "parts" or the marker."""
    for name, group in groupby(entries, key=lambda entry: entry.key.split("/")[3]):
        yield name, tuple(group)


def _marker_first(entries: Iterable[Entry], winner: str) -> tuple[Entry, ...]:
    kept = [entry for entry in entries if entry.key.split("/")[3] in (MARKER, winner)]
    return tuple(sorted(kept, key=lambda entry: entry.key.split("/")[3] != MARKER))


def _staging_files(root: Path | None, before: datetime) -> Iterator[tuple[Path, int]]:
    for folder, _, names in os.walk(root) if root else ():
        for name in filter(_STAGING.search, names):
            path = Path(folder, name)
            try:
                state = path.stat()
            except FileNotFoundError:  # its writer has just finished
                continue
            if state.st_mtime < before.timestamp():
                yield path, state.st_size


def _report(doomed: list[_Doomed], files: list[int], dry_run: bool) -> GcReport:
    def count(kind: str) -> int:
        return sum(item.kind == kind for item in doomed)

    return GcReport(
        attempts=count("attempts"),
        parts=count("parts"),
        outputs=count("outputs"),
        scenes=count(SCENES),
        models=count(MODELS),
        leftovers=count("leftovers"),
        temporary=count("temporary") + len(files),
        objects=sum(len(item.entries) for item in doomed) + len(files),
        bytes=sum(entry.size for item in doomed for entry in item.entries) + sum(files),
        dry_run=dry_run,
    )
