"""What a source came to, so that what is done is known without reading it.

source-memory/<key>-<digest>    empty: the names say all, and one listing reads them all; put-if-absent

key: of all that decides the labels, as far as it shows without reading: names, sizes and times of files, settings,
versions. digest: of the scene that came of it, or, under a key of its own, of its reconstruction. A hint and no more:
what is there, the catalog and the stages' markers say.
"""

from collections.abc import Collection

from storage.names import check_digest
from storage.store import Store

SOURCE_MEMORY = "source-memory"


class SourceMemory:
    """The memory of a store; any number of writers and readers."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def known(self) -> dict[str, str]:
        """The digest by key; a key under which there are two is none: it does not decide."""
        found: dict[str, set[str]] = {}
        for key, digest in self._entries():
            found.setdefault(key, set()).add(digest)
        return {key: next(iter(digests)) for key, digests in found.items() if len(digests) == 1}

    def get(self, key: str) -> str | None:
        """The digest, None where it is not known. For many keys ask :meth:`known` once."""
        return self.known().get(check_digest(key))

    def put(self, key: str, digest: str) -> None:
        """Remembers that this key gives the scene, or the reconstruction, of this digest; once that is there only."""
        self.store.put_if_absent(_name(key, digest), b"")

    def keep_only(self, digests: Collection[str]) -> int:
        """Forgets what led to others than these; how many entries went away."""
        kept = frozenset(digests)
        gone = [_name(key, digest) for key, digest in self._entries() if digest not in kept]
        self.store.delete(gone)
        return len(gone)

    def _entries(self) -> list[tuple[str, str]]:
        names = (entry.key.removeprefix(f"{SOURCE_MEMORY}/") for entry in self.store.list(SOURCE_MEMORY))
        pairs = (name.partition("-") for name in names)
        return [(key, digest) for key, dash, digest in pairs if dash and len(key) == len(digest) == 64]


def _name(key: str, digest: str) -> str:
    return f"{SOURCE_MEMORY}/{check_digest(key)}-{check_digest(digest)}"
