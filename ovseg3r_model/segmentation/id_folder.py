"""Masks from a folder: one id-map PNG a frame, named like the frame, and ``labels.json``.

A PNG holds an id per pixel, 0 = none: grey of 8 or 16 bits, a palette's indices, or RGB of 8 bits with id = R + 256 G
+ 65536 B as in COCO panoptic. ``labels.json`` takes one of two forms; a name is a text, or {"label": text, "score":
number}:

- ids that mean the same in every frame: ``{"1": "chair", "2": {"label": "table", "score": 0.9}}``
- ids of each frame's own: ``{"frame-000005": {"1": "chair"}, "frame-000010": {"1": "table"}}``
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import ViewMasks
from ovseg3r_model.segmentation.id_maps import MAX_PIXELS, Name, settle
from ovseg3r_model.segmentation.json_files import name_of, read_json
from ovseg3r_model.segmentation.matching import first_few, match_names

LABELS = "labels.json"
MAX_ID = 2**24 - 1
# (colour type, bits) in a PNG's header. Others are refused: PIL would scale the grey values, or cut 16-bit RGB to 8.
_READABLE = {(0, 8), (0, 16), (2, 8), (3, 1), (3, 2), (3, 4), (3, 8)}
_Names = dict[int, Name]


class IdMapFolder:
    """The folder's labels, read once; PNGs are decoded when asked for. ``names``: the PNGs' file names, index = entry.

    Raises:
        InputError: at construction, when there are no PNGs, or the labels are missing or wrong.
    """

    def __init__(self, folder: Path) -> None:
        self._files = id_map_files(folder)
        self._labels = folder / LABELS
        self.names = tuple(file.name for file in self._files)
        self._names_of, self.notes = self._read_labels()

    def check(self, entry: int, size: tuple[int, int]) -> int:
        """The number of instances of one entry, after checking that it fits a picture of ``size`` (width, height).

        Raises:
            InputError: another size, not an id map, or an id that has no label.
        """
        return len(np.setdiff1d(self._checked(entry, size), [0]))

    def read(self, entry: int, size: tuple[int, int], min_area: int) -> ViewMasks:
        """The masks of one entry; ids in the order of the PNG's.

        Raises:
            InputError: as in ``check``.
        """
        return settle(self._checked(entry, size), self._names_of[entry], min_area)

    def _checked(self, entry: int, size: tuple[int, int]) -> NDArray[Any]:
        ids = read_id_map(self._files[entry], size)
        for i in np.unique(ids):
            if i and int(i) not in self._names_of[entry]:
                raise InputError(f"{self._files[entry]}: id {i} has no label in {self._labels.name}.")
        return ids

    def _read_labels(self) -> tuple[tuple[_Names, ...], tuple[str, ...]]:
        """For each PNG the names of its ids."""
        document = read_json(self._labels)
        if not isinstance(document, dict):
            raise InputError(f"{self._labels} must be an object of labels by id, or of frames.")
        of_frame = {key: isinstance(value, dict) and "label" not in value for key, value in document.items()}
        if not any(of_frame.values()):
            return (self._names(document, ""),) * len(self._files), ()
        if not all(of_frame.values()):
            odd = next(key for key, is_frame in of_frame.items() if not is_frame)
            raise InputError(
                f'{self._labels} mixes labels by id and labels by frame: "{odd}" is not a frame with its labels.'
            )
        frames = tuple(document)
        match = match_names(self.names, frames, str(self._labels))
        names = {frame: self._names(labels, f", frame {frame}") for frame, labels in document.items()}
        unused = [frame for k, frame in enumerate(frames) if k not in match.entry]
        notes = (f"{self._labels} names frames without a PNG: {first_few(unused)}.",) if unused else ()
        return tuple({} if e is None else names[frames[e]] for e in match.entry), match.notes + notes

    def _names(self, labels: dict[str, Any], frame: str) -> _Names:
        names: _Names = {}
        for key, value in labels.items():
            where = f"{self._labels}{frame}, id {key}"
            number = int(key) if key.isascii() and key.isdigit() and len(key) < 16 else -1
            if not 1 <= number <= MAX_ID:
                raise InputError(f"{where}: an id must be a whole number from 1 to {MAX_ID} (0 is no instance).")
            if number in names:
                raise InputError(f"{where}: the id {number} is given twice.")
            if isinstance(value, dict):
                names[number] = name_of(value.get("label"), value.get("score", 1.0), where)
            else:
                names[number] = name_of(value, 1.0, where)
        return names


def id_map_files(folder: Path) -> tuple[Path, ...]:
    """The folder's PNGs by name.

    Raises:
        InputError: it cannot be listed, or has none, or no labels.json.
    """
    try:
        files = tuple(sorted(file for file in folder.iterdir() if file.suffix.lower() == ".png"))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from error
    if not files:
        raise InputError(f"{folder} holds no id-map PNGs; a COCO file is given by its own path, not its folder's.")
    if not (folder / LABELS).is_file():
        raise InputError(f"{folder} lacks {LABELS}, which says what the ids are called.")
    return files


def read_id_map(file: Path, size: tuple[int, int]) -> NDArray[Any]:
    """The ids (H,W), of some unsigned integer type, of a PNG that must have ``size`` (width, height).

    Raises:
        InputError: another size, another kind of picture, or a damaged file.
    """
    _check_header(file, size)
    try:
        with PngImageFile(file) as picture:
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{file} is damaged and cannot be decoded ({error}).") from error
    if pixels.ndim == 2:
        return pixels
    return pixels.astype(np.uint32) @ np.array([1, 2**8, 2**16], np.uint32)


def _check_header(file: Path, size: tuple[int, int]) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(26)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    if len(head) < 26 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise InputError(f"{file} is not a PNG.")
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if (width, height) != size:
        raise InputError(
            f"{file} is {width} x {height} pixels, but the frame {size[0]} x {size[1]}: masks must have the "
            f"size of their frames."
        )
    if width * height > MAX_PIXELS:
        raise InputError(f"{file}: {width} x {height} pixels are more than the 100 million that can be read.")
    bits, colour_type = head[24], head[25]
    if (colour_type, bits) not in _READABLE:
        raise InputError(
            f"{file} is not an id map: it must be grey of 8 or 16 bits, or RGB of 8 bits without transparency."
        )
