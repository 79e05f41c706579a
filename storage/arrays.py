"""How arrays lie on disk: chunks, shards and codec, in one place. Measured in docs/storage-format.md (``python -m
benchmarks.codecs``)."""

import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec

Kind = Literal["rows", "frames"]
CHUNK_ROWS = 262_144
_TOGETHER = 8  # arrays of one group
SHARD_BYTES = 32 * 2**20  # uncompressed; what one write holds in memory


def create_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: DTypeLike, kind: Kind = "rows"
) -> "zarr.Array[Any]":
    """An empty array (zeros) in ``group``; name may hold "/".

    rows: (N,...), chunks of at most ``CHUNK_ROWS`` rows: for points, observations, instances. frames: (V,H,W,...), a
    chunk is one frame; fill it with ``FrameWriter``. Both are put together to shards of at most ``SHARD_BYTES``, and
    no larger chunk is made of rows. Raises TypeError for anything but booleans and numbers.
    """
    kept = np.dtype(dtype)
    if kept.kind not in "biuf":
        raise TypeError(f"array {name!r}: {kept} is not stored, only booleans, integers and floats")
    chunks, shards = chunk_layout(shape, kept.itemsize, kind, CHUNK_ROWS, SHARD_BYTES)
    codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=kept.itemsize)
    return group.create_array(
        name, shape=shape, dtype=kept.newbyteorder("="), chunks=chunks, shards=shards, compressors=codec, fill_value=0
    )


def chunk_layout(
    shape: tuple[int, ...], itemsize: int, kind: Kind, chunk_rows: int, shard_bytes: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """(chunks, shards) as ``create_array`` describes them; no shards where one chunk is enough."""
    length, rest = shape[0], tuple(max(1, extent) for extent in shape[1:])
    row_bytes = itemsize * math.prod(rest)
    rows = 1 if kind == "frames" else max(1, min(chunk_rows, length, shard_bytes // row_bytes))
    chunk_bytes = rows * row_bytes
    together = min(max(1, shard_bytes // chunk_bytes), max(1, math.ceil(length / rows)))
    chunks = (rows, *rest)
    return chunks, (rows * together, *rest) if together > 1 else None


def write_array(group: zarr.Group, name: str, data: NDArray[Any], kind: Kind = "rows") -> "zarr.Array[Any]":
    """``create_array`` with the shape and dtype of ``data``, filled."""
    array = create_array(group, name, data.shape, data.dtype, kind)
    array[...] = data
    return array


def write_arrays(group: zarr.Group, arrays: Mapping[str, NDArray[Any]]) -> None:
    """``write_array`` of each, side by side: an object store takes its time over every one."""
    with ThreadPoolExecutor(_TOGETHER) as pool:
        list(pool.map(lambda item: write_array(group, *item), arrays.items()))


class FrameWriter:
    """Fills a "frames" array one frame after the other; a shard is written once, whole, and no more than one is held.

    As a context manager it checks at the end that every frame came; after an exception it writes nothing more.
    """

    def __init__(self, array: "zarr.Array[Any]") -> None:
        self._array = array
        frames = (array.shards or array.chunks)[0]
        self._buffer = np.empty((min(frames, max(1, array.shape[0])), *array.shape[1:]), dtype=array.dtype)
        self._held = 0
        self._written = 0

    def append(self, frame: NDArray[Any]) -> None:
        """The next frame, of exactly the array's frame shape and dtype. Raises ValueError otherwise, and beyond the
        last frame."""
        if frame.shape != self._buffer.shape[1:] or frame.dtype != self._buffer.dtype:
            wanted = f"{self._buffer.shape[1:]} {self._buffer.dtype}"
            raise ValueError(f"{self._array.path}: a frame is {wanted}, not {frame.shape} {frame.dtype}")
        if self._written + self._held == self._array.shape[0]:
            raise ValueError(f"{self._array.path}: more than its {self._array.shape[0]} frames")
        self._buffer[self._held] = frame
        self._held += 1
        if self._held == len(self._buffer):
            self._flush()

    def close(self) -> None:
        """Writes what is held. Raises ValueError when frames are missing."""
        self._flush()
        if self._written != self._array.shape[0]:
            raise ValueError(f"{self._array.path}: {self._written} of {self._array.shape[0]} frames were written")

    def _flush(self) -> None:
        if self._held:
            self._array[self._written : self._written + self._held] = self._buffer[: self._held]
            self._written += self._held
            self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


class StoredImages:
    """A stored (V,H,W,...) array as ``records.Images``: a frame is read when asked for."""

    def __init__(self, array: "zarr.Array[Any]") -> None:
        self.array = array

    def __len__(self) -> int:
        return self.array.shape[0]

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return np.asarray(self.array[index % len(self)])


def open_array(group: zarr.Group, name: str) -> "zarr.Array[Any]":
    """The array of that name. Raises KeyError where there is none, TypeError where it is a group."""
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise TypeError(f"{name} is a group, not an array")
    return found


def read_array(group: zarr.Group, name: str) -> NDArray[Any]:
    """The whole array of that name in memory."""
    return np.asarray(open_array(group, name)[...])


def read_arrays(group: zarr.Group, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Those of the arrays that there are, whole, in memory; read side by side."""

    def read(name: str) -> NDArray[Any] | None:
        try:
            return read_array(group, name)
        except KeyError:
            return None

    wanted = list(names)
    with ThreadPoolExecutor(_TOGETHER) as pool:
        found = zip(wanted, pool.map(read, wanted), strict=True)
        return {name: data for name, data in found if data is not None}
