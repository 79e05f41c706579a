"""Outputs of stages under their digest: valid when the commit marker is there, and never before.

stages/<stage>/<digest>/<attempt>/data.zarr/...   arrays of one attempt; <attempt> is random, so writers never meet
stages/<stage>/<digest>/<attempt>/<name>          plain objects of that attempt
stages/<stage>/<digest>/parts/<name>              put-if-absent pieces that outlive a killed attempt
stages/<stage>/<digest>/commit.json               written last, put-if-absent: names the attempt that won
"""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import zarr

from ovseg3r_model.errors import InputError
from storage.commits import MARKER, commit_marker, read_marker
from storage.digests import plain_json
from storage.names import check_digest, check_name, check_stage
from storage.store import Store

PARTS = "parts"
_GROUP = "data.zarr"


@dataclass(frozen=True)
class StageRef:
    """A committed output: small and plain, so it travels between processes instead of the data.

    url: the store's. prefix: the winning attempt's folder. summary: what the stage said of it (JSON values). seconds:
    how long it took.
    """

    url: str
    stage: str
    digest: str
    prefix: str
    summary: dict[str, Any]
    seconds: float

    def group(self) -> zarr.Group:
        """The output's arrays, read-only. Raises FileNotFoundError when the stage stored none."""
        return Store.open(self.url).open_group(f"{self.prefix}/{_GROUP}")

    def get(self, name: str) -> bytes:
        """A plain object of the output. Raises KeyError where there is none."""
        data = Store.open(self.url).get(f"{self.prefix}/{check_name(name)}")
        if data is None:
            raise KeyError(f"stage {self.stage} ({self.digest[:16]}) has no {name}")
        return data


@dataclass
class Attempt:
    """One try at a stage's output; invisible until committed. As a context manager it goes away with an exception."""

    store: Store
    stage: str
    digest: str
    id: str
    _group: zarr.Group | None = field(default=None, repr=False)
    # False once a commit was tried: from then on only the marker in the store says whether the data is needed
    _disposable: bool = field(default=True, repr=False)

    @property
    def prefix(self) -> str:
        return f"{_folder(self.stage, self.digest)}/{self.id}"

    def group(self) -> zarr.Group:
        """The attempt's writable Zarr root group, made on the first call; fill it with ``storage.arrays``."""
        if self._group is None:
            self._group = self.store.create_group(f"{self.prefix}/{_GROUP}")
        return self._group

    def put(self, name: str, data: bytes) -> None:
        """Adds a plain object. Raises FileExistsError for a name used before in this attempt."""
        if not self.store.put_if_absent(f"{self.prefix}/{check_name(name)}", data):
            raise FileExistsError(f"{name} is already in this attempt at stage {self.stage}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._disposable:
            with suppress(OSError, InputError):  # the first error is the one to see; garbage collection gets the rest
                self.store.delete_prefix(self.prefix)


class Stages:
    """The stage outputs of a store. Any number of processes may work on one digest; one of them wins."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def committed(self, stage: str, digest: str) -> StageRef | None:
        """The valid output of the stage for this digest; None when it must be run."""
        marker = read_marker(self.store, _folder(stage, digest))
        return None if marker is None else self._ref(marker)

    def digests(self, stage: str) -> set[str]:
        """Of all valid outputs of the stage: a listing of all its objects."""
        keys = (entry.key.split("/") for entry in self.store.list(f"stages/{check_stage(stage)}"))
        return {parts[2] for parts in keys if parts[3:] == [MARKER]}

    def begin(self, stage: str, digest: str) -> Attempt:
        """A new attempt. Nothing is written yet."""
        _folder(stage, digest)
        return Attempt(self.store, stage, digest, secrets.token_hex(8))

    def commit(self, attempt: Attempt, summary: Mapping[str, Any], seconds: float) -> StageRef:
        """Makes the attempt the stage's output and drops the parts; when another was faster, deletes this attempt and
        gives the winner.

        summary: finite JSON values; raises ValueError or TypeError for others.
        """
        folder = _folder(attempt.stage, attempt.digest)
        marker = {
            "stage": attempt.stage,
            "digest": attempt.digest,
            "attempt": attempt.id,
            "summary": plain_json(summary),
            "seconds": float(seconds),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        attempt._disposable = False
        won = commit_marker(self.store, folder, marker)
        self.store.delete_prefix(f"{folder}/{PARTS}")
        return self._ref(won)

    def discard(self, attempt: Attempt) -> None:
        """Deletes an attempt that will not be committed."""
        self.store.delete_prefix(attempt.prefix)

    def part(self, stage: str, digest: str, name: str) -> bytes | None:
        """A piece an earlier attempt at this digest has left, for a stage that goes on after a kill; None where there
        is none."""
        return self.store.get(f"{_folder(stage, digest)}/{PARTS}/{check_name(name)}")

    def parts(self, stage: str, digest: str) -> list[str]:
        """The names of the pieces that are there, in order."""
        folder = f"{_folder(stage, digest)}/{PARTS}"
        return [entry.key[len(folder) + 1 :] for entry in self.store.list(folder)]

    def part_uri(self, stage: str, digest: str, name: str) -> str:
        """Where a piece lies, for people."""
        return f"{self.store.url}/{_folder(stage, digest)}/{PARTS}/{check_name(name)}"

    def drop_part(self, stage: str, digest: str, name: str) -> None:
        """Deletes a piece that no attempt needs any more."""
        self.store.delete([f"{_folder(stage, digest)}/{PARTS}/{check_name(name)}"])

    def put_part(self, stage: str, digest: str, name: str, data: bytes) -> bool:
        """Leaves a piece; False (and unchanged) when it is there already. The bytes must follow from the digest and
        the name."""
        return self.store.put_if_absent(f"{_folder(stage, digest)}/{PARTS}/{check_name(name)}", data)

    def _ref(self, marker: Mapping[str, Any]) -> StageRef:
        prefix = f"{_folder(marker['stage'], marker['digest'])}/{marker['attempt']}"
        return StageRef(
            self.store.url, marker["stage"], marker["digest"], prefix, dict(marker["summary"]), float(marker["seconds"])
        )


def _folder(stage: str, digest: str) -> str:
    return f"stages/{check_stage(stage)}/{check_digest(digest)}"
