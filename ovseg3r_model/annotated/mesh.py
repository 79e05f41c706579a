"""The points of a scan's mesh, from a PLY file."""

import re
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32, Float64, Int32, Points

MAX_VERTICES = 20_000_000

_HEADER_BYTES = 1 << 16
_ELEMENT = re.compile(rb"^element (vertex|face) (\d{1,19})\s*$", re.MULTILINE)
_PROPERTY = re.compile(rb"^property \w+ (\w+)\s*$", re.MULTILINE)
_LEAST_BYTES = {b"vertex": 12, b"face": 8}  # "0 0 0 0 0 0", "3 0 1 2" and a line's end; binary ones are longer
_NO_AREA = 1e-12  # square metres


def read_mesh(path: Path) -> Points:
    """The coloured vertices of a binary or ASCII PLY file as points of confidence 1; what else it holds is left.

    Normals are the mean of the adjoining faces', weighted by area, and point where the faces' winding says: in a scan,
    to the cameras. A vertex without faces takes its nearest neighbour's.

    Raises:
        InputError: the file cannot be read, is damaged, too large, or lacks colours or faces.
    """
    import open3d as o3d

    declared = _declared(path)
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        read = o3d.io.read_triangle_mesh(path)
    xyz, colors, triangles = (np.asarray(part) for part in (read.vertices, read.vertex_colors, read.triangles))
    # Open3D leaves zeros where a file ends too early; faces come last, so their number tells
    if len(xyz) != declared[b"vertex"] or len(triangles) < declared[b"face"]:
        raise InputError(
            f"{path}: the PLY file is damaged or cut off ({len(xyz)} of {declared[b'vertex']} vertices, "
            f"{len(triangles)} triangles of {declared[b'face']} faces could be read); copy it again."
        )
    if not np.isfinite(xyz).all():
        where = int(np.argmin(np.isfinite(xyz).all(axis=1)))
        raise InputError(f"{path}: the place of vertex {where} is not finite; copy the file again.")
    if triangles.min() < 0 or triangles.max() >= len(xyz):
        raise InputError(
            f"{path}: a face names vertex {triangles.max()}, but there are {len(xyz)}; copy the file again."
        )
    place = xyz.astype(np.float32)
    normal = vertex_normals(place, triangles)
    if normal is None:
        raise InputError(f"{path}: none of its faces has an area, so there are no normals; give the scan's mesh.")
    rgb = np.rint(colors * 255).astype(np.uint8)
    return Points(place, rgb, normal.astype(np.float16), np.ones(len(place), np.float16))


def vertex_normals(xyz: Float32, triangles: Int32) -> Float64 | None:
    """(N,3) float64 unit normals of vertices (N,3) from triangles (T,3), as in :func:`read_mesh`; None where no
    triangle has an area."""
    corners = xyz.astype(np.float64)[triangles]
    of_face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # twice the area long
    vertex, each = triangles.ravel(), np.repeat(of_face, 3, axis=0)
    total = np.stack([np.bincount(vertex, each[:, axis], minlength=len(xyz)) for axis in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1)
    good = length > _NO_AREA
    if not good.any():
        return None
    normal: Float64 = total / np.where(good, length, 1)[:, None]
    if not good.all():
        _, nearest = cKDTree(xyz[good]).query(xyz[~good])
        normal[~good] = normal[good][nearest]
    return normal


def _declared(path: Path) -> dict[bytes, int]:
    """How many vertices and faces the header promises."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check that it is a file you may read.") from error
    head, end, _ = header.partition(b"end_header")
    if not header.startswith(b"ply") or not end:
        raise InputError(f"{path}: is no PLY file; give the scan's mesh as PLY.")
    head = head.replace(b"\r\n", b"\n")
    found = {name: int(count) for name, count in _ELEMENT.findall(head)}
    for name, plural in ((b"vertex", "vertices"), (b"face", "faces")):
        if not found.get(name):
            raise InputError(f"{path}: has no {plural}; points and normals are taken from a mesh with faces.")
        if found[name] * _LEAST_BYTES[name] > size:
            raise InputError(
                f"{path}: the PLY file is cut off: {size} bytes cannot hold {found[name]} {plural}; copy it again."
            )
    if lacking := {b"red", b"green", b"blue"} - set(_PROPERTY.findall(head)):
        raise InputError(f"{path}: its vertices have no {min(lacking).decode()}; give the scan's coloured mesh.")
    if found[b"vertex"] > MAX_VERTICES:
        raise InputError(
            f"{path}: has {found[b'vertex']} vertices, more than {MAX_VERTICES}; give a decimated mesh, such as "
            "ScanNet's _vh_clean_2.ply."
        )
    return found
