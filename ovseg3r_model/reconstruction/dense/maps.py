"""What goes into dense depth and where its maps are kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ovseg3r_model.records import Float32, Float64, Int64

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SparsePoints:
    """Sparse points of a structure-from-motion and who sees them.

    xyz (P,3) float64 in the world; the points of view v are ``point[indptr[v]:indptr[v + 1]]``, with indptr (V+1,) and
    point (M,) int64.
    """

    xyz: Float64
    indptr: Int64
    point: Int64

    def seen(self, view: int) -> Int64:
        """(n,) int64: the points that ``view`` sees."""
        return self.point[self.indptr[view] : self.indptr[view + 1]]


class DepthMaps(Protocol):
    """Where a view's depth map is kept: depth (h,w) float32 z-depth, 0 = none, and confidence (h,w) float32 in [0, 1].

    Both are of the working resolution (:func:`ovseg3r_model.reconstruction.dense.pictures.working_size`), with pixels
    of the colour picture's aspect.
    """

    def save(self, view: int, depth: Float32, confidence: Float32) -> None: ...

    def load(self, view: int) -> tuple[Float32, Float32]: ...


class MapStack:
    """Depth maps in memory, halved: what a :class:`ovseg3r_model.records.DenseDepth` holds."""

    def __init__(self, views: int, size: tuple[int, int]) -> None:
        """size: (width, height) of a map."""
        self.z = np.zeros((views, size[1], size[0]), np.float16)
        self.confidence = np.zeros_like(self.z)

    def save(self, view: int, depth: Float32, confidence: Float32) -> None:
        self.z[view], self.confidence[view] = depth, confidence

    def load(self, view: int) -> tuple[Float32, Float32]:
        return self.z[view].astype(np.float32), self.confidence[view].astype(np.float32)


class MapsOnDisk:
    """Depth maps in one raw file ``path``, which is made; 8 bytes a pixel and none of them held in memory."""

    def __init__(self, path: Path, views: int, size: tuple[int, int]) -> None:
        """size: (width, height) of a map."""
        self._path, self._shape = path, (2, size[1], size[0])
        with path.open("wb") as file:
            file.truncate(views * self._stride)

    @property
    def _stride(self) -> int:
        return int(np.prod(self._shape)) * 4

    def save(self, view: int, depth: Float32, confidence: Float32) -> None:
        with self._path.open("r+b") as file:
            file.seek(view * self._stride)
            file.write(np.stack([depth, confidence]).astype(np.float32).tobytes())

    def load(self, view: int) -> tuple[Float32, Float32]:
        values = np.fromfile(
            self._path, np.float32, count=int(np.prod(self._shape)), offset=view * self._stride
        ).reshape(self._shape)
        return values[0], values[1]
