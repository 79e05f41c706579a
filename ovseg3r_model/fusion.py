"""Pixels to points: fusion of depth maps on a voxel grid, with the correspondences (METHOD 1.1).

Two passes over the views. The first adds every pixel to its voxel; the second, when the fused points are known, keeps
for each point and view the pixel nearest to it. Only the voxels' sums and the observations (one per
point and view, part of the result) stay in memory, never the pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import pgeof
from numpy.typing import NDArray

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import (
    Correspondence,
    Float32,
    Float64,
    Int32,
    Int64,
    Points,
    UInt8,
    Views,
)

NORMAL_STEP = 4
"""Half the baseline of a pixel's normal in pixels; nearer pixels only where a depth map has holes or edges."""

NORMAL_SLOPE = 0.1
"""A step in depth over the baseline larger than this share of the depth is an edge, not a slope."""

NORMAL_NEIGHBOURS = 9
"""Points that a normal is the mean of, itself included."""

_BITS = 21  # per axis in a voxel key
_OFFSET = 1 << (_BITS - 1)


@dataclass(frozen=True)
class DepthView:
    """One view for fusion: rgb (H,W,3) uint8; depth (H,W) float32 z-depth of the same camera, 0 = none; confidence
    (H,W) float32 in (0, 1], the weight of each pixel.
    """

    rgb: UInt8
    depth: Float32
    confidence: Float32


def fuse(
    views: Views,
    read: Callable[[int], DepthView],
    voxel: float,
    min_views: int = 1,
    step: Callable[[], None] = lambda: None,
) -> tuple[Points, Correspondence]:
    """Fuses all views' pixels into one point per occupied voxel.

    A point is the confidence-weighted mean of the pixels in its voxel; its confidence is the pixels' mean confidence
    times n / (n + 1) for n views. Its normal is the mean of the depth maps' normals there and at its nearest points: a
    plane fit to the points would do worse, as noise makes a surface several voxels thick, while each depth map by
    itself is smooth. Points are in Morton order, so neighbours lie near in memory.

    Args:
        views: the V cameras.
        read: gives a view's pixels; called twice per view, in order.
        voxel: edge of the grid in the world's unit.
        min_views: points seen in fewer views are left out.
        step: called after each view of each pass (2 V times).

    Raises:
        InputError: no view has a pixel with depth, or the scene is too large for the voxel size.
    """
    grid = _Grid(voxel)
    for v in range(len(views)):
        pixels = read(v)
        grid.add(v, pixels, views.intrinsics[v], views.world_from_camera[v])
        step()
    if grid.count == 0:
        raise InputError(
            "No pixel of any keyframe has a usable depth, so there is nothing to reconstruct; check the depth files' "
            "unit and range."
        )
    order = grid.finish(min_views)
    if len(order) == 0:
        raise InputError(
            f"No point is seen in {min_views} keyframes or more, so nothing is left to reconstruct; take more "
            "keyframes of the place, or set reconstruct.min_views to 1."
        )
    observed: list[tuple[Int32, NDArray[np.uint32]]] = []
    for v in range(len(views)):
        observed.append(grid.nearest_pixels(read(v).depth, views.intrinsics[v], views.world_from_camera[v]))
        step()
    correspondence = _to_csr(observed, order, grid.count, views.size[:, 0])
    return grid.points(order), correspondence


class _Grid:
    """Growing sums per voxel behind an open-addressing hash table."""

    def __init__(self, voxel: float) -> None:
        self.voxel = voxel
        self.count = 0
        self.table = np.full(1 << 16, -1, np.int32)
        self.keys = np.empty(1 << 14, np.int64)
        # weight; weighted offset from the voxel's centre, colour, normal, direction to the camera (3 each); pixels
        self.sums = np.zeros((1 << 14, 14), np.float64)
        self.last_view = np.full(1 << 14, -1, np.int32)
        self.n_views = np.zeros(1 << 14, np.int32)
        self.xyz = np.empty((0, 3), np.float32)

    def add(self, view: int, pixels: DepthView, intrinsics: Float64, world_from_camera: Float64) -> None:
        normal = depth_normals(pixels.depth, intrinsics)
        y = 0
        while y < pixels.depth.shape[0]:
            self._reserve(pixels.depth.shape[1])
            y, self.count = _add_rows(
                y, view, pixels.depth, normal, pixels.rgb, pixels.confidence, intrinsics, world_from_camera, self.voxel,
                self.table, self.keys, self.sums, self.last_view, self.n_views, self.count,
            )  # fmt: skip
            if self.count < 0:
                raise InputError(
                    f"A point lies more than {_OFFSET * self.voxel:.0f} units from the origin: too far for a voxel of "
                    f"{self.voxel} units; check the poses' unit or choose a larger --voxel."
                )

    def _reserve(self, width: int) -> None:
        """Makes room for at least one more picture row of new voxels."""
        while self.count + width > len(self.keys):
            grown = 2 * len(self.keys)
            self.keys = np.resize(self.keys, grown)
            self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)])
            self.last_view = np.concatenate([self.last_view, np.full_like(self.last_view, -1)])
            self.n_views = np.concatenate([self.n_views, np.zeros_like(self.n_views)])
        if 4 * len(self.keys) > len(self.table):
            self.table = np.full(4 * len(self.keys), -1, np.int32)
            _rehash(self.table, self.keys, self.count)

    def finish(self, min_views: int) -> Int64:
        """Computes the fused positions; the voxels to keep, in Morton order."""
        n = self.count
        cell = _unpack(self.keys[:n])
        mean = self.sums[:n, 1:4] / self.sums[:n, :1]
        self.xyz = ((cell + 0.5) * self.voxel + mean).astype(np.float32)
        order = np.argsort(_morton(cell - cell.min(axis=0)), kind="stable")
        return order[self.n_views[order] >= min_views]

    def nearest_pixels(
        self, depth: Float32, intrinsics: Float64, world_from_camera: Float64
    ) -> tuple[Int32, NDArray[np.uint32]]:
        """For each voxel seen in this view the flat index of the pixel nearest its fused point."""
        return _nearest_pixels(depth, intrinsics, world_from_camera, self.voxel, self.table, self.keys, self.xyz)  # type: ignore[no-any-return]

    def points(self, order: Int64) -> Points:
        sums, xyz = self.sums[order], np.ascontiguousarray(self.xyz[order])
        weight, pixels, n_views = sums[:, 0], sums[:, 13], self.n_views[order]
        return Points(
            xyz=xyz,
            rgb=np.clip(np.rint(sums[:, 4:7] / weight[:, None]), 0, 255).astype(np.uint8),
            normal=_smooth_normals(xyz, sums[:, 7:10], sums[:, 10:13]).astype(np.float16),
            confidence=(weight / pixels * n_views / (n_views + 1)).astype(np.float16),
        )


def _smooth_normals(xyz: Float32, summed: Float64, towards: Float64) -> Float64:
    """(N,3) unit normals: the sum over each point's neighbours, without those on the other side of a thin board;
    towards the cameras where no depth map had a normal."""
    neighbours, _ = pgeof.knn_search(xyz, xyz, min(NORMAL_NEIGHBOURS, len(xyz)))
    beside = summed[neighbours]  # (N,k,3)
    same_side = np.einsum("nka,na->nk", beside, summed) >= 0
    normal: Float64 = np.einsum("nka,nk->na", beside, same_side.astype(np.float64))
    unknown = np.linalg.norm(normal, axis=1) < 1e-9
    normal[unknown] = towards[unknown]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return normal


@numba.njit(cache=True)
def depth_normals(depth, k):  # type: ignore[no-untyped-def]
    """(H,W,3) float32 unit normals of a depth map (H,W) in the camera's frame, towards the camera; zero where there is
    none.

    From the differences over ``NORMAL_STEP`` pixels to either side, or over fewer where those are not on the surface.
    """
    height, width = depth.shape
    out = np.zeros((height, width, 3), np.float32)
    for y in range(height):
        for x in range(width):
            z = depth[y, x]
            if not z > 0:
                continue
            step = NORMAL_STEP
            while step > 0:
                if step <= x < width - step and step <= y < height - step:
                    left, right, up, down = (
                        depth[y, x - step],
                        depth[y, x + step],
                        depth[y - step, x],
                        depth[y + step, x],
                    )
                    limit = NORMAL_SLOPE * z
                    if (
                        min(left, right, up, down) > 0
                        and max(abs(left - z), abs(right - z), abs(up - z), abs(down - z)) < limit
                    ):
                        ax = ((x + step - k[0, 2]) * right - (x - step - k[0, 2]) * left) / k[0, 0]
                        ay = (y - k[1, 2]) * (right - left) / k[1, 1]
                        az = right - left
                        bx = (x - k[0, 2]) * (down - up) / k[0, 0]
                        by = ((y + step - k[1, 2]) * down - (y - step - k[1, 2]) * up) / k[1, 1]
                        bz = down - up
                        # down x right: towards the camera
                        nx, ny, nz = by * az - bz * ay, bz * ax - bx * az, bx * ay - by * ax
                        length = np.sqrt(nx * nx + ny * ny + nz * nz)
                        if length > 0:
                            out[y, x, 0], out[y, x, 1], out[y, x, 2] = nx / length, ny / length, nz / length
                        break
                step //= 2
    return out


def _to_csr(
    observed: list[tuple[Int32, NDArray[np.uint32]]], order: Int64, voxels: int, width: Int64
) -> Correspondence:
    """Per-view (voxel, pixel) lists to CSR over the voxels in ``order``. Views come in order, so a counting sort keeps
    them increasing.
    """
    rank = np.full(voxels, -1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    indptr = np.zeros(len(order) + 1, np.int64)
    for seen, _ in observed:
        of = rank[seen]
        indptr[1:] += np.bincount(of[of >= 0], minlength=len(order))
    np.cumsum(indptr, out=indptr)
    cursor = indptr[:-1].copy()
    view = np.empty(indptr[-1], np.uint16)
    pixel = np.empty((indptr[-1], 2), np.uint16)
    for v, (seen, flat) in enumerate(observed):
        kept = rank[seen] >= 0
        of, at = rank[seen][kept], flat[kept]
        slot = cursor[of]
        cursor[of] += 1  # a voxel occurs once in a view
        view[slot] = v
        pixel[slot, 0] = at % width[v]
        pixel[slot, 1] = at // width[v]
    return Correspondence(indptr, view, pixel)


def _unpack(keys: Int64) -> Int64:
    """(n,3) voxel cells of packed keys."""
    mask = (1 << _BITS) - 1
    return np.stack([(keys >> (2 * _BITS)) & mask, (keys >> _BITS) & mask, keys & mask], axis=1) - _OFFSET


def _morton(cell: Int64) -> NDArray[np.uint64]:
    """(n,) Morton codes of non-negative cells below 2^21."""
    code = np.zeros(len(cell), np.uint64)
    for axis in range(3):
        x = cell[:, axis].astype(np.uint64)
        for shift, mask in (
            (32, 0x1F00000000FFFF),
            (16, 0x1F0000FF0000FF),
            (8, 0x100F00F00F00F00F),
            (4, 0x10C30C30C30C30C3),
            (2, 0x1249249249249249),
        ):
            x = (x | (x << np.uint64(shift))) & np.uint64(mask)
        code |= x << np.uint64(axis)
    return code


@numba.njit(cache=True, inline="always")
def _slot(key, table, keys):  # type: ignore[no-untyped-def]
    """Where ``key`` stands in the table, or the free slot where it belongs."""
    mask = len(table) - 1
    h = key * np.int64(-7046029254386353131)  # Fibonacci hashing
    slot = (h >> 33) & mask
    while table[slot] >= 0 and keys[table[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True)
def _rehash(table, keys, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        table[_slot(keys[i], table, keys)] = i


@numba.njit(cache=True, inline="always")
def _world(x, y, z, k, t):  # type: ignore[no-untyped-def]
    cx = (x - k[0, 2]) / k[0, 0] * z
    cy = (y - k[1, 2]) / k[1, 1] * z
    return (
        t[0, 0] * cx + t[0, 1] * cy + t[0, 2] * z + t[0, 3],
        t[1, 0] * cx + t[1, 1] * cy + t[1, 2] * z + t[1, 3],
        t[2, 0] * cx + t[2, 1] * cy + t[2, 2] * z + t[2, 3],
    )


@numba.njit(cache=True, inline="always")
def _pack(i, j, k):  # type: ignore[no-untyped-def]
    return ((np.int64(i) + _OFFSET) << (2 * _BITS)) | ((np.int64(j) + _OFFSET) << _BITS) | (np.int64(k) + _OFFSET)


@numba.njit(cache=True)
def _add_rows(first, view, depth, normal, rgb, confidence, k, t, voxel, table, keys, sums, last_view, n_views, count):  # type: ignore[no-untyped-def]
    """Adds picture rows from ``first`` on until the arrays may run out of room; returns the next row and the number of
    voxels (-1: a point out of the grid's range).
    """
    height, width = depth.shape
    for y in range(first, height):
        if count + width > len(keys):
            return y, count
        for x in range(width):
            z = depth[y, x]
            if not z > 0:
                continue
            wx, wy, wz = _world(x, y, z, k, t)
            i, j, m = np.floor(wx / voxel), np.floor(wy / voxel), np.floor(wz / voxel)
            if not (abs(i) < _OFFSET and abs(j) < _OFFSET and abs(m) < _OFFSET):
                return y, -1
            key = _pack(i, j, m)
            slot = _slot(key, table, keys)
            n = table[slot]
            if n < 0:
                n = count
                table[slot] = n
                keys[n] = key
                count += 1
            w = confidence[y, x]
            s = sums[n]
            s[0] += w
            s[1] += w * (wx - (i + 0.5) * voxel)
            s[2] += w * (wy - (j + 0.5) * voxel)
            s[3] += w * (wz - (m + 0.5) * voxel)
            s[4] += w * rgb[y, x, 0]
            s[5] += w * rgb[y, x, 1]
            s[6] += w * rgb[y, x, 2]
            for a in range(3):
                for c in range(3):
                    s[7 + a] += w * t[a, c] * normal[y, x, c]
            s[10] += w * (t[0, 3] - wx)
            s[11] += w * (t[1, 3] - wy)
            s[12] += w * (t[2, 3] - wz)
            s[13] += 1
            if last_view[n] != view:
                last_view[n] = view
                n_views[n] += 1
    return height, count


@numba.njit(cache=True)
def _nearest_pixels(depth, k, t, voxel, table, keys, xyz):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    best = np.full(len(xyz), np.inf, np.float32)
    pixel = np.empty(len(xyz), np.uint32)
    touched = np.empty(min(len(xyz), height * width), np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            z = depth[y, x]
            if not z > 0:
                continue
            wx, wy, wz = _world(x, y, z, k, t)
            n = table[_slot(_pack(np.floor(wx / voxel), np.floor(wy / voxel), np.floor(wz / voxel)), table, keys)]
            distance = (wx - xyz[n, 0]) ** 2 + (wy - xyz[n, 1]) ** 2 + (wz - xyz[n, 2]) ** 2
            if best[n] == np.inf:
                touched[count] = n
                count += 1
            if distance < best[n]:
                best[n] = distance
                pixel[n] = y * width + x
    voxels = touched[:count].copy()
    return voxels, pixel[voxels]
