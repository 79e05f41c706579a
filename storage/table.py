"""A table of what is published: one small Parquet file a row, merged by ``compact``. Any number of writers and
readers, no lock.

    <folder>/<id>@<digest[:16]>.parquet            one row, put-if-absent: adding it twice adds nothing
    <folder>/<id>@<digest[:16]>+<of row>.parquet   a later row about the same, which counts instead
    <folder>/compacted-<digest of rows>.parquet    many rows; the files it was made of are deleted once it is there
    <folder>/removed/<id>@<digest[:16]>            the row is gone, whatever a file says

Nothing is deleted before a file that holds all its rows is there, so every reader finds every row, sometimes twice;
rows with the same id and digest are one, the one written last. A removed row needs its own object because a
compaction that began earlier may write it once more.
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic

from storage.errors import StoreError
from storage.names import SHORT
from storage.parquet_rows import AnyRow, from_parquet, key_of, rows_json, to_parquet
from storage.store import Store

_TRIES = 50  # a reader starts over when a compaction took a file away under it
_READERS = 32  # files read at once: object stores answer in tens of milliseconds


class Table(Generic[AnyRow]):
    """The rows below one folder of a store: what is published is visible if and only if it is listed here."""

    def __init__(self, store: Store, folder: str, row: type[AnyRow]) -> None:
        self.store = store
        self._folder = folder
        self._row = row
        self._compacted = f"{folder}/compacted-"
        self._removed = f"{folder}/removed/"

    def add(self, row: AnyRow) -> bool:
        """Lists something complete; False when it was listed already (its row stays). What was removed is listed
        again."""
        key = key_of(row.id, row.digest)
        keys = self._keys(row.id)
        if f"{self._removed}{key}" in keys:
            # The removed row may still stand in a file; the new row, being newer, is the one that counts.
            self.store.delete([f"{self._removed}{key}", f"{self._folder}/{key}.parquet"])
        elif self._in_compacted(key, keys):
            return False
        return self.store.put_if_absent(f"{self._folder}/{key}.parquet", to_parquet([row], self._row))

    def replace(self, row: AnyRow) -> None:
        """Puts a row, written later, in the place of one that is listed; readers see the one or the other."""
        name = f"{key_of(row.id, row.digest)}+{_of_content([row])}"
        self.store.put_if_absent(f"{self._folder}/{name}.parquet", to_parquet([row], self._row))

    def rows(self, latest_only: bool = True) -> list[AnyRow]:
        """The rows by id, then time of listing. latest_only: of each id the newest row alone."""
        rows, _ = self._snapshot()
        if latest_only:
            rows = list({row.id: row for row in rows}.values())  # sorted by time: the last one stays
        return rows

    def rows_of(self, row_id: str) -> list[AnyRow]:
        """All rows of one id by time of listing; of the files only that id's and the merged ones are read."""
        rows, _ = self._snapshot(row_id)
        return rows

    def remove(self, row_id: str, digest: str) -> None:
        """Takes a row off the list; its data is the caller's to delete, afterwards."""
        key = key_of(row_id, digest)
        self.store.put_if_absent(f"{self._removed}{key}", digest.encode())
        self.store.delete([f"{self._folder}/{key}.parquet"])

    def is_removed(self, row_id: str, digest: str) -> bool:
        """Whether the row was taken off the list and not added again since."""
        return self.store.get(f"{self._removed}{key_of(row_id, digest)}") is not None

    def compact(self, least: int = 2) -> int:
        """Merges all files into one, where there are so many; the number of files that went away. Safe beside readers,
        writers and other compactions."""
        if sum(key.endswith(".parquet") for key in self._keys()) < least:
            return 0
        rows, files = self._snapshot()
        name = f"{self._compacted}{_of_content(rows)}.parquet"
        self.store.put_if_absent(name, to_parquet(rows, self._row))
        merged = [file for file in files if file != name]
        self.store.delete(merged)
        return len(merged)

    def _snapshot(self, row_id: str | None = None) -> tuple[list[AnyRow], list[str]]:
        """All rows that count, or those of one id, and the files they were read from."""
        for _ in range(_TRIES):
            keys = self._keys(row_id)
            files = sorted(key for key in keys if key.endswith(".parquet"))
            contents = self._read(files)
            # A listing is no snapshot: it may miss both a new merged file and the files it replaced.
            # In that case the next listing shows another set of merged files.
            again = self._keys(row_id)
            if None not in contents and self._merged(keys) == self._merged(again):
                removed = {key.removeprefix(self._removed) for key in again if key.startswith(self._removed)}
                return _counting(self._rows_in(contents, row_id), removed), files
        raise StoreError(f"{self.store.url}: the catalog was compacted {_TRIES} times while it was being read")

    def _in_compacted(self, key: str, keys: set[str]) -> bool:
        """Whether a merged file holds the row; one that vanishes meanwhile costs a second row at worst, and readers
        make it one."""
        contents = self._read(sorted(self._merged(keys)))
        return any(key_of(row.id, row.digest) == key for row in self._rows_in(contents, key.partition("@")[0]))

    def _rows_in(self, contents: Iterable[bytes | None], row_id: str | None) -> list[AnyRow]:
        files = (data for data in contents if data is not None)
        return [row for data in files for row in from_parquet(data, self._row, self.store.url, row_id)]

    def _merged(self, keys: Iterable[str]) -> set[str]:
        return {key for key in keys if key.startswith(self._compacted)}

    def _keys(self, row_id: str | None = None) -> set[str]:
        """Of all that lies here, or of one id's files and the merged ones."""
        if row_id is None:
            return {entry.key for entry in self.store.list(self._folder)}
        # The merged files last: one is there before what it was made of goes.
        starts = (f"{self._folder}/{row_id}@", f"{self._removed}{row_id}@", self._compacted)
        return {entry.key for start in starts for entry in self.store.list_starting(start)}

    def _read(self, files: Sequence[str]) -> list[bytes | None]:
        if len(files) < 2:
            return [self.store.get(file) for file in files]
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self.store.get, files))


def _of_content(rows: Sequence[AnyRow]) -> str:
    return hashlib.sha256(rows_json(rows)).hexdigest()[:SHORT]


def _counting(rows: Iterable[AnyRow], removed: set[str]) -> list[AnyRow]:
    """One row per id and digest (the last written), without the removed, by id and time of listing."""
    unique = {key_of(row.id, row.digest): row for row in sorted(rows, key=lambda row: (row.written_at, row.listed_at))}
    kept = [row for key, row in unique.items() if key not in removed]
    return sorted(kept, key=lambda row: (row.id, row.listed_at, row.digest))
