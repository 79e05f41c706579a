"""Depth seen from the colour camera: one place where the two cameras meet."""

from dataclasses import replace

import numba
import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32, Float64, Recording
from ovseg3r_model.settings import Pinhole


def with_intrinsics(recording: Recording, color: Pinhole | None, depth: Pinhole | None) -> Recording:
    """The recording with the given cameras (fx, fy, cx, cy in pixels) instead of the source's own; None keeps the
    source's.

    Raises:
        InputError: a focal length is not positive, or a depth camera is given for a source without depth.
    """
    if depth is not None and recording.depth is None:
        raise InputError("--depth-intrinsics is given, but the source has no depth; leave it out.")
    if color is not None:
        recording = replace(recording, intrinsics=_tiled(color, len(recording)))
    if depth is not None:
        recording = replace(recording, depth_intrinsics=_tiled(depth, len(recording)))
    return recording


def _tiled(pinhole: Pinhole, count: int) -> Float64:
    """(F,3,3) of one camera."""
    fx, fy, cx, cy = pinhole
    if not (fx > 0 and fy > 0):
        raise InputError(f"Intrinsics {pinhole} are no camera: fx and fy must be positive; give fx,fy,cx,cy in pixels.")
    return np.tile(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64), (count, 1, 1))


def registered_depth(recording: Recording, view: int) -> Float32:
    """Depth of one frame on the colour camera's pixels.

    Returns (H,W) float32 z-depth in the colour camera, metres; 0 where nothing was measured. Where both cameras are
    one, this is the depth map itself; else every depth pixel is carried over and the nearest surface wins, so that what
    the colour camera cannot see is not there.

    Raises:
        InputError: the recording has no depth, or its depth map does not fit the frame.
    """
    if recording.depth is None or recording.depth_intrinsics is None or recording.intrinsics is None:
        raise InputError(
            f"The source (read as {recording.source_format}) lacks depth or the cameras' intrinsics; "
            "a posed RGB-D recording is needed here."
        )
    depth = np.ascontiguousarray(recording.depth[view], dtype=np.float32)
    return register(
        depth, recording.depth_intrinsics[view], recording.intrinsics[view], recording.color_from_depth, recording.size
    )


def register(
    depth: Float32,
    depth_intrinsics: Float64,
    color_intrinsics: Float64,
    color_from_depth: Float64 | None,
    size: tuple[int, int],
) -> Float32:
    """Carries a depth map (Hd,Wd) from its own camera to the colour camera's picture of ``size`` (width, height).

    See :func:`registered_depth`; ``color_from_depth`` (4,4) None means the identity.
    """
    width, height = size
    transform = np.eye(4) if color_from_depth is None else color_from_depth
    if (
        depth.shape == (height, width)
        and np.allclose(depth_intrinsics, color_intrinsics)
        and np.allclose(transform, np.eye(4))
    ):
        return depth
    # a depth pixel covers this many colour pixels, so that a coarser depth map leaves no holes
    footprint = max(1, int(np.ceil(color_intrinsics[0, 0] / depth_intrinsics[0, 0] - 1e-3)))
    out = np.zeros((height, width), np.float32)
    _splat(depth, depth_intrinsics, color_intrinsics, np.ascontiguousarray(transform, np.float64), footprint, out)
    return out


@numba.njit(cache=True)
def _splat(depth, k_depth, k_color, transform, footprint, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    half = (footprint - 1) / 2.0
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            z = depth[y, x]
            if not z > 0:
                continue
            px = (x - k_depth[0, 2]) / k_depth[0, 0] * z
            py = (y - k_depth[1, 2]) / k_depth[1, 1] * z
            qx = transform[0, 0] * px + transform[0, 1] * py + transform[0, 2] * z + transform[0, 3]
            qy = transform[1, 0] * px + transform[1, 1] * py + transform[1, 2] * z + transform[1, 3]
            qz = transform[2, 0] * px + transform[2, 1] * py + transform[2, 2] * z + transform[2, 3]
            if qz <= 0:
                continue
            u0 = int(np.floor(k_color[0, 0] * qx / qz + k_color[0, 2] - half + 0.5))
            v0 = int(np.floor(k_color[1, 1] * qy / qz + k_color[1, 2] - half + 0.5))
            for v in range(max(v0, 0), min(v0 + footprint, height)):
                for u in range(max(u0, 0), min(u0 + footprint, width)):
                    if out[v, u] == 0 or qz < out[v, u]:
                        out[v, u] = qz


def drop_depth_edges(depth: Float32, ratio: float) -> Float32:
    """The depth map (H,W) with 0 on both sides of every depth edge.

    Two neighbouring pixels are an edge when their depths differ by more than ``ratio`` of the nearer one *and* the step
    is not the slope that the surface has on both sides, as far as they are known: a slanted wall stays, a silhouette
    goes (sensors invent points between both surfaces).
    """
    out = depth.copy()
    _drop_edges(depth, ratio, out)
    return out


@numba.njit(cache=True)
def _drop_edges(depth, ratio, out):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for axis in range(2):
        dy, dx = (0, 1) if axis == 0 else (1, 0)
        for y in range(height - dy):
            for x in range(width - dx):
                a, b = depth[y, x], depth[y + dy, x + dx]
                if a <= 0 or b <= 0:
                    continue
                limit = ratio * min(a, b)
                step = b - a
                if abs(step) <= limit:
                    continue
                known, same = 0, 0
                if y >= dy and x >= dx and depth[y - dy, x - dx] > 0:
                    known += 1
                    same += abs(step - (a - depth[y - dy, x - dx])) <= limit
                if y + 2 * dy < height and x + 2 * dx < width and depth[y + 2 * dy, x + 2 * dx] > 0:
                    known += 1
                    same += abs(step - (depth[y + 2 * dy, x + 2 * dx] - b)) <= limit
                # both sides: a pixel halfway between two surfaces makes two equal steps too
                if known == 0 or same < known:
                    out[y, x] = 0
                    out[y + dy, x + dx] = 0
