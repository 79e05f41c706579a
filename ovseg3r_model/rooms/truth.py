"""The truth that :func:`.write_room` leaves beside a room's recording, read again."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import UInt32
from ovseg3r_model.rooms.room import RoomInstance

INSTANCES, IDS = "truth.json", "truth_ids.npz"


@dataclass(frozen=True)
class RoomTruth:
    """A filmed room: its instances, by id from 1, and the shape (F,H,W) of its F frames' id maps."""

    folder: Path
    instances: tuple[RoomInstance, ...]
    shape: tuple[int, int, int]

    @contextmanager
    def maps(self) -> Iterator["TruthMaps"]:
        """The id maps, one in memory at a time."""
        with zipfile.ZipFile(self.folder / IDS) as archive, archive.open("ids.npy") as stream:
            np.lib.format.read_magic(stream)
            np.lib.format.read_array_header_1_0(stream)
            yield TruthMaps(stream, stream.tell(), self.shape)


class TruthMaps:
    """Id maps read from a stream; quick in the order of the frames, for what lies before is read again."""

    def __init__(self, stream: IO[bytes], start: int, shape: tuple[int, int, int]) -> None:
        self._stream, self._start, self._shape = stream, start, shape

    def __getitem__(self, frame: int) -> UInt32:
        """(H,W) uint32 true instance ids of a frame, 0 = none."""
        height, width = self._shape[1:]
        self._stream.seek(self._start + frame * height * width * 4)
        data = self._stream.read(height * width * 4)
        return np.frombuffer(data, "<u4").reshape(height, width).astype(np.uint32)


def read_truth(folder: Path) -> RoomTruth:
    """The truth in the folder that a room was written to.

    Raises:
        InputError: it is not there or not that.
    """
    try:
        document = json.loads((folder / INSTANCES).read_text(encoding="utf-8"))
        instances = tuple(
            RoomInstance(int(i["id"]), str(i["name"]), tuple(map(str, i["synonyms"])), bool(i["flat"]))
            for i in document["instances"]
        )
        with zipfile.ZipFile(folder / IDS) as archive, archive.open("ids.npy") as stream:
            np.lib.format.read_magic(stream)
            shape, fortran, kind = np.lib.format.read_array_header_1_0(stream)
        if (
            [i.id for i in instances] != list(range(1, len(instances) + 1))
            or len(shape) != 3
            or fortran
            or kind != "<u4"
        ):
            raise ValueError("not as written")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{folder}: holds no truth of a synthetic room ({INSTANCES} and {IDS}, as a room is written); the engine "
            "simulated is for such rooms alone."
        ) from error
    return RoomTruth(folder, instances, shape)
