"""Sources behind URLs: their copies, and what tells that they changed."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings
from ovseg3r_model.sources import source_digest
from tasks.fetch import fetched, fingerprint, local_copy, make_room, sources_home
from tasks.progress import Progress, listening, of_scene
from tasks.remote_files import listing_of, matching, pieces
from tests.unit import small_recordings


class Site(ThreadingHTTPServer):
    """A web server of one folder. gets: how often each path was asked for. stalled: paths that give half, then wait.
    ranges: whether it can begin in the middle of a file; begun: where it did."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.gets: Counter[str] = Counter()
        self.stalled: set[str] = set()
        self.ranges = False
        self.begun: list[int] = []
        self.reached = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.gets[self.path] += 1
        if not self.server.ranges or "Range" not in self.headers:
            super().do_GET()
            return
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        rest = Path(self.translate_path(self.path)).read_bytes()[start:]
        self.server.begun.append(start)
        self.send_response(206)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self.path in self.server.stalled:
            outputfile.write(source.read(3))
            outputfile.flush()
            self.server.reached.set()
            time.sleep(30)
        super().copyfile(source, outputfile)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    with Site(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVSEG3R_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory() -> Any:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    return fs


def stored(cache: Path) -> list[str]:
    """What is whole in the cache, by its own name."""
    return sorted(p.name for entry in cache.iterdir() if entry.is_dir() and not entry.suffix for p in entry.iterdir())


def test_a_local_source_stays_where_it_is(tmp_path: Path, cache: Path) -> None:
    with local_copy(str(tmp_path)) as here:
        assert here == tmp_path
    assert not cache.exists()


def test_a_copy_has_the_digest_of_the_source(tmp_path: Path, site: Site) -> None:
    """Also of TUM's layout, where the folder's own name decides the camera."""
    folder = tmp_path / "site"
    recordings = {
        "": small_recordings.tum(folder / "rgbd_dataset_freiburg2_desk", intrinsics=False),
        "/": small_recordings.seven_scenes(folder / "a room"),
    }
    (folder / "film.mp4").write_bytes(b"film" * 1000)
    for recording in recordings.values():
        with local_copy(f"{site.url}/{recording.name.replace(' ', '%20')}/") as here:
            assert here.name == recording.name
            assert source_digest(here) == source_digest(recording)
    with local_copy(f"{site.url}/film.mp4") as here:
        assert source_digest(here) == hashlib.sha256(b"film" * 1000).hexdigest()


def test_a_source_is_fetched_once_until_it_changes(tmp_path: Path, site: Site, cache: Path) -> None:
    film = tmp_path / "site" / "film.mp4"
    film.write_bytes(b"one")
    url = f"{site.url}/film.mp4"

    def read() -> bytes:
        with local_copy(url) as here:
            return here.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: read(), range(4))) == {b"one"}
    assert site.gets["/film.mp4"] == 1
    before = fingerprint(url)
    assert before == fingerprint(url)
    film.write_bytes(b"two")
    os.utime(film, (1e9, 1e9))
    assert fingerprint(url) != before
    assert read() == b"two"


def test_a_killed_download_is_never_seen_and_goes_on(tmp_path: Path, site: Site, cache: Path) -> None:
    folder = small_recordings.pictures(tmp_path / "site" / "room", 5)
    last = sorted(folder.iterdir())[-1]
    site.stalled = {f"/room/{last.name}"}
    url = f"{site.url}/room/"
    code = f"from tasks.fetch import local_copy\nwith local_copy({url!r}): pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    assert site.reached.wait(60)
    deadline = time.monotonic() + 20
    while len([p for p in cache.glob("*.part/room/*") if not p.name.startswith(".")]) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert stored(cache) == []
    site.stalled = set()
    with local_copy(url) as here:
        assert source_digest(here) == source_digest(folder)
        assert sorted(p.name for p in here.iterdir()) == sorted(p.name for p in folder.iterdir())
    assert site.gets[f"/room/{last.name}"] == 2
    assert sum(site.gets[f"/room/{p.name}"] for p in folder.iterdir()) == 6  # the other four are not fetched again
    assert not list(cache.glob("*.part"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_killed_download_of_one_large_file_goes_on_in_its_middle(
    tmp_path: Path, site: Site, cache: Path, ranges: bool
) -> None:
    """Where a server cannot begin there, what comes again is passed over."""
    film = np.random.default_rng(0).integers(0, 256, 5_000_000, np.uint8).tobytes()
    (tmp_path / "site" / "film.mp4").write_bytes(film)
    site.stalled, site.ranges = {"/film.mp4"}, ranges
    url = f"{site.url}/film.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", f"from tasks.fetch import local_copy\nwith local_copy({url!r}): pass"]
    )
    assert site.reached.wait(60)
    deadline = time.monotonic() + 20
    while not (left := [p for p in cache.glob("*.part/.*.begun") if p.stat().st_size == 3]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left[0].write_bytes(film[:1_000_003])  # as if it had come further
    site.stalled = set()
    seen: list[Progress] = []
    with listening(seen.append), local_copy(url) as here:
        assert here.read_bytes() == film
    assert site.begun == ([1_000_003] if ranges else [])
    assert seen[0].done >= 1_000_003
    assert [event.done for event in seen] == sorted(event.done for event in seen)
    assert seen[-1].done == len(film)


def test_a_file_is_read_from_its_middle_on(memory: Any, cache: Path) -> None:
    memory.pipe("/film.mp4", b"0123456789")
    listing = listing_of("memory://film.mp4")
    assert b"".join(pieces(listing, listing.files[0], 7)) == b"789"
    assert b"".join(pieces(listing, listing.files[0])) == b"0123456789"


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png", "x\0.png", "/etc"])
def test_no_remote_name_leaves_the_copy(memory: Any, cache: Path, name: str) -> None:
    memory.pipe("/room/good.png", b"1")
    memory.store[f"/room/{name}"] = memory.store["/room/good.png"]
    with pytest.raises(InputError, match=r"could leave|does not lie in it"), local_copy("memory://room"):
        pass
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_no_link_of_a_web_page_leaves_the_copy(tmp_path: Path, site: Site, cache: Path) -> None:
    room = tmp_path / "site" / "room"
    room.mkdir()
    for link in ("%2e%2e/%2e%2e/evil.png", "../evil.png", "..%5Cevil.png"):
        (room / "index.html").write_text(f'<a href="{link}">a picture</a>')
        with pytest.raises(InputError, match=r"could leave|does not lie in it"), local_copy(f"{site.url}/room/"):
            pass
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_sources_that_are_not_there_or_no_source_are_told(tmp_path: Path, site: Site, memory: Any) -> None:
    (tmp_path / "site" / "empty").mkdir()
    for url, words in {
        f"{site.url}/nothing.mp4": "does not exist",
        f"{site.url}/empty/": "is empty",
        f"{site.url}/empty": "is a web page",
        "memory://nothing": "does not exist",
        str(tmp_path / "nothing"): "does not exist",
    }.items():
        with pytest.raises(InputError, match=words) as told:
            fingerprint(url)
        assert str(told.value).startswith(url)


def test_what_is_too_large_is_refused_and_takes_no_space(
    memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/film.mp4", b"x" * 2000)
    monkeypatch.setenv("OVSEG3R_CACHE_GB", "0.000001")
    with pytest.raises(InputError, match="larger than the 1e-06 GB"), local_copy("memory://film.mp4"):
        pass
    assert not [p for p in cache.rglob("*") if p.is_file() and p.stat().st_size]
    monkeypatch.setenv("OVSEG3R_CACHE_GB", "much")
    with pytest.raises(InputError, match="OVSEG3R_CACHE_GB"), local_copy("memory://film.mp4"):
        pass


def test_what_was_used_last_stays_and_what_is_used_now(memory: Any, cache: Path) -> None:
    for name in ("a", "b", "c"):
        memory.pipe(f"/{name}.mp4", b"x" * 1000)
        with local_copy(f"memory://{name}.mp4"):
            pass
    for number, name in enumerate(("c", "a", "b")):
        (lock,) = (p for p in cache.glob("*.lock") if f"/{name}.mp4" in p.read_text())
        os.utime(lock, (number, number))
    with local_copy("memory://c.mp4") as here:
        (lock,) = (p for p in cache.glob("*.lock") if "/c.mp4" in p.read_text())
        os.utime(lock, (0, 0))
        assert make_room(2500) == 1
        assert stored(cache) == ["b.mp4", "c.mp4"]  # c is the oldest, but in use
        assert make_room(0) == 1
        assert here.read_bytes() == b"x" * 1000
    assert make_room(0) == 1
    assert list(cache.iterdir()) == []


def test_a_new_copy_takes_the_place_of_old_ones(memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSEG3R_CACHE_GB", "0.0000025")
    for name in ("a", "b", "c"):
        memory.pipe(f"/{name}.mp4", b"x" * 1000)
        with local_copy(f"memory://{name}.mp4"):
            pass
    assert stored(cache) == ["b.mp4", "c.mp4"]


def test_settings_get_local_files_and_errors_name_urls(tmp_path: Path, memory: Any, cache: Path) -> None:
    memory.pipe({"/m/a.json": b"{}", "/p.csv": b"name,x,y,z\n", "/truth/t.json": b"{}", "/film.mp4": b"x"})
    settings = PipelineSettings.model_validate(
        {
            "segment": {"masks": "memory://m/a.json", "simulated": {"truth": "memory://truth"}},
            "reconstruct": {"scale_from": "positions:memory://p.csv", "reconstruction": "/here/sparse"},
        }
    )
    with fetched("memory://film.mp4", settings) as here:
        assert here.source.read_bytes() == b"x"
        assert Path(here.settings.segment.masks or "").read_bytes() == b"{}"
        assert (Path(here.settings.segment.simulated.truth or "") / "t.json").is_file()
        kind, _, path = (here.settings.reconstruct.scale_from or "").partition(":")
        assert (kind, Path(path).read_text()) == ("positions", "name,x,y,z\n")
        assert here.settings.reconstruct.reconstruction == "/here/sparse"
    with pytest.raises(InputError) as told, fetched("memory://film.mp4", settings) as here:
        raise InputError(f"{here.source}: is no video; see {here.settings.segment.masks}.")
    assert str(told.value) == "memory://film.mp4: is no video; see memory://m/a.json."


def test_a_download_tells_how_far_it_is(memory: Any, cache: Path) -> None:
    memory.pipe({f"/room/{n}.png": b"x" * (n + 1) for n in range(5)})
    seen: list[Progress] = []
    with listening(seen.append), of_scene("hall"), local_copy("memory://room"):
        pass
    assert {(event.scene_id, event.stage, event.total) for event in seen} == {("hall", "fetch", 15)}
    assert [event.done for event in seen][-1] == 15


def test_a_file_of_unknown_state_is_fetched_each_time(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system in memory tells when a file was made; this one does not."""
    memory.pipe("/film.mp4", b"one")
    about = type(memory).info
    monkeypatch.setattr(
        type(memory), "info", lambda self, path, **more: {k: v for k, v in about(self, path).items() if k != "created"}
    )
    assert fingerprint("memory://film.mp4") is None
    memory.store["/film.mp4"].seek(0)
    memory.store["/film.mp4"].write(b"two")
    with local_copy("memory://film.mp4") as here:
        assert here.read_bytes() == b"two"


def test_a_folder_that_changes_anywhere_has_another_fingerprint(tmp_path: Path) -> None:
    folder = small_recordings.seven_scenes(tmp_path / "room")
    target = sorted(p for p in folder.rglob("*") if p.is_file())[0]
    seen = {fingerprint(str(folder))}
    assert seen == {fingerprint(str(folder))}

    def changed() -> None:
        now = fingerprint(str(folder))
        assert now not in seen
        seen.add(now)

    size, times = target.stat().st_size, (target.stat().st_atime_ns, target.stat().st_mtime_ns)
    target.write_bytes(b"x" * size)
    os.utime(target, ns=times)
    changed()  # though size and time are as before
    os.utime(target, ns=(0, times[1] + 1))
    changed()
    target.write_bytes(b"x" * (size + 1))
    changed()
    target.rename(target.with_name("other.bin"))
    changed()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "x").write_bytes(b"")
    changed()
    (folder / "deep" / "up").symlink_to(folder)  # no endless way
    assert fingerprint(str(folder)) in seen
    shutil.copytree(folder, tmp_path / "elsewhere" / "room", symlinks=True)
    assert fingerprint(str(tmp_path / "elsewhere" / "room")) not in seen


def test_the_fingerprint_of_a_thousand_files_takes_milliseconds(tmp_path: Path) -> None:
    for n in range(1000):
        (tmp_path / f"{n}.png").write_bytes(b"x")
    assert fingerprint(str(tmp_path)) is not None
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        fingerprint(str(tmp_path))
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.1


def test_the_cache_is_the_users_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVSEG3R_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert sources_home() == tmp_path / "xdg" / "ovseg3r" / "sources"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("OVSEG3R_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="OVSEG3R_CACHE"):
        sources_home()


def test_a_pattern_on_a_web_server_stands_for_what_its_page_lists(tmp_path: Path, site: Site) -> None:
    for name in ("b 1.mp4", "a.mp4", "a.txt"):
        (tmp_path / "site" / name).write_bytes(b"x")
    assert matching(f"{site.url}/*.mp4") == [f"{site.url}/a.mp4", f"{site.url}/b%201.mp4"]


def test_a_listing_is_in_order_and_reads_nothing(tmp_path: Path, site: Site) -> None:
    small_recordings.pictures(tmp_path / "site" / "room", 3)
    listing = listing_of(f"{site.url}/room/")
    assert listing.is_folder
    assert [file.name for file in listing.files] == sorted(p.name for p in (tmp_path / "site" / "room").iterdir())
    assert set(site.gets) == {"/room/"}
