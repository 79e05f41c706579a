"""Who works on which scene: claims in the store, by which any number of processes anywhere share one list of scenes.

    claims/<scene_id>/<number>    put-if-absent by the taker, then overwritten by it alone: its signs of life

A claim saves work, nothing rests on it: what two workers make of one scene is published once all the same. A scene has
one claim whatever the settings are, as settings share stages.

No clocks of two machines are compared. A claim is stale when its signs of life have not changed for ``lifetime`` on the
observer's own clock, or at once when its process was on this machine and is gone. A stale claim is taken over by
putting the next number, which one taker alone can; the dead one's key is deleted then, which tells it should it wake.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import count, groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from ovseg3r_model.errors import InputError
from storage.names import check_scene_id
from storage.parquet_rows import utc_now
from storage.store import Entry, Store

logger = logging.getLogger("ovseg3r.claims")

CLAIMS = "claims"
LIFETIME = 60.0
"""Seconds without a sign of life after which a worker is taken for dead."""

_BEATS = 4  # signs of life in a lifetime
_SAME_START = 2.0  # seconds: as a process's start is told; no process id comes back as soon
_LENGTHS = 7
_READERS = 8


@dataclass(frozen=True)
class Holder:
    """A worker with a scene in hand. digest: of the scene it will publish, "" where it does not know yet. stage: what
    it is doing; done: what it has done. machine, process, started: which process it is. since: UTC, when it took the
    scene. token: random, of this claim alone.
    """

    scene_id: str
    token: str
    host: str
    machine: str
    process: int
    started: float
    since: str
    stage: str = ""
    done: tuple[str, ...] = ()
    digest: str = ""

    @property
    def worker(self) -> str:
        """The process, for people."""
        return f"{self.host}:{self.process}"

    def is_gone(self) -> bool:
        """Whether its process was on this machine and has ended; False where that cannot be told."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.process)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return ended or bool(abs(process.create_time() - self.started) > _SAME_START)
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


@dataclass(frozen=True)
class _Sight:
    """mark: a sign of life; since: of ``time.monotonic``, when it was first seen. holder: as it was last read."""

    mark: str
    since: float
    holder: Holder | None


class Claims:
    """The claims of a store, as one observer sees them. It remembers what it saw: keep one for a whole run."""

    def __init__(self, store: Store, lifetime: float = LIFETIME) -> None:
        self.store = store
        self.lifetime = lifetime
        self._seen: dict[str, _Sight] = {}

    def take(self, scene_id: str, digest: str = "", silent: str | None = None) -> "Claim | None":
        """The scene for this process, to be used as a context manager; None where a living worker has it.

        silent: a sign of life, as ``marks`` gave it, that the caller knows to be the last one of a dead worker.
        """
        entries = self.store.list(f"{CLAIMS}/{check_scene_id(scene_id)}")
        last = entries[-1] if entries else None
        if last is not None and _mark(last) != silent and self._is_alive(scene_id, last):
            return None
        number = 0 if last is None else int(last.key.rpartition("/")[2]) + 1
        claim = Claim(self.store, f"{CLAIMS}/{scene_id}/{number:06}", _holder(scene_id, digest), self.lifetime / _BEATS)
        if not self.store.put_if_absent(claim.key, _to_json(claim.holder)):
            return None
        if last is not None:
            logger.info("%s was left by a worker that is gone; taking it up", scene_id)
            self.store.delete(entry.key for entry in entries)
        return claim

    def marks(self) -> dict[str, tuple[str, bool]]:
        """By scene that is claimed: the last sign of life, and whether its worker is alive. One listing."""
        return {scene_id: (_mark(last), self._is_alive(scene_id, last)) for scene_id, last in self._latest()}

    def holders(self) -> list[Holder]:
        """The workers that are not known to be dead, by scene, for people: a claim is silent here when the store's
        clock and this machine's say so."""
        now = datetime.now(UTC)
        fresh = [last.key for _, last in self._latest() if (now - last.modified).total_seconds() < 2 * self.lifetime]
        with ThreadPoolExecutor(_READERS) as pool:
            found = pool.map(self._read, fresh)
        return [holder for holder in found if holder is not None and not holder.is_gone()]

    def _latest(self) -> Iterable[tuple[str, Entry]]:
        """Each claimed scene with the claim that counts."""
        entries = [entry for entry in self.store.list(CLAIMS) if entry.key.count("/") == 2]
        for scene_id, group in groupby(entries, key=lambda entry: entry.key.split("/")[1]):
            yield scene_id, list(group)[-1]

    def _is_alive(self, scene_id: str, last: Entry) -> bool:
        now, mark = time.monotonic(), _mark(last)
        before = self._seen.get(scene_id)
        since = before.since if before is not None and before.mark == mark else now
        holder = None if before is None else before.holder
        overdue = now - since >= 2 * self.lifetime / _BEATS
        if holder is None or overdue or holder.is_gone():  # it may be another's by now
            holder = self._read(last.key)
        self._seen[scene_id] = _Sight(mark, since, holder)
        return now - since < self.lifetime and holder is not None and not holder.is_gone()

    def _read(self, key: str) -> Holder | None:
        data = self.store.get(key)
        return None if data is None else _from_json(data)


class Claim:
    """A scene in hand. As a context manager it gives signs of life from a thread, and gives the scene back at the end;
    what the store refuses meanwhile is logged and does not end the work."""

    def __init__(self, store: Store, key: str, holder: Holder, interval: float) -> None:
        self.key = key
        self._store = store
        self._holder = holder
        self._interval = interval
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._live, name=f"claim-{holder.scene_id}", daemon=True)

    @property
    def holder(self) -> Holder:
        return self._holder

    def at(self, stage: str, done: tuple[str, ...] = (), digest: str = "") -> None:
        """Tells, for people who look, what is being done now, and what is done; digest: of the scene to come."""
        self._holder = replace(self._holder, stage=stage, done=done, digest=digest)
        self._wake.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join()
        try:
            if self._is_mine():
                self._store.delete([self.key])
        except (OSError, InputError) as fault:  # it goes stale by itself
            logger.warning("%s could not be given back: %s", self._holder.scene_id, fault)

    def _live(self) -> None:
        in_contact = True
        for beat in count(1):
            self._wake.wait(self._interval)
            self._wake.clear()
            if self._ended:
                return
            try:
                if not self._is_mine():
                    logger.warning(
                        "%s was taken over by another worker, as this one gave no sign of life; going on: one of them "
                        "publishes it",
                        self._holder.scene_id,
                    )
                    return
                self._store.put(self.key, _to_json(self._holder, beat))
                in_contact = True
            except (OSError, InputError) as fault:
                if in_contact:
                    logger.warning("no sign of life of %s reached the store: %s", self._holder.scene_id, fault)
                in_contact = False

    def _is_mine(self) -> bool:
        data = self._store.get(self.key)
        return data is not None and _from_json(data).token == self._holder.token


def _mark(entry: Entry) -> str:
    return f"{entry.key} {entry.modified.isoformat()} {entry.size}"


def _holder(scene_id: str, digest: str) -> Holder:
    process = psutil.Process()
    return Holder(
        scene_id=scene_id,
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        machine=_machine(),
        process=process.pid,
        started=process.create_time(),
        since=utc_now(),
        digest=digest,
    )


@cache
def _machine() -> str:
    """What a process id is unique in: a boot of a machine and, inside it, a container's own numbering."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{psutil.boot_time():.0f}"


def _to_json(holder: Holder, beat: int = 0) -> bytes:
    # signs of life differ in length, as object stores tell times in whole seconds
    return json.dumps(asdict(holder)).encode() + b"\n" * (beat % _LENGTHS)


def _from_json(data: bytes) -> Holder:
    values = json.loads(data)
    return Holder(**values | {"done": tuple(values["done"])})
