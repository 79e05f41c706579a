"""Scans as ScanNet publishes them, written from arrays or from a synthetic room."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovseg3r_model.rooms import Room
from ovseg3r_model.vocabulary import scannet200_classes

VERTEX = np.dtype([(c, "<f4") for c in "xyz"] + [(c, "u1") for c in ("red", "green", "blue", "alpha")])
FACE = np.dtype([("count", "u1"), ("vertex", "<i4", 3)])


@dataclass(frozen=True)
class Scan:
    """xyz (N,3), rgb (N,3), normal (N,3) of the surface, triangles (T,3), segment (N,); objects: (name, its segments)
    each; truth: (N,) the number of the object in ``objects``, from 1, 0 = none.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    normal: np.ndarray
    triangles: np.ndarray
    segment: np.ndarray
    objects: tuple[tuple[str, tuple[int, ...]], ...]
    truth: np.ndarray


def scan_of(room: Room, spacing: float = 0.15) -> Scan:
    """A small triangle in the surface at each place of ``Room.surface``; segments are the pieces of objects, wall and
    floor in cells of a metre, and numbered with gaps, as ScanNet's are.
    """
    place, normal, rgb, instance = room.surface(spacing)
    # two directions in each surface, of a right-handed frame with the normal
    first = np.cross(normal, np.where(np.abs(normal[:, 2:]) > 0.5, (1.0, 0, 0), (0, 0, 1.0)))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normal, first)
    corners = place[:, None] + 0.002 * np.stack([first, -0.5 * first + second, -0.5 * first - second], axis=1)
    cell = np.floor(place).astype(np.int64)
    _, piece = np.unique(np.column_stack([instance, cell]), axis=0, return_inverse=True)
    segment = np.repeat(piece * 7 + 3, 3)
    truth = np.repeat(instance, 3)
    objects = [(thing.name, tuple(np.unique(segment[truth == thing.id]).tolist())) for thing in room.instances]
    number = np.cumsum([0, *(bool(segments) for _, segments in objects)])
    number[1:][[not segments for _, segments in objects]] = 0
    return Scan(
        xyz=corners.reshape(-1, 3).astype(np.float32),
        rgb=np.repeat(rgb, 3, axis=0),
        normal=np.repeat(normal, 3, axis=0),
        triangles=np.arange(3 * len(place)).reshape(-1, 3),
        segment=segment,
        objects=tuple(pair for pair in objects if pair[1]),
        truth=number[truth],
    )


def two_cells() -> Scan:
    """Two squares side by side on the floor, a metre wide, each of four vertices and one segment, and a box that is
    made of the second.
    """
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    return Scan(
        xyz=np.concatenate([square, square + np.array([1, 0, 0])]).astype(np.float32),
        rgb=np.arange(24, dtype=np.uint8).reshape(8, 3) * 10,
        normal=np.tile((0.0, 0, 1), (8, 1)),
        triangles=np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]),
        segment=np.repeat([4, 9], 4),
        objects=(("box", (9,)),),
        truth=np.repeat([0, 1], 4),
    )


def write_mesh(path: Path, scan: Scan, ascii_form: bool = False) -> None:
    vertex = np.zeros(len(scan.xyz), VERTEX)
    for column, name in enumerate("xyz"):
        vertex[name] = scan.xyz[:, column]
    for column, name in enumerate(("red", "green", "blue")):
        vertex[name] = scan.rgb[:, column]
    vertex["alpha"] = 255
    face = np.zeros(len(scan.triangles), FACE)
    face["count"], face["vertex"] = 3, scan.triangles
    header = [
        "ply",
        f"format {'ascii' if ascii_form else 'binary_little_endian'} 1.0",
        f"element vertex {len(vertex)}",
        *(f"property {'float' if name in 'xyz' else 'uchar'} {name}" for name in VERTEX.names or ()),
        f"element face {len(face)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    body = vertex.tobytes() + face.tobytes()
    if ascii_form:
        rows = [" ".join(map(str, row)) for row in vertex.tolist()]
        rows += ["3 " + " ".join(map(str, row)) for row in scan.triangles.tolist()]
        body = ("\n".join(rows) + "\n").encode()
    path.write_bytes(("\n".join(header) + "\n").encode() + body)


def write_scan(folder: Path, scan: Scan, ascii_form: bool = False) -> Path:
    """The folder with the scan in it, named after the scene: the folder's own name."""
    folder.mkdir(parents=True)
    scene = folder.name
    write_mesh(folder / f"{scene}_vh_clean_2.ply", scan, ascii_form)
    write_json(folder / f"{scene}_vh_clean_2.0.010000.segs.json", {"segIndices": scan.segment.tolist()})
    groups = [
        {"id": k, "objectId": k, "segments": list(segments), "label": name}
        for k, (name, segments) in enumerate(scan.objects)
    ]
    write_json(folder / f"{scene}.aggregation.json", {"sceneId": scene, "segGroups": groups})
    return folder


def write_preprocessed(mesh: Path, scan: Scan) -> Path:
    """The mesh, with a file of the benchmark's ids beside it; objects must be named as ScanNet200's classes are."""
    mesh.parent.mkdir(parents=True, exist_ok=True)
    write_mesh(mesh, scan)
    number = {c.name: c.id for c in scannet200_classes()}
    ids = np.array([0, *(number[name] * 1000 + k for k, (name, _) in enumerate(scan.objects, 1))])
    mesh.with_suffix(".txt").write_text("".join(f"{i}\n" for i in ids[scan.truth]))
    return mesh


def write_class_table(path: Path, classes: dict[str, int]) -> None:
    """A table of the annotators' names as ScanNet has it, in part."""
    rows = ["id\traw_category\tcategory\tcount", *(f"{k}\t{name}\t{name}s\t1" for name, k in classes.items())]
    path.write_text("\n".join(rows) + "\n")


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))
