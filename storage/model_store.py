"""Published models: immutable sets of files, complete once their marker is there.

    models/<model_id>/<digest>/<attempt>/<name>   the files: weights, configuration, vocabulary ...
    models/<model_id>/<digest>/commit.json        written last, put-if-absent: names the attempt; each file's sha256 and
    size; the manifest

As for scenes, every writer has a random folder of its own, and a model is *listed* when its row in the catalog of
models exists; order of writes: files, marker, row.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ovseg3r_model.errors import InputError
from storage.commits import cleaned_up, commit_marker, read_marker
from storage.digests import plain_json
from storage.names import check_digest, check_model_id, check_name
from storage.store import Store

MODELS = "models"


@dataclass(frozen=True)
class PublishedModel:
    """A complete model: small and plain, so it travels between processes. prefix: its attempt's folder. checksums: the
    files' sha256 by name. manifest: JSON values that its maker gave. total_bytes: of the files.
    """

    url: str
    model_id: str
    digest: str
    prefix: str
    checksums: dict[str, str]
    manifest: dict[str, Any]
    total_bytes: int

    @property
    def uri(self) -> str:
        """Where the files lie, for readers outside of this project."""
        return f"{self.url}/{self.prefix}"

    def get(self, name: str) -> bytes:
        """A file's bytes. Raises KeyError where the model has none of that name, InputError for one that was lost or
        changed since."""
        if name not in self.checksums:
            raise KeyError(f"model {self.model_id} ({self.digest[:16]}) has no {name}")
        data = Store.open(self.url).get(f"{self.prefix}/{name}")
        if data is None or _sha256(data) != self.checksums[name]:
            raise InputError(
                f"{self.uri}/{name}: is {'lost' if data is None else 'not what was published'};"
                " copy the store again or train the model again."
            )
        return data


class ModelStore:
    """The published models of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def publish(
        self, model_id: str, digest: str, files: Mapping[str, bytes], manifest: Mapping[str, Any]
    ) -> PublishedModel:
        """Writes and commits the files; a model that is already complete under this digest is left as it is.

        digest: of all that decides the model. manifest: finite JSON values. Raises InputError for an id or a name that
        cannot be used, or a full store; ValueError or TypeError for a manifest JSON cannot hold.
        """
        folder = _folder(model_id, digest)
        known = self.published(model_id, digest)
        if known is not None:
            return known
        marker = {
            "model_id": model_id,
            "digest": digest,
            "attempt": secrets.token_hex(8),
            "files": {check_name(name): {"sha256": _sha256(files[name]), "bytes": len(files[name])} for name in files},
            "manifest": plain_json(manifest),
        }
        prefix = f"{folder}/{marker['attempt']}"
        with cleaned_up(self.store, prefix):
            for name, data in files.items():
                self.store.put_if_absent(f"{prefix}/{name}", data)
        return self._published(commit_marker(self.store, folder, marker))

    def published(self, model_id: str, digest: str) -> PublishedModel | None:
        """The complete model, listed or not; None where there is none."""
        marker = read_marker(self.store, _folder(model_id, digest))
        return None if marker is None else self._published(marker)

    def read(self, model_id: str, digest: str) -> PublishedModel:
        """The model (take id and digest from its row); files are read by its ``get``. Raises InputError where there is
        none."""
        published = self.published(model_id, digest)
        if published is None:
            raise InputError(f"{self.store.url}: no model {model_id} with digest {digest[:16]}; see the catalog.")
        return published

    def _published(self, marker: Mapping[str, Any]) -> PublishedModel:
        folder, files = _folder(marker["model_id"], marker["digest"]), marker["files"]
        return PublishedModel(
            self.store.url,
            marker["model_id"],
            marker["digest"],
            f"{folder}/{marker['attempt']}",
            {name: file["sha256"] for name, file in files.items()},
            dict(marker["manifest"]),
            sum(file["bytes"] for file in files.values()),
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _folder(model_id: str, digest: str) -> str:
    return f"{MODELS}/{check_model_id(model_id)}/{check_digest(digest)}"
