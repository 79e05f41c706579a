"""One store for everything that is kept: a local folder, an object store or memory, all through obstore.

Put-if-absent is the one commit primitive. A store whose backend lacks it (http, or any URL only fsspec knows) is
refused. On a local disk it is a hard link to a finished temporary file, so a file is there whole or not at all after
a killed process. Nothing is synced to the platter: after a power cut the last minutes of a local store may be damaged
(``SceneStore.verify`` tells).
"""

import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
import zarr
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, MemoryStore

from ovseg3r_model.errors import InputError
from storage.errors import StoreError, store_errors
from storage.remote import FIRST_CONTACT, REMOTE, again, check_url, open_remote, patience
from storage.zarr_store import PrefixedStore

PROBES = "probes"  # where check_writable writes
_WRITER = "writer"  # metadata of an object: a random name that its put had
_memory: dict[str, Any] = {}  # memory://name is one store for the whole process: what tests and demos need
_memory_lock = threading.Lock()


@dataclass(frozen=True)
class Entry:
    """One stored object: its key, size in bytes, and when it was last written (UTC)."""

    key: str
    size: int
    modified: datetime


class Store:
    """Objects by key. Safe to use from many threads; sent to another process it opens itself again by its URL."""

    def __init__(self, backend: Any, url: str, root: Path | None = None, patience: float = 0.0) -> None:
        self.backend = backend
        self.url = url  # file:///absolute/path, s3://bucket/prefix, memory://name; no slash at the end
        self.root = root  # the folder of a local store
        self._patience = patience  # seconds that a remote store may be away; 0 for one that is here

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> "Store":
        """The store at a folder (plain path or file://), s3://, gs://, az:// or memory://name. Credentials come from
        the environment.

        With ``create=False`` it must be there: a local folder, which else is made; a remote store has to answer.
        Raises InputError that says what to do, StoreError where a remote store is out of reach.
        """
        text = str(url)
        scheme = urlsplit(text).scheme if "://" in text else ""
        if isinstance(url, Path) or scheme in {"", "file"}:
            return cls._open_local(text, create)
        if scheme == "memory":
            name = text.split("://", 1)[1].strip("/")
            with _memory_lock:
                return cls(_memory.setdefault(name, MemoryStore()), f"memory://{name}")
        if scheme not in REMOTE:
            raise InputError(
                f"{check_url(text)}: {scheme}:// cannot hold a store; use a folder, s3://, gs:// or az://."
            )
        opened = cls._open_remote(check_url(text).rstrip("/"), patience())
        if not create:
            opened._first_contact()
        return opened

    @classmethod
    def _open_remote(cls, url: str, patience: float) -> "Store":
        return cls(open_remote(url, patience), url, patience=patience)

    def _in_a_hurry(self) -> "Store":
        """This store, soon given up where it does not answer."""
        return self._open_remote(self.url, min(FIRST_CONTACT, self._patience)) if self._patience else self

    def _first_contact(self) -> None:
        store = self._in_a_hurry()
        with store_errors(self.url, "opening it"):
            again(lambda: obstore.list_with_delimiter(store.backend), store._patience)

    @classmethod
    def _open_local(cls, text: str, create: bool) -> "Store":
        if not text.strip():
            raise InputError("the store's path is empty; name a folder or a URL.")
        path = Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text).expanduser()
        path = path.resolve()
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file, a store must be a folder; name another path.")
        if not create and not path.is_dir():
            raise InputError(f"{path}: there is no store; name yours with --store or OVSEG3R_STORE.")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: the folder cannot be made ({error.strerror}); name another path.") from error
        return cls(LocalStore(str(path), automatic_cleanup=True), path.as_uri(), path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store.open, (self.url,))

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def check_writable(self) -> None:
        """Writes and deletes one small object. Raises InputError (or StoreError) when that fails, soon: call it before
        long work."""
        key, store = f"{PROBES}/{secrets.token_hex(8)}", self._in_a_hurry()
        store.put_if_absent(key, b"ovseg3r")
        store.delete([key])

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes the object unless the key exists; whether it was written. Atomic, also between machines, and true also
        when an answer was lost on the way and the object found is the one of this very call."""
        with store_errors(self.url, f"writing {key}", len(data)):
            if not self._patience:
                return self._created(key, data)
            return self._created_or_found(key, data)

    def _created_or_found(self, key: str, data: bytes) -> bool:
        name, end = secrets.token_hex(16), time.monotonic() + self._patience
        while not again(lambda: self._created(key, data, {_WRITER: name}), self._patience):
            writer = self._writer_of(key)
            if writer is not None:
                return writer == name
            # It has gone since, or another's put was under way and came to nothing.
            if time.monotonic() > end:
                raise StoreError(f"{self.url}: {key} could not be written: it is said to be there, and is not.")
            time.sleep(0.1)
        return True

    def _created(self, key: str, data: bytes, attributes: dict[str, str] | None = None) -> bool:
        try:
            obstore.put(self.backend, key, data, mode="create", use_multipart=False, attributes=attributes)
        except AlreadyExistsError:
            return False
        return True

    def _writer_of(self, key: str) -> str | None:
        """Who put the object, "" where that is not noted; None where there is none."""
        try:
            found = again(lambda: obstore.get(self.backend, key, options={"head": True}), self._patience)
            return str(found.attributes.get(_WRITER, ""))
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Writes the object, whatever the key held; readers see the one or the other. For what has one writer."""
        with store_errors(self.url, f"writing {key}", len(data)):
            again(lambda: obstore.put(self.backend, key, data, mode="overwrite", use_multipart=False), self._patience)

    def get(self, key: str) -> bytes | None:
        """The object's bytes, None where there is none."""
        with store_errors(self.url, f"reading {key}"):
            try:
                return again(lambda: bytes(obstore.get(self.backend, key).bytes()), self._patience)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def list_starting(self, start: str) -> list[Entry]:
        """Every object whose key begins with ``start`` and goes on, in key order; it may end inside a name. One short
        request to an object store, where ``list`` reads the whole folder."""
        with store_errors(self.url, f"listing {start}*"):
            found = again(lambda: self._starting(start), self._patience)
        return sorted(found, key=lambda entry: entry.key)

    def _starting(self, start: str) -> Iterable[Entry]:
        found: list[Entry] = []
        batches = obstore.list(self.backend, prefix=start.rpartition("/")[0] or None, offset=start)
        for item in (item for batch in batches for item in batch):
            if item["path"].startswith(start):
                found.append(Entry(item["path"], item["size"], item["last_modified"]))
            elif self._patience:  # object stores list in order, a disk does not
                break
        return found

    def list(self, prefix: str) -> list[Entry]:
        """Every object below a folder, in key order."""
        with store_errors(self.url, f"listing {prefix}"):
            found = again(lambda: obstore.list(self.backend, prefix=prefix).collect(), self._patience)
        entries = (Entry(item["path"], item["size"], item["last_modified"]) for item in found)
        return sorted(entries, key=lambda entry: entry.key)

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes the objects; one that is gone already is no error."""
        remaining = list(keys)
        if not remaining:
            return
        with store_errors(self.url, f"deleting {remaining[0]}"):
            try:
                again(lambda: obstore.delete(self.backend, remaining), self._patience)
            except FileNotFoundError:  # local stores stop at the first missing one
                self._delete_singly(remaining)

    def _delete_singly(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                again(partial(obstore.delete, self.backend, key), self._patience)
            except FileNotFoundError:
                continue

    def delete_prefix(self, prefix: str) -> None:
        """Deletes every object below a folder."""
        self.delete(entry.key for entry in self.list(prefix))

    def create_group(self, prefix: str, attributes: Mapping[str, Any] | None = None) -> zarr.Group:
        """A new writable Zarr v3 root group at ``prefix``. Raises ValueError (zarr's ContainsGroupError) where one
        is."""
        inner = PrefixedStore(self.backend, prefix, self.url, self._patience)
        return zarr.Group.from_store(inner, attributes=dict(attributes or {}), zarr_format=3, overwrite=False)

    def open_group(self, prefix: str, *, writable: bool = False) -> zarr.Group:
        """The Zarr root group at ``prefix``. Raises FileNotFoundError where there is none."""
        inner = PrefixedStore(self.backend, prefix, self.url, self._patience, read_only=not writable)
        return zarr.open_group(inner, mode="r+" if writable else "r", zarr_format=3)
