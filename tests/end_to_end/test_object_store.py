"""The command line on an S3 store, served by a process of its own, beside a local one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.store import Store
from tests.end_to_end.conftest import Cli
from tests.rooms import VOXEL, masks_of
from tests.s3_server import S3Server, s3_server

SCENE = "room-7scenes"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def objects(store: Store, digest: str) -> dict[str, bytes]:
    """What was published of the scene: bytes by name, without the random name of the attempt."""
    folder = f"scenes/{SCENE}/{digest}"
    attempts = {entry.key.split("/")[3] for entry in store.list(folder)} - {"commit.json"}
    (prefix,) = (f"{folder}/{attempt}" for attempt in attempts)
    return {entry.key.removeprefix(prefix): store.get(entry.key) or b"" for entry in store.list(prefix)}


def test_a_bucket_is_a_store_like_a_folder(
    cli: Cli, s3: S3Server, labelled_store: Path, small_rooms: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, room = f"{s3.bucket('rooms')}/lab", small_rooms["7scenes"]
    there = replace(cli, more=s3.environment)
    made = there.run("label", room, "--masks", masks_of(room), "--voxel", str(VOXEL), "--store", url, "--json")
    assert made.code == 0, made.err
    (result,) = made.json()
    assert result["status"] == "published"
    (row,) = there.run("catalog", "--store", url, "--json").json()
    assert row["uri"].startswith(f"{url}/scenes/{SCENE}/")
    (beside,) = there.run("catalog", "--store", labelled_store, "--json").json()
    assert row["digest"] == beside["digest"]
    shown = there.run("show", SCENE, "--store", url, "--verify", "--json").json()
    assert shown["faults"] == []
    cleaned = there.run("gc", "--store", url, "--older-than", "0", "--intermediates", "--delete", "--json").json()
    assert cleaned["outputs"] == 5
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    store = Store.open(url)
    assert store.list("stages") == []
    published = objects(store, row["digest"])
    assert len(published) > 40
    assert published == objects(Store.open(labelled_store), row["digest"])


def test_a_wrong_bucket_is_a_sentence(offline_cli: Cli, s3: S3Server, small_rooms: dict[str, Path]) -> None:
    there = replace(offline_cli, more=s3.environment)
    room = small_rooms["7scenes"]
    for command in (("catalog",), ("label", room, "--masks", masks_of(room))):
        done = there.run(*command, "--store", "s3://no-such-bucket/x")
        assert (done.code, done.out) == (2, "")
        assert done.err == "error: s3://no-such-bucket/x: the bucket does not exist; create it or name another store.\n"
    done = there.run("catalog", "--store", "s3://KEYID:hidden@rooms/x")
    assert done.code == 2
    assert "hidden" not in done.err


def test_two_workers_share_a_store_and_one_is_killed(cli: Cli, small_rooms: dict[str, Path]) -> None:
    rooms = [small_rooms[layout] for layout in ("7scenes", "tum")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.workers", *map(str, rooms), "--kills", "1", "--json"],
        cwd=Path(__file__).parents[2],
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    alone, shared = json.loads(done.stdout)
    assert (alone["published_by"], alone["faults"], shared["faults"]) == ([2], [], [])
    assert len(shared["kills"]) == 1
    killed, *others = shared["published_by"]
    assert killed == -1
    assert sum(others) in (1, 2)  # the killed one may have published one
