"""The list of published scenes: one small Parquet file a scene, merged by ``compact``. Any number of writers and
readers, no lock.

    catalog/<scene_id>@<digest[:16]>.parquet     one row, put-if-absent: adding a scene twice adds nothing
    catalog/compacted-<digest of rows>.parquet   many rows; the files it was made of are deleted once it is there
    catalog/removed/<scene_id>@<digest[:16]>     the row is gone, whatever a file says

Nothing is deleted before a file that holds all its rows is there, so every reader finds every row, sometimes twice;
rows with the same scene id and digest are one. A removed row needs its own object because a compaction that began
earlier may write it once more.
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from storage.catalog_rows import CatalogRow, from_parquet, key_of, rows_json, to_parquet
from storage.errors import StoreError
from storage.names import SHORT
from storage.store import Store

CATALOG = "catalog"
_COMPACTED = f"{CATALOG}/compacted-"
_REMOVED = f"{CATALOG}/removed/"
_TRIES = 50  # a reader starts over when a compaction took a file away under it
_READERS = 8  # files read at once: object stores answer in tens of milliseconds


class Catalog:
    """The catalog of a store: a scene is visible if and only if it is listed here."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def add(self, row: CatalogRow) -> bool:
        """Lists a complete scene; False when it was listed already (its first row stays). A removed scene is listed
        again."""
        key = key_of(row.scene_id, row.digest)
        keys = self._keys()
        if f"{_REMOVED}{key}" in keys:
            # The removed row may still stand in a file; the new row, being newer, is the one that counts.
            self.store.delete([f"{_REMOVED}{key}", f"{CATALOG}/{key}.parquet"])
        elif self._in_compacted(key, keys):
            return False
        return self.store.put_if_absent(f"{CATALOG}/{key}.parquet", to_parquet([row]))

    def rows(self, latest_only: bool = True) -> list[CatalogRow]:
        """The listed scenes by id, then time of publishing. latest_only: of each scene id the newest row alone."""
        rows, _ = self._snapshot()
        if latest_only:
            rows = list({row.scene_id: row for row in rows}.values())  # sorted by time: the last one stays
        return rows

    def remove(self, scene_id: str, digest: str) -> None:
        """Takes a scene off the list; its data is the caller's to delete, afterwards."""
        key = key_of(scene_id, digest)
        self.store.put_if_absent(f"{_REMOVED}{key}", digest.encode())
        self.store.delete([f"{CATALOG}/{key}.parquet"])

    def is_removed(self, scene_id: str, digest: str) -> bool:
        """Whether the scene was taken off the list and not published again since."""
        return self.store.get(f"{_REMOVED}{key_of(scene_id, digest)}") is not None

    def compact(self) -> int:
        """Merges all files into one; the number of files that went away. Safe beside readers, writers and other
        compactions."""
        rows, files = self._snapshot()
        if len(files) < 2:
            return 0
        name = f"{_COMPACTED}{hashlib.sha256(rows_json(rows)).hexdigest()[:SHORT]}.parquet"
        self.store.put_if_absent(name, to_parquet(rows))
        merged = [file for file in files if file != name]
        self.store.delete(merged)
        return len(merged)

    def _snapshot(self) -> tuple[list[CatalogRow], list[str]]:
        """All rows that count, and the files they were read from."""
        for _ in range(_TRIES):
            keys = self._keys()
            files = sorted(key for key in keys if key.endswith(".parquet"))
            contents = self._read(files)
            # A listing is no snapshot: it may miss both a new merged file and the files it replaced.
            # In that case the next listing shows another set of merged files.
            again = self._keys()
            if None not in contents and _compacted(keys) == _compacted(again):
                removed = {key[len(_REMOVED) :] for key in again if key.startswith(_REMOVED)}
                rows = [row for data in contents if data is not None for row in from_parquet(data, self.store.url)]
                return _counting(rows, removed), files
        raise StoreError(f"{self.store.url}: the catalog was compacted {_TRIES} times while it was being read")

    def _in_compacted(self, key: str, keys: set[str]) -> bool:
        """Whether a merged file holds the row; one that vanishes meanwhile costs a second row at worst, and readers
        make it one."""
        contents = self._read(sorted(_compacted(keys)))
        rows = (row for data in contents if data is not None for row in from_parquet(data, self.store.url))
        return any(key_of(row.scene_id, row.digest) == key for row in rows)

    def _keys(self) -> set[str]:
        return {entry.key for entry in self.store.list(CATALOG)}

    def _read(self, files: Sequence[str]) -> list[bytes | None]:
        if len(files) < 2:
            return [self.store.get(file) for file in files]
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self.store.get, files))


def _compacted(keys: Iterable[str]) -> set[str]:
    return {key for key in keys if key.startswith(_COMPACTED)}


def _counting(rows: Iterable[CatalogRow], removed: set[str]) -> list[CatalogRow]:
    """One row per scene and digest (the newest), without the removed, by scene id and time."""
    ordered = sorted(rows, key=lambda row: (row.scene_id, row.published_at, row.digest))
    unique = {key_of(row.scene_id, row.digest): row for row in ordered}
    kept = [row for key, row in unique.items() if key not in removed]
    return sorted(kept, key=lambda row: (row.scene_id, row.published_at, row.digest))
