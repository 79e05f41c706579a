"""Sources in an object store: a real server, the store's own credentials, S3's habits."""

import hashlib
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from flows.settings import checked, name_scenes
from ovseg3r_model.errors import InputError
from ovseg3r_model.sources import source_digest
from tasks.fetch import fingerprint, local_copy
from tasks.known_source import memory_keys
from tasks.remote_files import listing_of, pieces
from tests.s3_server import S3Server
from tests.unit import small_recordings


def put(bucket: str, objects: Mapping[str, bytes]) -> None:
    store = S3Store(bucket.removeprefix("s3://"), client_options={"allow_http": True})
    for key, data in objects.items():
        obstore.put(store, key, data)


@pytest.fixture
def bucket(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OVSEG3R_CACHE", str(tmp_path / "cache"))
    return s3.bucket("recordings-of-ours")


def test_a_recording_in_a_bucket_is_that_recording(bucket: str, tmp_path: Path) -> None:
    room = small_recordings.seven_scenes(tmp_path / "a room")
    files = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in room.rglob("*") if p.is_file()}
    film = b"film" * 3_000_000  # more than is read at a time
    put(bucket, {**{f"set/{name}": data for name, data in files.items()}, "set/film.mp4": film, "set/m.csv": b"url\n"})
    pipeline = {"segment": {"engine": "regions"}}
    scenes = name_scenes(checked({"sources": [f"{bucket}/set/[af]*"], "pipeline": pipeline}))
    assert [(scene.source, scene.scene_id) for scene in scenes] == [
        (f"{bucket}/set/a room", "a-room"),
        (f"{bucket}/set/film.mp4", "film"),
    ]
    with local_copy(scenes[0].source) as here:
        assert source_digest(here) == source_digest(room)
    with local_copy(scenes[1].source) as here:
        assert source_digest(here) == hashlib.sha256(film).hexdigest()
    listing = listing_of(scenes[1].source)
    assert b"".join(pieces(listing, listing.files[0], 11_999_999)) == b"m"
    keys = memory_keys([(scene.source, scene.scene_id, scene.settings) for scene in scenes])
    assert None not in keys
    assert len(set(keys)) == 2


def test_another_content_is_another_state(bucket: str) -> None:
    put(bucket, {"room/1.png": b"1", "film.mp4": b"1"})
    before = [fingerprint(f"{bucket}/{name}") for name in ("room", "film.mp4")]
    assert before == [fingerprint(f"{bucket}/{name}") for name in ("room", "film.mp4")]
    put(bucket, {"room/1.png": b"2", "film.mp4": b"2"})
    after = [fingerprint(f"{bucket}/{name}") for name in ("room", "film.mp4")]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_empty_objects_that_stand_for_folders_are_no_files(bucket: str, s3: S3Server) -> None:
    put(bucket, {"marked/color/1.png": b"1"})
    for key in ("marked/", "marked/color/"):
        address = f"http://127.0.0.1:{s3.port}/{bucket.removeprefix('s3://')}/{key}"
        with urllib.request.urlopen(urllib.request.Request(address, data=b"", method="PUT")):
            pass
    with local_copy(f"{bucket}/marked") as here:
        assert [p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file()] == ["color/1.png"]


def test_what_is_not_there_is_told(bucket: str) -> None:
    for url, words in {
        f"{bucket}/nothing.mp4": "does not exist",
        f"{bucket}/nothing/*": "nothing fits",
        "s3://no-such-bucket/film.mp4": "bucket does not exist",
    }.items():
        with pytest.raises(InputError, match=words) as told:
            [fingerprint(scene.source) for scene in name_scenes(checked({"sources": [url]}))]
        assert str(told.value).startswith(url)


def test_a_manifest_in_a_bucket(bucket: str) -> None:
    put(bucket, {"sets/m.csv": b"url,id\nfilms/a.mp4,one\n"})
    (scene,) = name_scenes(checked({"manifest": f"{bucket}/sets/m.csv"}))
    assert (scene.source, scene.scene_id) == (f"{bucket}/sets/films/a.mp4", "one")
