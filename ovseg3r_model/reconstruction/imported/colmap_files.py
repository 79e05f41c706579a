"""Whether the binary files of a COLMAP model hold what they say: COLMAP's own reader trusts every count in them, and
takes all memory for a file that was cut off."""

import mmap
import struct
from collections.abc import Callable
from pathlib import Path

from ovseg3r_model.errors import InputError

# numbers of a camera by the model's id, from SIMPLE_PINHOLE (0) to EQUIRECTANGULAR (17)
_CAMERA_NUMBERS = (3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12, 16, 4, 5, 3, 4, 6, 2)
_COUNT, _U32, _I32, _BYTE = (struct.Struct(form) for form in ("<Q", "<I", "<i", "<B"))


class _EndsEarlyError(Exception):
    """Or no record can be where one should."""


class _Cursor:
    """A place in the bytes of a file that never goes past their end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def skip(self, count: int) -> None:
        if count > len(self._data) - self._at:
            raise _EndsEarlyError
        self._at += count

    def number(self, form: struct.Struct) -> int:
        start = self._at
        self.skip(form.size)
        return int(form.unpack_from(self._data, start)[0])

    def skip_name(self) -> None:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise _EndsEarlyError
        self._at = end + 1


def check_binaries(folder: Path) -> None:
    """Walks the records of every .bin of the model in ``folder``.

    Raises:
        InputError: one of them cannot be read, or ends before the records that it counts.
    """
    for name, skip_record in _RECORDS.items():
        file = folder / name
        if file.is_file():
            _check(file, skip_record)


def _check(file: Path, skip_record: Callable[[_Cursor], None]) -> None:
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data)
            for _ in range(cursor.number(_COUNT)):  # a record has a length: no count is larger than the file
                skip_record(cursor)
    except (_EndsEarlyError, ValueError) as error:  # ValueError: nothing can be mapped of an empty file
        raise InputError(
            f"{file}: is damaged or was cut off, for it ends before the records that it counts; copy it again, or "
            "export the model again."
        ) from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions.") from error


def _skip_camera(cursor: _Cursor) -> None:
    cursor.skip(4)
    model = cursor.number(_I32)
    if not 0 <= model < len(_CAMERA_NUMBERS):
        raise _EndsEarlyError
    cursor.skip(2 * 8 + 8 * _CAMERA_NUMBERS[model])


def _skip_image(cursor: _Cursor) -> None:
    cursor.skip(4 + 7 * 8 + 4)
    cursor.skip_name()
    cursor.skip(24 * cursor.number(_COUNT))


def _skip_point(cursor: _Cursor) -> None:
    cursor.skip(8 + 3 * 8 + 3 + 8)
    cursor.skip(8 * cursor.number(_COUNT))


def _skip_rig(cursor: _Cursor) -> None:
    cursor.skip(4)
    sensors = cursor.number(_U32)
    cursor.skip(8 if sensors else 0)  # the one that the others are posed by
    for _ in range(sensors - 1):
        cursor.skip(8)
        posed = cursor.number(_BYTE)
        cursor.skip(7 * 8 if posed else 0)


def _skip_frame(cursor: _Cursor) -> None:
    cursor.skip(4 + 4 + 7 * 8)
    cursor.skip(16 * cursor.number(_U32))


_RECORDS: dict[str, Callable[[_Cursor], None]] = {
    "cameras.bin": _skip_camera,
    "images.bin": _skip_image,
    "points3D.bin": _skip_point,
    "rigs.bin": _skip_rig,
    "frames.bin": _skip_frame,
}
