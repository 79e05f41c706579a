"""Sources behind URLs, brought here: a copy in a cache, whole or not there at all, kept while it is used.

<cache>/<key>/<name>      the copy, under the source's own name; key is of the URL and the files' sizes and times
<cache>/<key>.part/...    one that is being made; a killed download goes on where it was
<cache>/<key>.lock        shared while the copy is used, exclusive while it is made or deleted; says its size and URL

Processes of one machine share the cache. What was used last goes first when it outgrows its limit.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings
from ovseg3r_model.weights.local import cache_home
from storage.errors import StoreError
from tasks.progress import announce, check_stop
from tasks.remote_files import Listing, RemoteFile, is_url, listing_of, pieces

DEFAULT_GIGABYTES = 100.0
_AT_ONCE = 8
_WAIT = 0.2  # seconds between looks at a lock that another process holds
_ABANDONED = 86400.0  # seconds after which what a killed download has left is not expected to be needed
_POSITIONS = "positions:"


@dataclass(frozen=True)
class Here:
    """A source and its settings, with nothing behind a URL any more."""

    source: Path
    settings: PipelineSettings


@contextmanager
def fetched(source: str, settings: PipelineSettings) -> Iterator[Here]:
    """The source and the masks, reconstruction, positions and truth that the settings name, as local files until the
    end. An InputError raised inside names URLs, not copies.

    Raises:
        InputError: one is not there, too large, or not to be read.
        StoreError: the network or a server failed; trying again may help.
    """
    with ExitStack() as stack:
        copies: dict[str, str] = {}

        def local(place: str) -> str:
            if not is_url(place):
                return place
            copies[place] = str(stack.enter_context(local_copy(place)))
            return copies[place]

        try:
            yield Here(Path(local(source)), _with_places(settings, local))
        except InputError as error:
            told = _by_url(str(error), copies)
            if told == str(error):
                raise
            raise InputError(told) from error


@contextmanager
def local_copy(source: str) -> Iterator[Path]:
    """A source as a path: its own, or that of a copy which stays until the end. Raises as :func:`fetched`."""
    if not is_url(source):
        yield Path(source)
        return
    listing = listing_of(source)
    key = state_of(listing) or hashlib.sha256(os.urandom(32)).hexdigest()  # what may have changed is fetched again
    home = sources_home()
    copy = home / key[:32] / listing.name
    with ExitStack() as stack:
        while True:
            lock = stack.enter_context(_locked(home / f"{key[:32]}.lock", fcntl.LOCK_SH))
            if copy.exists():
                break
            stack.close()
            with _locked(home / f"{key[:32]}.lock", fcntl.LOCK_EX) as alone:
                if not copy.exists():
                    _bring(listing, copy, alone)
            make_room(cache_limit(), key[:32])
        os.utime(lock.name)
        yield copy


def sources_home() -> Path:
    """The folder of the copies: OVSEG3R_CACHE, else ovseg3r/sources in the user's cache.

    Raises:
        InputError: it cannot be made.
    """
    named = os.environ.get("OVSEG3R_CACHE")
    home = Path(named).expanduser().resolve() if named else cache_home() / "sources"
    with _local_errors(home):
        home.mkdir(parents=True, exist_ok=True)
    return home


def cache_limit() -> int:
    """Most bytes of all copies together: OVSEG3R_CACHE_GB gigabytes, else 100. Raises InputError for no number."""
    named = os.environ.get("OVSEG3R_CACHE_GB")
    try:
        gigabytes = DEFAULT_GIGABYTES if not named else float(named)
        if not 0 < gigabytes < 1e9:
            raise ValueError
    except ValueError as error:
        raise InputError(f"OVSEG3R_CACHE_GB is {named!r}; give a number of gigabytes, such as 100.") from error
    return int(gigabytes * 1e9)


def fingerprint(source: str) -> str | None:
    """64 hex digits that change with the place of a source, and with the name, size or time (or entity tag) of any of
    its files; no content is read. None where a server tells neither times nor tags.

    Of local files the time of the last change of the entry counts too: a file put in the place of another, with its
    time and size, is seen. Raises as :func:`listing_of`.
    """
    if is_url(source):
        return state_of(listing_of(source))
    path = Path(source)
    with _local_errors(path, "read"):
        found = _local_states(path)
    return _digest_of([str(path), found])


def state_of(listing: Listing) -> str | None:
    """As :func:`fingerprint`, of what is listed."""
    if any(file.state is None for file in listing.files):
        return None
    files = [[file.name, file.size, file.state] for file in listing.files]
    return _digest_of([listing.url, listing.is_folder, files])


def make_room(limit: int, keep: str = "") -> int:
    """Deletes the copies that were not used for longest until all take at most ``limit`` bytes; those in use stay, and
    that under the key ``keep``. The number that went."""
    home = sources_home()
    entries = sorted((_entry(lock) for lock in home.glob("*.lock")), key=lambda entry: entry[0])
    total = sum(size for _, size, _ in entries)
    gone = 0
    for used, size, lock in entries:
        abandoned = size == 0 and time.time() - used > _ABANDONED
        if (total > limit or abandoned) and lock.stem != keep and _delete(lock):
            total -= size
            gone += 1
    return gone


def _digest_of(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode("ascii")).hexdigest()


def _local_states(path: Path) -> list[list[Any]]:
    """Name, size and times of every file, in order."""
    about = path.stat()
    if not path.is_dir():
        return [["", about.st_size, about.st_mtime_ns, about.st_ctime_ns]]
    found: list[list[Any]] = []
    waiting, seen = [("", str(path))], {(about.st_dev, about.st_ino)}
    while waiting:
        prefix, folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                about = entry.stat()
                if not stat.S_ISDIR(about.st_mode):
                    found.append([prefix + entry.name, about.st_size, about.st_mtime_ns, about.st_ctime_ns])
                elif (about.st_dev, about.st_ino) not in seen:  # a link may lead back up
                    seen.add((about.st_dev, about.st_ino))
                    waiting.append((f"{prefix}{entry.name}/", entry.path))
    return sorted(found)


def _with_places(settings: PipelineSettings, local: Callable[[str], str]) -> PipelineSettings:
    """The settings with every place of files that they name put through ``local``."""

    def put(given: Any, name: str, prefix: str = "") -> Any:
        place = getattr(given, name)
        if place is None or not place.startswith(prefix):
            return given
        return given.model_copy(update={name: prefix + local(place.removeprefix(prefix))})

    reconstruct = put(put(settings.reconstruct, "reconstruction"), "scale_from", _POSITIONS)
    simulated = put(settings.segment.simulated, "truth")
    segment = put(settings.segment, "masks").model_copy(update={"simulated": simulated})
    return settings.model_copy(update={"reconstruct": reconstruct, "segment": segment})


def _by_url(text: str, copies: dict[str, str]) -> str:
    for url, copy in copies.items():
        text = text.replace(copy, url)
    return text


def _bring(listing: Listing, copy: Path, lock: IO[bytes]) -> None:
    """Downloads what is listed; the copy is there once all of it is."""
    sizes = sum(file.size or 0 for file in listing.files)
    _check_size(listing, sizes)
    part = copy.parent.with_name(f"{copy.parent.name}.part")
    root = part / listing.name
    try:
        with _local_errors(copy.parent):
            (root if listing.is_folder else part).mkdir(parents=True, exist_ok=True)
            brought = _download(listing, root, max(sizes, 1))
    except InputError:  # too large, or no space: trying again goes on with nothing
        shutil.rmtree(part, ignore_errors=True)
        raise
    if listing_of(listing.url) != listing:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"{listing.url}: changed while it was fetched; try again.")
    with _local_errors(copy.parent):
        lock.truncate(0)
        lock.write(f"{brought}\n{listing.url}\n".encode())
        lock.flush()
        part.rename(copy.parent)


def _download(listing: Listing, root: Path, total: int) -> int:
    """The bytes of all files, several at a time; those that an earlier try has left whole are not fetched again."""
    counting, done = threading.Lock(), [0]

    def count(size: int) -> None:
        with counting:
            done[0] += size
            _check_size(listing, done[0])
            announce("fetch", min(done[0], total), total)

    def one(file: RemoteFile) -> None:
        target = root / file.name if listing.is_folder else root
        if target.is_file():  # whole: it has its name only then
            count(target.stat().st_size)
        else:
            _download_one(listing, file, target, count)

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # what is announced belongs to the scene of this context
        futures = [pool.submit(copy_context().run, one, file) for file in listing.files]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return done[0]


def _download_one(listing: Listing, file: RemoteFile, target: Path, count: Callable[[int], None]) -> None:
    check_stop()
    target.parent.mkdir(parents=True, exist_ok=True)
    begun = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}.begun")
    # what a killed download has left is of this very state of the file: the folder's name says so
    size = begun.stat().st_size if begun.exists() and file.state is not None else 0
    if file.size is not None and size > file.size:
        size = 0
    if size:
        count(size)
    with begun.open("ab" if size else "wb") as out:
        for piece in () if size and size == file.size else pieces(listing, file, size):
            out.write(piece)
            out.flush()  # what has come is there for the next try
            size += len(piece)
            count(len(piece))
    if file.size is not None and size != file.size:
        raise StoreError(f"{listing.url}: {file.name} came with {size} of {file.size} bytes; try again.")
    begun.rename(target)


def _check_size(listing: Listing, size: int) -> None:
    if size > cache_limit():
        raise InputError(
            f"{listing.url}: is larger than the {cache_limit() / 1e9:g} GB that copies of sources may take; set "
            "OVSEG3R_CACHE_GB to more, or give a local path."
        )


def _entry(lock: Path) -> tuple[float, int, Path]:
    """When a copy was last used, and its bytes."""
    try:
        return lock.stat().st_mtime, int(lock.read_bytes().partition(b"\n")[0] or 0), lock
    except (OSError, ValueError):
        return time.time(), 0, lock


def _delete(lock: Path) -> bool:
    """Deletes a copy, and what a killed download has left; False where somebody uses it."""
    try:
        with _locked(lock, fcntl.LOCK_EX, wait=False):
            for folder in (lock.with_suffix(""), lock.with_suffix(".part")):
                shutil.rmtree(folder, ignore_errors=True)
            lock.unlink()
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path, kind: int, wait: bool = True) -> Iterator[IO[bytes]]:
    """Holds the lock of a copy. Raises BlockingIOError where another holds it and there is no ``wait``."""
    while True:
        with path.open("a+b") as lock:
            while True:
                try:
                    fcntl.flock(lock, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not wait:
                        raise
                    check_stop()
                    time.sleep(_WAIT)
            if _is_at(lock, path):  # else it was deleted meanwhile
                yield lock
                return


def _is_at(lock: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _local_errors(path: Path, doing: str = "written") -> Iterator[None]:
    """What the disk refuses becomes an InputError."""
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist; check the path.") from error
    except OSError as error:
        advice = "check its permissions" if doing == "read" else "free space or name another folder in OVSEG3R_CACHE"
        raise InputError(f"{path}: cannot be {doing} ({error.strerror or error}); {advice}.") from error
