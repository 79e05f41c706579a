"""What nobody can see any more is removed, when it is old enough that nobody can still be writing it."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.names import check_digest, check_scene_id
from storage.scene_store import SCENES, SceneStore
from storage.stages import MARKER, Stages
from storage.store import PROBES, Entry, Store

_STAGING = re.compile(r"#\d+$")  # what a killed put leaves on a local disk; obstore neither lists nor deletes it


@dataclass(frozen=True)
class GcReport:
    """What was removed, or would be with ``dry_run``: how many of each kind, stored objects and bytes together.

    attempts: uncommitted or beaten tries at a stage. parts: folders of saved pieces. outputs: committed stage outputs.
    scenes: superseded published scenes. leftovers: scene folders never listed. temporary: files of killed writes.
    """

    attempts: int
    parts: int
    outputs: int
    scenes: int
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
    scenes whose id has a newer row: the row goes first, then the data. Never touches another listed scene. Not to be
    run with a short time beside a flow that reads the same outputs: age is counted from the last write, not the last
    read.
    """
    before = datetime.now(UTC) - timedelta(hours=older_than_hours)
    doomed = [*_stages(store, intermediates), *_scenes(store, before, superseded, dry_run), *_probes(store)]
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
    for (stage, digest), entries in _folders(store, "stages"):
        committed = Stages(store).committed(stage, digest)
        for name, group in _by_child(entries):
            if name == "parts":
                yield _Doomed("parts", group)
            elif name != MARKER and (committed is None or not committed.prefix.endswith(f"/{name}")):
                yield _Doomed("attempts", group)
        if committed is not None and intermediates:
            yield _Doomed("outputs", _marker_first(entries, committed.prefix))


def _scenes(store: Store, before: datetime, superseded: bool, dry_run: bool) -> Iterator[_Doomed]:
    """Scene folders. A complete scene without a row is kept, the next publish lists it; one that was taken off the
    list goes."""
    catalog, scenes = Catalog(store), SceneStore(store)
    # Time runs from the newer row: until then the older scene was what readers took.
    settled = {row.scene_id: row.digest for row in catalog.rows() if datetime.fromisoformat(row.published_at) < before}
    listed = {(row.scene_id, row.digest) for row in catalog.rows(latest_only=False)}
    for (scene_id, digest), entries in _folders(store, SCENES):
        published = scenes.published(scene_id, digest)
        keep = published.prefix if published else None
        for name, group in _by_child(entries):
            if name != MARKER and (keep is None or not keep.endswith(f"/{name}")):
                yield _Doomed("leftovers", group)
        if keep is None:
            continue
        old = max(entry.modified for entry in entries) < before
        if superseded and old and (scene_id, digest) in listed and settled.get(scene_id, digest) != digest:
            if not dry_run:
                catalog.remove(scene_id, digest)
            yield _Doomed("scenes", _marker_first(entries, keep))
        elif (scene_id, digest) not in listed and catalog.is_removed(scene_id, digest):
            yield _Doomed("scenes", _marker_first(entries, keep))


def _probes(store: Store) -> Iterator[_Doomed]:
    for entry in store.list(PROBES):
        yield _Doomed("temporary", (entry,))


def _folders(store: Store, top: str) -> list[tuple[tuple[str, str], tuple[Entry, ...]]]:
    """Objects below ``top`` by their next two folders."""
    deep = (entry for entry in store.list(top) if entry.key.count("/") > 2)
    grouped = groupby(deep, key=lambda entry: tuple(entry.key.split("/")[1:3]))
    # Objects of other programs lie elsewhere in the tree and are left alone.
    return [((folder[0], folder[1]), tuple(entries)) for folder, entries in grouped if _is_digest_folder(folder)]


def _is_digest_folder(folder: tuple[str, ...]) -> bool:
    try:
        check_digest(folder[1] if len(folder) == 2 else "")
        check_scene_id(folder[0])
    except InputError:
        return False
    return True


def _by_child(entries: Iterable[Entry]) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """Objects of one digest's folder by what follows it: an attempt, "parts" or the marker."""
    for name, group in groupby(entries, key=lambda entry: entry.key.split("/")[3]):
        yield name, tuple(group)


def _marker_first(entries: Iterable[Entry], prefix: str) -> tuple[Entry, ...]:
    marker = f"{prefix.rsplit('/', 1)[0]}/{MARKER}"
    kept = [entry for entry in entries if entry.key == marker or entry.key.startswith(f"{prefix}/")]
    return tuple(sorted(kept, key=lambda entry: entry.key != marker))


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
        scenes=count("scenes"),
        leftovers=count("leftovers"),
        temporary=count("temporary") + len(files),
        objects=sum(len(item.entries) for item in doomed) + len(files),
        bytes=sum(entry.size for item in doomed for entry in item.entries) + sum(files),
        dry_run=dry_run,
    )
