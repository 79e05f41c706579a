"""Files behind a URL, by fsspec: what is there, without reading it, and their bytes, a piece at a time.

s3://, gs:// and az:// go through obstore, so that credentials and endpoints are those of the store; other protocols
through fsspec's own file systems, as far as the packages they need are here.
"""

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ovseg3r_model.errors import InputError
from storage.errors import StoreError, scrubbed, store_errors
from storage.remote import REMOTE, remote_options

MOST_FILES = 100_000
"""A folder of more files is no recording."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WEB = frozenset({"http", "https"})
_SECRET = re.compile("signature|token|secret|password|credential|access_?key|api_?key|^sig$|^sv$", re.IGNORECASE)
_STATES = (
    "ETag", "etag", "e_tag", "md5", "md5Hash", "content_md5", "Content-MD5", "Digest", "sha", "sha256", "blob_id",
    "oid", "checksum", "generation", "version", "mtime", "modified", "last_modified", "LastModified", "Last-Modified",
    "updated", "modify", "modificationTime", "created",
)  # fmt: skip
"""Under these names file systems say when or what a file is, so that a change shows."""

_ENVIRONMENT = ("AWS_", "AZURE_", "GOOGLE_", "OVSEG3R_STORE_")
_CLIENTS = frozenset({"aiohttp", "huggingface_hub", "httpx", "paramiko", "requests"})
_AT_ONCE = 8
_PIECE = 8 << 20


@dataclass(frozen=True)
class RemoteFile:
    """name: below the source, as "color/0001.jpg"; of a source that is one file, its own. path: what the file system
    calls it. size: bytes, None where the server does not tell. state: entity tag or time, None where there is none."""

    name: str
    path: str
    size: int | None
    state: str | None


@dataclass(frozen=True)
class Listing:
    """What is at a URL. name: its own, the last part of the URL. files: by name, one where it is no folder. fs: the
    file system that reads them."""

    url: str
    name: str
    is_folder: bool
    files: tuple[RemoteFile, ...]
    fs: Any = field(compare=False, repr=False)


def is_url(text: str) -> bool:
    """Whether it is to be read through the network; paths and file:// are not."""
    return _URL.match(text) is not None and not text.lower().startswith("file://")


def checked_url(url: str) -> str:
    """The URL itself, without a slash at the end, which means something on the web alone.

    Raises:
        InputError: it carries a password or a signature, which would show wherever the source is named; it has no
            name; or it is a chain of several.
    """
    parts = urlsplit(url)
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    login = parts.password or (parts.username if parts.scheme in _WEB else None)
    if login or any(_SECRET.search(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise InputError(
            f"{bare}: the URL carries a password or a signature, which would be stored with the scene; leave it out "
            "and give credentials by the environment."
        )
    if "::" in url:
        raise InputError(f"{url}: is a chain of URLs; give the file or folder by itself.")
    if not name_of(url):
        raise InputError(f"{url}: names no file or folder; give the whole URL.")
    return url if parts.scheme in _WEB else url.rstrip("/")


def name_of(url: str) -> str:
    """The last part of a URL: what a copy of it is called."""
    parts = urlsplit(url)
    path = unquote(parts.path) if parts.scheme in _WEB else url.split("://", 1)[1]
    return PurePosixPath(path.rstrip("/")).name


def listing_of(url: str) -> Listing:
    """What is at the URL, in order of names; nothing of its content is read.

    Raises:
        InputError: nothing is there, it may not be read, a name leads out of the folder, or a package lacks.
        StoreError: the network or the server failed.
    """
    fs, root = opened(url)
    web = urlsplit(url).scheme in _WEB
    with remote_errors(url):
        about = fs.info(root)
        if about["type"] == "directory" or (web and url.endswith("/")):
            found = fs.find(root, detail=True)
            files = _below(url, root, found) if not web else _on_web(fs, url, root, found)
            return Listing(url, name_of(url), True, tuple(sorted(files, key=lambda file: file.name)), fs)
    if web and about.get("mimetype") == "text/html":
        raise InputError(f"{url}: is a web page; give the file itself, or a folder's listing with a '/' at the end.")
    name = _checked_name(name_of(url), url)
    return Listing(url, name, False, (RemoteFile(name, root, about.get("size"), _state(about)),), fs)


def matching(pattern: str) -> list[str]:
    """The URLs that fit a pattern with \\*, ? (not on the web) or [...], in order; raises as :func:`listing_of`, also
    where nothing fits."""
    fs, path = opened(pattern)
    with remote_errors(pattern):
        found = [str(name) for name in fs.glob(path)]
    if not found:
        raise InputError(f"{pattern}: nothing fits this pattern; check it.")
    if pattern.endswith(path):  # file systems drop the host from their names: it is put back as it was written
        return sorted(pattern.removesuffix(path) + name for name in found)
    return sorted(fs.unstrip_protocol(name) for name in found)


def has_pattern(url: str) -> bool:
    """Whether the URL is a pattern; on the web "?" begins a query."""
    return any(sign in url for sign in ("*[" if urlsplit(url).scheme in _WEB else "*?["))


def pieces(listing: Listing, file: RemoteFile, start: int = 0) -> Iterator[bytes]:
    """The bytes of a file, without the first ``start``. Raises as :func:`listing_of`."""
    web = urlsplit(listing.url).scheme in _WEB
    if urlsplit(listing.url).scheme in REMOTE:
        options: dict[str, Any] = {"buffer_size": _PIECE}
    else:  # from the web as one stream: a server may not know ranges
        options = {"block_size": 0 if web else _PIECE}
    if web and start:
        options["headers"] = {"Range": f"bytes={start}-"}
    with remote_errors(listing.url), listing.fs.open(file.path, "rb", **options) as stream:
        if start and not web:
            stream.seek(start)
        elif start and stream.r.status != HTTPStatus.PARTIAL_CONTENT:
            while start and (skipped := len(stream.read(min(start, _PIECE)))):
                start -= skipped
        while piece := stream.read(_PIECE):
            yield bytes(piece)


def opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and what it calls what is there.

    Raises:
        InputError: the protocol is unknown, or what it needs is not installed.
    """
    from fsspec.core import url_to_fs

    scheme = urlsplit(url).scheme
    if scheme in REMOTE:
        known = tuple(sorted((key, value) for key, value in os.environ.items() if key.startswith(_ENVIRONMENT)))
        return _object_store(scheme, known, os.getpid()), url.split("://", 1)[1].rstrip("/")
    try:
        fs, path = url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        raise InputError(f"{url}: {scheme}:// needs a package that is not here ({error}); pip install it.") from error
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{url}: {scheme}:// cannot be read ({error}); give a path, s3://, gs://, az:// or https://."
        ) from error
    return fs, path


@lru_cache(maxsize=16)
def _object_store(scheme: str, environment: tuple[tuple[str, str], ...], process: int) -> Any:
    """A file system in an object store; another ``environment`` may hold other credentials, and a forked ``process``
    cannot use its parent's."""
    from obstore.fsspec import FsspecStore

    return FsspecStore(scheme, **remote_options(scheme), skip_instance_cache=True)


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """What fails inside becomes InputError, where the user can mend it, or StoreError, where trying again may help."""
    try:
        with store_errors(url, "reading the source"):
            yield
    except (InputError, StoreError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{url}: does not exist, or nothing is in it; check the URL.") from error
    except Exception as error:
        status = getattr(error, "status", None)
        if status in (401, 403):
            raise InputError(f"{url}: access denied (status {status}); check the URL and the credentials.") from error
        if type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        first = scrubbed(str(error)).strip().splitlines() or [type(error).__name__]
        raise StoreError(f"{url}: failed while reading the source: {first[0]}") from error


def _below(url: str, root: str, found: Mapping[str, Mapping[str, Any]]) -> list[RemoteFile]:
    """The files of a folder; the empty objects that stand for folders in object stores are none."""
    _check_count(url, len(found))
    files: list[RemoteFile] = []
    folders: set[str] = set()
    for path, about in found.items():
        if path.rstrip("/") == root.rstrip("/"):
            continue
        if not path.startswith(root.rstrip("/") + "/"):
            raise InputError(f"{url}: {path!r} is listed, which does not lie in it; give another folder.")
        name = _checked_name(path[len(root.rstrip("/")) + 1 :].rstrip("/"), url)
        folders.update(str(parent) for parent in PurePosixPath(name).parents)
        files.append(RemoteFile(name, path, about.get("size"), _state(about)))
    return [file for file in files if file.name not in folders or file.size]


def _on_web(fs: Any, url: str, root: str, found: Mapping[str, Mapping[str, Any]]) -> list[RemoteFile]:
    """As :func:`_below`; sizes and times are asked for file by file, and links to other orders of the list left out."""
    linked = [path for path in found if not urlsplit(path).query and not path.endswith("/")]
    _check_count(url, len(linked))
    names = [_checked_name(unquote(path[len(root.rstrip("/")) + 1 :]), url) for path in linked]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        about = list(pool.map(fs.info, linked))
    return [
        RemoteFile(name, path, one.get("size"), _state(one))
        for name, path, one in zip(names, linked, about, strict=True)
    ]


def _check_count(url: str, count: int) -> None:
    if count == 0:
        raise InputError(f"{url}: is empty; give a video file or a folder with a recording in it.")
    if count > MOST_FILES:
        raise InputError(f"{url}: holds {count:,} files, more than {MOST_FILES:,}; give the folder of one recording.")


def _checked_name(name: str, url: str) -> str:
    """A relative name that stays inside its folder on any system."""
    parts = name.split("/")
    windows = PureWindowsPath(name)
    bad = any(part in ("", ".", "..") or len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts)
    if bad or "\0" in name or "\\" in name or windows.drive or windows.root:
        raise InputError(f"{url}: the file name {name!r} could leave the folder of the copy; rename it there.")
    return name


def _state(about: Mapping[str, Any]) -> str | None:
    told = [f"{key}={about[key]}" for key in _STATES if about.get(key) not in (None, "")]
    return "; ".join(told) or None
