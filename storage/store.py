"""One store for everything that is kept: a local folder, an object store or memory, all through obstore.

Put-if-absent is the one commit primitive. A store whose backend lacks it (http, or any URL only fsspec knows) is
refused. On a local disk it is a hard link to a finished temporary file, so a file is there whole or not at all after
a killed process. Nothing is synced to the platter: after a power cut the last minutes of a local store may be damaged
(``SceneStore.verify`` tells).
"""

import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
import zarr
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, from_url

from ovseg3r_model.errors import InputError
from storage.errors import store_errors
from storage.zarr_store import PrefixedStore

PROBES = "probes"  # where check_writable writes
_REMOTE = {"s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"}
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

    def __init__(self, backend: Any, url: str, root: Path | None = None) -> None:
        self.backend = backend
        self.url = url  # file:///absolute/path, s3://bucket/prefix, memory://name; no slash at the end
        self.root = root  # the folder of a local store

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> "Store":
        """The store at a folder (plain path or file://), s3://, gs://, az:// or memory://name. Credentials come from
        the environment.

        A local folder is made when absent, or refused with ``create=False``. Raises InputError that says what to do.
        """
        text = str(url)
        scheme = urlsplit(text).scheme if "://" in text else ""
        if isinstance(url, Path) or scheme in {"", "file"}:
            return cls._open_local(text, create)
        if scheme == "memory":
            name = text.split("://", 1)[1].strip("/")
            with _memory_lock:
                return cls(_memory.setdefault(name, MemoryStore()), f"memory://{name}")
        if scheme not in _REMOTE:
            raise InputError(f"{text}: {scheme}:// cannot hold a store; use a folder, s3://, gs:// or az://.")
        try:
            return cls(from_url(text), text.rstrip("/"))
        except (BaseError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{text}: is no usable store ({reason}); check the URL and the credentials.") from error

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
        """Writes and deletes one small object. Raises InputError (or StoreError) when that fails: call it before long
        work."""
        key = f"{PROBES}/{secrets.token_hex(8)}"
        self.put_if_absent(key, b"ovseg3r")
        self.delete([key])

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes the object unless the key exists; whether it was written. Atomic, also between machines."""
        with store_errors(self.url, f"writing {key}", len(data)):
            try:
                obstore.put(self.backend, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def get(self, key: str) -> bytes | None:
        """The object's bytes, None where there is none."""
        with store_errors(self.url, f"reading {key}"):
            try:
                return bytes(obstore.get(self.backend, key).bytes())
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> list[Entry]:
        """Every object below a folder, in key order."""
        with store_errors(self.url, f"listing {prefix}"):
            found = obstore.list(self.backend, prefix=prefix).collect()
        entries = (Entry(item["path"], item["size"], item["last_modified"]) for item in found)
        return sorted(entries, key=lambda entry: entry.key)

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes the objects; one that is gone already is no error."""
        remaining = list(keys)
        if not remaining:
            return
        with store_errors(self.url, f"deleting {remaining[0]}"):
            try:
                obstore.delete(self.backend, remaining)
            except FileNotFoundError:  # local stores stop at the first missing one
                self._delete_singly(remaining)

    def _delete_singly(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                obstore.delete(self.backend, key)
            except FileNotFoundError:
                continue

    def delete_prefix(self, prefix: str) -> None:
        """Deletes every object below a folder."""
        self.delete(entry.key for entry in self.list(prefix))

    def create_group(self, prefix: str, attributes: Mapping[str, Any] | None = None) -> zarr.Group:
        """A new writable Zarr v3 root group at ``prefix``. Raises ValueError (zarr's ContainsGroupError) where one
        is."""
        inner = PrefixedStore(self.backend, prefix, self.url)
        return zarr.Group.from_store(inner, attributes=dict(attributes or {}), zarr_format=3, overwrite=False)

    def open_group(self, prefix: str, *, writable: bool = False) -> zarr.Group:
        """The Zarr root group at ``prefix``. Raises FileNotFoundError where there is none."""
        inner = PrefixedStore(self.backend, prefix, self.url, read_only=not writable)
        return zarr.open_group(inner, mode="r+" if writable else "r", zarr_format=3)
