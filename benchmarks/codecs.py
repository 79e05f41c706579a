"""Chunks, shards and codec of the stored scene: ``python -m benchmarks.codecs [folder]``. Figures stand in
docs/storage-format.md.

A seeded stand-in for a large scene (1M points, 10M observations, 100 id maps of 640x480; 246 MB) is written to a
local store and read back, whole and in small pieces. Each figure is the median of five runs; the files are in the
page cache when read.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from storage.arrays import SHARD_BYTES, Kind, chunk_layout, read_array
from storage.store import Store

POINTS, PER_POINT, VIEWS, WIDTH, HEIGHT = 1_000_000, 10, 100, 640, 480
RUNS = 5
PIECES = 20
Codec = tuple[str, int, str] | None  # blosc's compressor, level, shuffle


@dataclass(frozen=True)
class Layout:
    name: str
    codec: Codec = ("lz4", 5, "shuffle")
    chunk_rows: int = 65_536  # codecs are compared at one size, chunk sizes at one codec
    shard_bytes: int = SHARD_BYTES


LAYOUTS = (
    Layout("none", None),
    Layout("lz4-5, no shuffle", ("lz4", 5, "noshuffle")),
    Layout("lz4-5, shuffle"),
    Layout("lz4-5, bitshuffle", ("lz4", 5, "bitshuffle")),
    Layout("zstd-1, shuffle", ("zstd", 1, "shuffle")),
    Layout("zstd-5, shuffle", ("zstd", 5, "shuffle")),
    Layout("lz4-5, shuffle, chunks of 16k rows", chunk_rows=16_384),
    Layout("lz4-5, shuffle, chunks of 256k rows", chunk_rows=262_144),
    Layout("lz4-5, shuffle, no shards", shard_bytes=1),
)


def stand_in(seed: int = 0) -> dict[str, tuple[NDArray[Any], Kind]]:
    """Arrays as smooth as a real scene's: points in voxel order on walls, neighbours seen by the same views, ids in
    blobs."""
    rng = np.random.default_rng(seed)
    side = int(POINTS**0.5)
    grid = np.stack(np.divmod(np.arange(POINTS), side), axis=1).astype(np.float32) * 0.02
    xyz = np.concatenate([grid, np.zeros((POINTS, 1), np.float32)], axis=1)
    xyz += rng.normal(scale=0.003, size=xyz.shape).astype(np.float32)
    normal = np.tile(np.array([0, 0, 1], np.float32), (POINTS, 1)) + rng.normal(scale=0.05, size=xyz.shape)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rgb = 128 + 60 * np.sin(grid[:, :1] * [1, 2, 3]) + rng.normal(scale=4, size=xyz.shape)
    first = (grid[:, 0] / grid[:, 0].max() * (VIEWS - 2 * PER_POINT)).astype(np.int64)
    steps = rng.random((POINTS, 2 * PER_POINT)).argpartition(PER_POINT, axis=1)[:, :PER_POINT]
    view = (first[:, None] + np.sort(steps, axis=1)).ravel()
    of_point = np.repeat(np.arange(POINTS), PER_POINT)
    x = (grid[of_point, 1] * 25 + view * 3 + rng.integers(0, 2, len(view))) % WIDTH
    y = (grid[of_point, 0] * 25 + view + rng.integers(0, 2, len(view))) % HEIGHT
    pixel = np.stack([x, y], axis=1).astype(np.uint16)
    ids = np.stack([_blobs(rng, number) for number in range(VIEWS)])
    return {
        "points/xyz": (xyz, "rows"),
        "points/rgb": (rgb.clip(0, 255).astype(np.uint8), "rows"),
        "points/normal": (normal.astype(np.float16), "rows"),
        "points/confidence": (rng.uniform(0.3, 1, POINTS).astype(np.float16), "rows"),
        "correspondence/view": (view.astype(np.uint16), "rows"),
        "correspondence/pixel": (pixel, "rows"),
        "labels/observation": (ids[view, pixel[:, 1], pixel[:, 0]], "rows"),
        "masks/ids": (ids, "frames"),
    }


def _blobs(rng: np.random.Generator, view: int, count: int = 25) -> NDArray[np.uint32]:
    """(H,W): cells round random centres, ids of this view, every third cell unlabelled."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    nearest = np.full((HEIGHT, WIDTH), np.inf, np.float32)
    ids = np.zeros((HEIGHT, WIDTH), np.uint32)
    for number in range(count):
        distance = (x - rng.uniform(0, WIDTH)) ** 2 + (y - rng.uniform(0, HEIGHT)) ** 2
        closer = distance < nearest
        nearest[closer] = distance[closer]
        ids[closer] = 0 if number % 3 == 0 else view * count + number + 1
    return ids


def measure(layout: Layout, arrays: dict[str, tuple[NDArray[Any], Kind]], folder: Path) -> tuple[float, ...]:
    """Written and read MB/s, ratio, objects, seconds for a piece of rows and for a map: one run."""
    total = sum(data.nbytes for data, _ in arrays.values())
    store = Store.open(folder)
    writing = _seconds(partial(_write, store.create_group("g"), arrays, layout))
    group = store.open_group("g")
    reading = _seconds(partial(_read, group, arrays))
    rows = _seconds(partial(_pieces, group["labels/observation"], 4096)) / PIECES
    frames = _seconds(partial(_pieces, group["masks/ids"], 1)) / PIECES
    entries = store.list("g")
    size = sum(entry.size for entry in entries)
    store.delete_prefix("g")
    return total / writing / 1e6, total / reading / 1e6, total / size, len(entries), rows, frames


def table_row(layout: Layout, runs: list[tuple[float, ...]]) -> list[str]:
    """The medians as one row of the table."""
    write, read, ratio, objects, rows, frames = (median(column) for column in zip(*runs, strict=True))
    speeds = [f"{write:.0f}", f"{read:.0f}", f"{ratio:.2f}", f"{objects:.0f}"]
    return [layout.name, *speeds, f"{rows * 1e3:.1f}", f"{frames * 1e3:.1f}"]


def _write(group: zarr.Group, arrays: dict[str, tuple[NDArray[Any], Kind]], layout: Layout) -> None:
    for name, (data, kind) in arrays.items():
        chunks, shards = chunk_layout(data.shape, data.itemsize, kind, layout.chunk_rows, layout.shard_bytes)
        array = group.create_array(
            name, shape=data.shape, dtype=data.dtype, chunks=chunks, shards=shards, compressors=_codec(layout, data)
        )
        together = (shards or chunks)[0]
        for start in range(0, len(data), together):  # a shard at a time, as the stages do
            array[start : start + together] = data[start : start + together]


def _read(group: zarr.Group, names: Iterable[str]) -> None:
    for name in names:
        read_array(group, name)


def _codec(layout: Layout, data: NDArray[Any]) -> BloscCodec | None:
    if layout.codec is None:
        return None
    name, level, shuffle = layout.codec
    return BloscCodec(cname=name, clevel=level, shuffle=shuffle, typesize=data.itemsize)  # type: ignore[arg-type]


def _pieces(array: Any, length: int) -> None:
    for start in np.random.default_rng(0).integers(0, array.shape[0] - length, PIECES):
        array[start : start + length]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    arrays = stand_in()
    head = ["layout", "write MB/s", "read MB/s", "ratio", "objects", "4096 rows, ms", "one map, ms"]
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        measure(LAYOUTS[0], arrays, Path(folder))  # warms up
        # Layouts take turns, so that another program's load falls on all of them alike.
        runs = [[measure(layout, arrays, Path(folder)) for layout in LAYOUTS] for _ in range(RUNS)]
    rows = [table_row(layout, list(figures)) for layout, figures in zip(LAYOUTS, zip(*runs, strict=True), strict=True)]
    table = [head, ["---"] * len(head), *rows]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in table))


if __name__ == "__main__":
    main()
