"""Masks that somebody already has: a COCO instances JSON (:mod:`.coco`) or a folder of id-map PNGs with labels.json
(:mod:`.id_folder`).

Entries are matched to frames by name (:mod:`.matching`). Entries for frames that are not asked for are normal, for
keyframes are a subset of a source; a frame without an entry has no instances, and ``prepare`` says so.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Recording, ViewMasks
from ovseg3r_model.segmentation.coco import CocoMasks
from ovseg3r_model.segmentation.id_folder import LABELS, IdMapFolder, id_map_files
from ovseg3r_model.segmentation.id_maps import nothing
from ovseg3r_model.segmentation.matching import Match, first_few, match_names


class _Masks(Protocol):
    """One form of stored masks: entries with names, and what is under each."""

    names: tuple[str, ...]
    notes: tuple[str, ...]

    def check(self, entry: int, size: tuple[int, int]) -> int: ...

    def read(self, entry: int, size: tuple[int, int], min_area: int) -> ViewMasks: ...


class ImportedMasks:
    """The engine "imported". Labels are the file's, verbatim but for blanks around them.

    Masks that end up with fewer than ``min_area`` pixels, once overlaps are settled, are dropped.
    """

    name = "imported"
    open_vocabulary = True
    batch = 1

    def __init__(self, path: Path, min_area: int) -> None:
        self._path = path
        self._min_area = min_area

    def prepare(self, recording: Recording) -> tuple[str, ...]:
        """Checks every entry that will be used; see :meth:`.Segmenter.prepare`.

        Raises:
            InputError: the masks cannot be read, are for other frames, have another size than their frame, or hold
            anything invalid.
        """
        match = self._match(recording)
        matched = [entry for entry in match.entry if entry is not None]
        instances = sum(self._masks.check(entry, recording.size) for entry in matched)
        notes = self._masks.notes + match.notes
        missing = [name for name, entry in zip(recording.names, match.entry, strict=True) if entry is None]
        if missing:
            notes += (
                f"{len(missing)} of {len(recording)} frames have no masks in {self._path} and stay empty: "
                f"{first_few(missing)}.",
            )
        if not instances:
            notes += (f"The masks in {self._path} hold no instance for any of the frames.",)
        return notes

    def segment(self, recording: Recording, views: Sequence[int]) -> Iterator[ViewMasks]:
        """See :meth:`.Segmenter.segment`.

        Raises:
            InputError: as in ``prepare``, for the views asked for.
        """
        match = self._match(recording)
        for view in views:
            entry = match.entry[view]
            yield nothing(recording.size) if entry is None else self._masks.read(entry, recording.size, self._min_area)

    @cached_property
    def _masks(self) -> _Masks:
        _exists(self._path)
        return IdMapFolder(self._path) if self._path.is_dir() else CocoMasks(self._path)

    def _match(self, recording: Recording) -> Match:
        return match_names(recording.names, self._masks.names, str(self._path))


def content_digest(path: Path) -> str:
    """sha256, in hex, of the masks: of the JSON's bytes, or of the names and bytes of the folder's PNGs and
    labels.json.

    Raises:
        InputError: they cannot be read.
    """
    _exists(path)
    if not path.is_dir():
        return file_digest(path)
    total = hashlib.sha256()
    for file in (*id_map_files(path), path / LABELS):
        # a name cannot hold NUL and a digest has one length: no two folders give the same bytes
        total.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + file_digest(file).encode("ascii"))
    return total.hexdigest()


def file_digest(file: Path) -> str:
    """sha256, in hex, of a file's bytes. Raises InputError: it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error


def _exists(path: Path) -> None:
    if not path.exists():
        raise InputError(f"There are no masks at {path}.")
