"""What the user calls sources: paths, URLs, and patterns of either, as absolute paths and URLs."""

import glob
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ovseg3r_model.errors import InputError
from ovseg3r_model.sources import VIDEO_SUFFIXES, scene_id_from_name, scene_id_of
from tasks.remote_files import checked_url, has_pattern, is_url, matching, name_of


def found_sources(given: Iterable[str]) -> list[str]:
    """The absolute path or URL of every source, in the order given; those that a pattern stands for by name.

    A path that exists is that path, whatever signs are in it. What does not exist, and is no pattern, is told when it
    is read.

    Raises:
        InputError: nothing fits a pattern, a URL is not usable, or its server refuses.
        StoreError: its server cannot be asked.
    """
    return [source for text in given for source in _found(text)]


def check_place(text: str) -> str:
    """The path, pattern or URL itself. Raises InputError for a URL that is not usable, without asking its server."""
    return checked_url(text) if is_url(text) else text


def absolute(text: str) -> str:
    """The absolute path or the URL itself. Raises InputError for a URL that is not usable."""
    return checked_url(text) if is_url(text) else str(_local(text).resolve())


def scene_id_from(source: str) -> str:
    """The id that follows from the name of an absolute path or a URL. What a URL leads to is not asked: a name ends in
    the suffix of a video, or is that of a folder."""
    if not is_url(source):
        return scene_id_of(Path(source))
    name = PurePosixPath(name_of(source))
    return scene_id_from_name(name.stem if name.suffix.lower() in VIDEO_SUFFIXES else name.name)


def _found(text: str) -> list[str]:
    if is_url(checked := check_place(text)):
        return matching(checked) if has_pattern(checked) else [checked]
    path = _local(text)
    if not glob.has_magic(str(path)) or path.exists():
        return [str(path.resolve())]
    found = sorted(glob.glob(str(path), recursive=True))
    if not found:
        raise InputError(f"{text}: nothing fits this pattern; check it.")
    return [str(Path(one).resolve()) for one in found]


def _local(text: str) -> Path:
    """A path, or that of a file:// URL."""
    if text.lower().startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise InputError(f"{text}: names another machine; write file:///path, with three slashes.")
        return Path(unquote(text[len("file://") + len(parts.netloc) :]))
    if not text.strip():
        raise InputError("A source is empty; name a video, a folder or a URL.")
    return Path(text).expanduser()
