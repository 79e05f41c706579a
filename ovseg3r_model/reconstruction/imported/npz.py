"""Arrays of an .npz that somebody else has written: what they are is known before any of their data is read."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.errors import InputError

# what zipfile and numpy raise on damaged files; RuntimeError: an encrypted one
_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
Shape = tuple[int, ...]


class NpzFile:
    """The arrays of the file ``path``; nothing is ever unpickled.

    Raises:
        InputError: at construction, when it is no .npz of arrays of numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._shapes = _shapes(path)
        except _DAMAGE as error:
            raise InputError(f"{path}: is no readable .npz; save it again with numpy.savez.") from error

    def shape(self, name: str) -> Shape | None:
        """The shape of an array, None where there is none of that name.

        Raises:
            InputError: it holds no numbers.
        """
        if name not in self._shapes:
            return None
        shape, kind = self._shapes[name]
        if kind not in "fiu":
            raise InputError(
                f"{self.path}: the array {name} holds no plain numbers (objects are not read); save it as float32."
            )
        return shape

    def require(self, name: str, *shapes: Shape) -> None:
        """Raises InputError unless there is an array ``name`` of one of ``shapes``."""
        found, wanted = self.shape(name), " or ".join(str(s) for s in shapes)
        if found is None:
            raise InputError(f"{self.path}: has no array {name}; add it, of shape {wanted}.")
        if found not in shapes:
            raise InputError(f"{self.path}: the array {name} has the shape {found}, not {wanted}; save it like that.")

    def read(self, name: str) -> NDArray[Any]:
        """The array, whose shape has been checked. Raises InputError when it cannot be read."""
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                values: NDArray[Any] = arrays[name]
                return values
        except _DAMAGE as error:
            raise InputError(f"{self.path}: the array {name} cannot be read; save the file again.") from error


def _shapes(path: Path) -> dict[str, tuple[Shape, str]]:
    """Shape and kind of each array, from the headers."""
    found: dict[str, tuple[Shape, str]] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(file)
                found[info.filename.removesuffix(".npy")] = (tuple(shape), dtype.kind)
    return found
