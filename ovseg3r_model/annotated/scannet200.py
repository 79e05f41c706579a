"""Scenes in ScanNet's folders, with the classes of ScanNet200, as they are published or preprocessed for the benchmark.

Published, a folder each: ``<scene>_vh_clean_2.ply``, its over-segmentation ``<scene>_vh_clean_2.0.010000.segs.json``
and ``<scene>.aggregation.json``, which says what segments an object has and what it is called. Beside them or up to two
folders above, ``scannetv2-labels.combined.tsv`` makes ScanNet200 classes of the annotators' names; without it the names
stay as they are.

Preprocessed: a mesh, and ``<scene>.txt`` beside it, a line for each vertex: class * 1000 + number of the instance.
"""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ovseg3r_model.annotated.mesh import read_mesh
from ovseg3r_model.errors import InputError
from ovseg3r_model.evaluation import PER_LABEL
from ovseg3r_model.records import (
    Correspondence,
    Instances,
    Int32,
    Int64,
    LabelledScene,
    Points,
    Reconstruction,
    SceneTruth,
    Views,
)
from ovseg3r_model.segmentation.imported import file_digest
from ovseg3r_model.segmentation.json_files import name_of, read_json
from ovseg3r_model.settings import SuperpointSettings
from ovseg3r_model.sources.files import natural_key, read_text
from ovseg3r_model.superpoints import geometry_superpoints
from ovseg3r_model.vocabulary import scannet200_classes

MESH_END = "_vh_clean_2.ply"
SEGMENTS_END = "_vh_clean_2.0.010000.segs.json"
AGGREGATION_ENDS = (".aggregation.json", "_vh_clean.aggregation.json")
CLASS_TABLE = "scannetv2-labels.combined.tsv"
SPACING = 0.02
"""About what lies between neighbouring vertices of ScanNet's decimated meshes, metres."""

_LARGEST_ID = 10**9


@dataclass(frozen=True)
class SceneFiles:
    """Where a scene is. Either aggregation and segments are there, or ids are; class_table goes with the former."""

    scene: str
    mesh: Path
    aggregation: Path | None
    segments: Path | None
    ids: Path | None
    class_table: Path | None

    def used(self) -> dict[str, Path]:
        """By part: the files that are read."""
        parts = ("mesh", "aggregation", "segments", "ids", "class_table")
        return {name: path for name in parts if (path := getattr(self, name)) is not None}


def find_scenes(path: Path) -> list[Path]:
    """The scenes at ``path``, each as what :func:`locate` takes: a mesh file is one, and a folder is one, holds several
    meshes, or holds folders that are scenes.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: does not exist; check the path.")
    found = _scenes_in(path)
    if not found:
        folders = sorted((p for p in path.iterdir() if p.is_dir()), key=lambda p: natural_key(p.name))
        found = [scene for folder in folders for scene in _scenes_in(folder)]
    if not found:
        raise InputError(
            f"{path}: holds no ScanNet200-style scene (<scene>{MESH_END} with <scene>.aggregation.json and "
            f"<scene>{SEGMENTS_END}, or a mesh with <scene>.txt), neither itself nor in its folders."
        )
    return found


def locate(path: Path) -> SceneFiles:
    """The files of one scene, a folder or a mesh.

    Raises:
        InputError: one of them is missing.
    """
    meshes = [path] if path.is_file() else _meshes(path)
    if len(meshes) != 1:
        raise InputError(f"{path}: has {len(meshes) or 'no'} meshes (<scene>{MESH_END}); a scene has one.")
    mesh = meshes[0]
    scene = scene_of(mesh)
    aggregation = next((p for end in AGGREGATION_ENDS if (p := mesh.with_name(scene + end)).is_file()), None)
    segments, ids = mesh.with_name(scene + SEGMENTS_END), mesh.with_name(f"{scene}.txt")
    if aggregation is None and not ids.is_file():
        raise InputError(
            f"{mesh}: has no ground truth beside it; add {scene}.aggregation.json and {segments.name}, or {ids.name}."
        )
    if aggregation is not None and not segments.is_file():
        raise InputError(f"{segments}: is missing although {aggregation.name} is there; add it.")
    folders = (mesh.parent, *mesh.absolute().parents[1:3])
    tables = [p for folder in folders if (p := folder / CLASS_TABLE).is_file()]
    return SceneFiles(
        scene,
        mesh,
        aggregation,
        segments if segments.is_file() else None,
        None if aggregation is not None else ids,
        tables[0] if tables and aggregation is not None else None,
    )


def content_digest(files: SceneFiles) -> str:
    """sha256, in hex, over the content of the files; names and places do not count.

    Raises:
        InputError: one cannot be read.
    """
    parts = [f"{name} {file_digest(path)}\n" for name, path in files.used().items()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def read_scene(files: SceneFiles, settings: SuperpointSettings) -> LabelledScene:
    """The scene, annotated as a whole: without views, its points the N vertices, wall and floor no instances.

    Superpoints are the over-segmentation where there is one, else those of the geometry (``settings``). Where objects
    overlap the later one has the segment, as in the benchmark's preparation; objects whose name is of none of the 200
    classes are no instances there and here.

    Raises:
        InputError: a file cannot be read, or does not fit the others.
    """
    points = read_mesh(files.mesh)
    segment = None if files.segments is None else _read_segments(files.segments, len(points))
    notes: tuple[str, ...] = ()
    if files.ids is not None:
        truth = _read_ids(files.ids, len(points))
    elif segment is not None and files.aggregation is not None:
        truth, notes = _read_objects(files, files.aggregation, segment)
    else:
        raise ValueError(f"{files.scene}: neither ids nor an aggregation with its segments")
    if not truth.names:
        raise InputError(f"{files.mesh}: its ground truth has no instance but wall and floor; nothing can be learnt.")
    superpoint = geometry_superpoints(points, settings) if segment is None else _numbered(segment)
    return _without_views(points, superpoint, truth, notes)


def _scenes_in(folder: Path) -> list[Path]:
    meshes = _meshes(folder)
    if len(meshes) > 1:
        return meshes
    return [folder] if meshes or any(folder.glob(f"*{AGGREGATION_ENDS[0]}")) else []


def _meshes(folder: Path) -> list[Path]:
    """Those of the scans, and meshes with a file of ids beside them, once for each scene."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.ply"), key=lambda p: natural_key(p.name)):
        scene = scene_of(path)
        if path.name.endswith(MESH_END) or (scene not in found and path.with_name(f"{scene}.txt").is_file()):
            found[scene] = path
    return list(found.values())


def scene_of(mesh: Path) -> str:
    """The name of the scene that a mesh is of."""
    return mesh.name.removesuffix(MESH_END) if mesh.name.endswith(MESH_END) else mesh.stem


def _read_segments(path: Path, count: int) -> Int64:
    """(N,) int64 the segment of each vertex."""
    document = read_json(path)
    values = document.get("segIndices") if isinstance(document, dict) else None
    if not _are_ids(values):
        raise InputError(f"{path}: has no segIndices, a list of whole numbers from 0; take the scan's own file.")
    if len(values) != count:
        raise InputError(f"{path}: has segments of {len(values)} vertices, the mesh has {count}: of another mesh.")
    return np.array(values, np.int64)


def _read_objects(files: SceneFiles, aggregation: Path, segment: Int64) -> tuple[SceneTruth, tuple[str, ...]]:
    document = read_json(aggregation)
    groups = document.get("segGroups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        raise InputError(f"{aggregation}: has no segGroups, a list of objects; take the scan's own file.")
    classes = None if files.class_table is None else _read_class_table(files.class_table)
    segments, of_vertex = np.unique(segment, return_inverse=True)
    owner = np.zeros(len(segments), np.int64)
    names: list[str] = []
    strangers = 0
    for number, group in enumerate(groups, 1):
        where = f"{aggregation}: object {number}"
        label, rows = _object(group, segments, where)
        name = label if classes is None else classes.get(label)
        strangers += name is None
        names.append(name or "")
        owner[rows] = number if name and name not in _BACKGROUND else 0
    return _compact(owner[of_vertex], names), _notes(strangers, len(groups), files)


def _object(group: Any, segments: Int64, where: str) -> tuple[str, Int64]:
    """The name of an object, and its segments as indices into ``segments`` (S,), which increase."""
    if not isinstance(group, dict) or not _are_ids(group.get("segments")):
        raise InputError(f"{where} has no segments, a list of whole numbers; take the scan's own file.")
    named = np.array(group["segments"], np.int64)
    rows = np.minimum(np.searchsorted(segments, named), len(segments) - 1)
    unknown = named[segments[rows] != named]
    if len(unknown):
        raise InputError(
            f"{where} has segment {unknown[0]}, which no vertex is in: the aggregation is of another mesh, perhaps the "
            "full one; add <scene>.aggregation.json."
        )
    return name_of(group.get("label"), 1.0, where).label, rows


def _notes(strangers: int, total: int, files: SceneFiles) -> tuple[str, ...]:
    if files.class_table is None:
        return (f"There is no {CLASS_TABLE}: objects keep the names that the annotators gave them.",)
    if not strangers:
        return ()
    return (f"{strangers} of {total} objects are no instances: their names are of none of the 200 classes.",)


_BACKGROUND = tuple(c.name for c in scannet200_classes() if c.split is None)
"""Wall and floor."""


def _read_class_table(path: Path) -> Mapping[str, str]:
    """By the annotators' name: that of the ScanNet200 class, where it is of one."""
    names = {str(c.id): c.name for c in scannet200_classes()}
    rows = csv.DictReader(read_text(path).splitlines(), delimiter="\t")
    if not {"raw_category", "id"} <= set(rows.fieldnames or ()):
        raise InputError(f"{path}: has no columns raw_category and id; take the table that comes with ScanNet.")
    return {str(row["raw_category"]).strip(): names[row["id"]] for row in rows if row["id"] in names}


def _read_ids(path: Path, count: int) -> SceneTruth:
    names = {c.id: c.name for c in scannet200_classes()}
    lines = read_text(path).split()
    if not all(line.isdecimal() and len(line) < 10 for line in lines):
        wrong = next(k for k, line in enumerate(lines) if not (line.isdecimal() and len(line) < 10))
        raise InputError(
            f"{path}: entry {wrong + 1} is {lines[wrong][:20]!r} and no id, class * {PER_LABEL} + instance; where the "
            "file describes a scan, add the scan's .aggregation.json instead."
        )
    if len(lines) != count:
        raise InputError(f"{path}: has ids of {len(lines)} vertices, the mesh has {count}: of another mesh.")
    ids, instance = np.unique(np.array(lines, np.int64), return_inverse=True)
    label = ids // PER_LABEL
    unknown = [int(k) for k in label[label > 0] if int(k) not in names]
    if unknown:
        raise InputError(
            f"{path}: class {unknown[0]} is none of ScanNet200's; ids of the 20 classes of NYU40 cannot be imported."
        )
    of_id = [names.get(int(k), "") for k in label]
    thing = np.array([bool(name) and name not in _BACKGROUND for name in of_id])
    number = np.where(thing, np.arange(1, len(ids) + 1), 0)
    return _compact(number[instance], of_id)


def _compact(number: Int64, names: list[str]) -> SceneTruth:
    """The truth of objects (N,) that count from 1, 0 = none, without those that no point is left of."""
    used = np.unique(number[number > 0])
    new = np.zeros(len(names) + 1, np.int32)
    new[used] = np.arange(1, len(used) + 1)
    return SceneTruth(new[number], tuple(names[k - 1] for k in used))


def _are_ids(values: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(values, list)
        and bool(values)
        and all(type(v) is int and 0 <= v < _LARGEST_ID for v in values)  # no truth values
    )


def _numbered(segment: Int64) -> Int32:
    return np.unique(segment, return_inverse=True)[1].astype(np.int32)


def _without_views(points: Points, superpoint: Int32, truth: SceneTruth, notes: tuple[str, ...]) -> LabelledScene:
    views = Views(
        intrinsics=np.empty((0, 3, 3)),
        world_from_camera=np.empty((0, 4, 4)),
        size=np.empty((0, 2), np.int64),
        frame=np.empty(0, np.int64),
        time=np.empty(0),
    )
    nothing = Correspondence(np.zeros(len(points) + 1, np.int64), np.empty(0, np.uint16), np.empty((0, 2), np.uint16))
    return LabelledScene(
        reconstruction=Reconstruction(
            points=points,
            correspondence=nothing,
            views=views,
            scale_known=True,
            world_frame="the scan's own, z up",
            voxel_size=SPACING,
            quality={},
            notes=notes,
        ),
        mask_ids=(),
        instances=Instances(
            label_names=(),
            view=np.empty(0, np.uint16),
            label=np.empty(0, np.int32),
            score=np.empty(0, np.float32),
            box=np.empty((0, 4), np.uint16),
            position=np.empty((0, 3), np.float32),
        ),
        observation=np.empty(0, np.uint32),
        superpoint=superpoint,
        truth=truth,
        annotation="scene",
    )
