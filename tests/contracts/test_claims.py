"""Claims on every kind of store: one worker a scene, and the dead lose theirs."""

import ctypes
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from storage.claims import CLAIMS, Claims
from storage.failures import FAILURES, Failure, Failures
from storage.garbage import collect_garbage
from storage.parquet_rows import utc_now
from storage.store import Store
from tests.s3_server import S3Server

SHORT = 0.4  # seconds, a lifetime for tests
HOLD = """
import sys, time
from storage.claims import Claims
from storage.store import Store

with Claims(Store.open(sys.argv[1])).take("room") as claim:
    claim.at("segment")
    print("held", flush=True)
    time.sleep(60)
"""


def failure(scene_id: str = "room", message: str = "no pictures") -> Failure:
    return Failure(
        scene_id, "a/room", "bad-input", "lift", ("ingest",), message, utc_now(), "here:1", "a", None, None, {"x": [1]}
    )


class ClaimsContract:
    """Subclasses define the fixture ``store``."""

    def test_of_many_takers_one_gets_it_and_gives_it_back(self, store: Store) -> None:
        start = threading.Barrier(8)

        def take(_: int) -> bool:
            claims = Claims(store)
            start.wait()
            claim = claims.take("room")
            if claim is not None:
                with claim:
                    start.wait()  # until all have tried
            else:
                start.wait()
            return claim is not None

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1
        assert store.list(CLAIMS) == []
        assert Claims(store).take("room") is not None

    def test_a_sign_of_life_keeps_it_and_others_see_what_is_done(self, store: Store) -> None:
        watcher = Claims(store, 3 * SHORT)  # a server under load answers late
        claim = Claims(store, SHORT).take("room")
        assert claim is not None
        with claim:
            claim.at("segment", ("ingest",), "d" * 64)
            end = time.monotonic() + 3.5 * SHORT
            marks = set()
            while time.monotonic() < end:
                mark, is_alive = watcher.marks()["room"]
                assert is_alive
                marks.add(mark)
                time.sleep(SHORT / 10)
            assert len(marks) > 2
            assert watcher.take("room") is None
            (holder,) = watcher.holders()
            assert (holder.scene_id, holder.stage, holder.done) == ("room", "segment", ("ingest",))
            assert holder.digest == "d" * 64
        assert watcher.holders() == []

    def test_a_worker_elsewhere_that_falls_silent_loses_it_by_the_observers_clock(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        dead = Claims(store).take("room")  # no sign of life is given, as it is not entered
        assert dead is not None
        other = json.dumps({**json.loads(store.get(dead.key) or b""), "machine": "another"}).encode()
        store.put(dead.key, other)
        watcher = Claims(store, SHORT)
        assert watcher.take("room") is None
        _, is_alive = watcher.marks()["room"]
        assert is_alive
        time.sleep(1.1 * SHORT)
        mark, is_alive = watcher.marks()["room"]
        assert not is_alive
        assert Claims(store, SHORT).take("room") is None  # one that has just come must look for as long
        claim = Claims(store, SHORT).take("room", silent=mark)  # unless it is told
        assert claim is not None
        assert [entry.key for entry in store.list(CLAIMS)] == [claim.key]
        with caplog.at_level(logging.WARNING, "ovseg3r"):
            dead._interval = SHORT / 10
            with dead:  # it wakes
                time.sleep(SHORT)
        assert "taken over" in caplog.text
        with claim:
            assert [entry.key for entry in store.list(CLAIMS)] == [claim.key]  # and has not touched what is another's

    def test_failures_are_kept_once_a_scene_until_they_are_cleared(self, store: Store) -> None:
        failures = Failures(store)
        failures.record(failure())
        failures.record(failure("attic"))
        failures.record(replace(failure(), message="too dark"))
        assert [(f.scene_id, f.message) for f in failures.all()] == [("attic", "no pictures"), ("room", "too dark")]
        assert failures.all()[0] == replace(failure("attic"), when=failures.all()[0].when)
        failures.clear("room")
        failures.clear("room")
        assert failures.of("room") is None
        assert failures.marks().keys() == {"attic"}


def test_what_the_dead_left_falls_to_garbage_collection_and_failures_do_later(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    Claims(store).take("room")
    Failures(store).record(failure())
    ages = {CLAIMS: 2, FAILURES: 3}  # days
    for path in (path for folder in ages for path in (tmp_path / folder).rglob("*") if path.is_file()):
        then = time.time() - 86400 * ages[path.relative_to(tmp_path).parts[0]]
        os.utime(path, (then, then))
    Claims(store).take("attic")
    assert collect_garbage(store, 24, dry_run=False).temporary == 1
    assert (Claims(store).marks().keys(), Failures(store).marks().keys()) == ({"attic"}, {"room"})
    path = tmp_path / FAILURES / "room.json"
    os.utime(path, (then - 30 * 86400, then - 30 * 86400))
    assert collect_garbage(store, 24, dry_run=False).temporary == 1
    assert Failures(store).all() == []


class TestLocalClaims(ClaimsContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store.open(tmp_path / "a store")


class TestMemoryClaims(ClaimsContract):
    @pytest.fixture
    def store(self) -> Store:
        return Store.open(f"memory://{secrets.token_hex(8)}")


class TestS3Claims(ClaimsContract):
    @pytest.fixture
    def store(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        return Store.open(f"{s3.bucket('claims')}/{secrets.token_hex(8)}")


def test_a_killed_process_of_this_machine_loses_its_scene_at_once(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, store.url], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            claims = Claims(store)
            assert claims.take("room") is None
            assert [holder.process for holder in claims.holders()] == [process.pid]
        finally:
            process.kill()
    assert claims.holders() == []
    claim = Claims(store).take("room")
    assert claim is not None


def exchange(one: Path, other: Path) -> None:
    """In one step: between two renames the claim could be seen to be gone."""
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    failed = ctypes.CDLL(None, use_errno=True).renameat2(here, bytes(one), here, bytes(other), both)
    assert not failed, os.strerror(ctypes.get_errno())


def test_losing_the_store_for_a_while_does_not_end_the_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store.open(tmp_path / "store")
    claim = Claims(store, SHORT).take("room")
    assert claim is not None
    (tmp_path / "in-the-way").touch()
    with caplog.at_level(logging.WARNING, "ovseg3r"), claim:
        before = Claims(store).marks()
        exchange(tmp_path / "store" / CLAIMS, tmp_path / "in-the-way")
        time.sleep(SHORT / 2)
        exchange(tmp_path / "store" / CLAIMS, tmp_path / "in-the-way")
        time.sleep(SHORT)
        assert Claims(store).marks() != before
    assert len([r for r in caplog.records if "no sign of life" in r.message]) == 1
    assert store.list(CLAIMS) == []
