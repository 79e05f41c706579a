"""Scans in ScanNet's form, written from a room whose truth is known, and from a few vertices, and read again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovseg3r_model.annotated.mesh import read_mesh, vertex_normals
from ovseg3r_model.annotated.scannet200 import (
    AGGREGATION_ENDS,
    CLASS_TABLE,
    content_digest,
    find_scenes,
    locate,
    read_scene,
)
from ovseg3r_model.errors import InputError
from ovseg3r_model.records import LabelledScene
from ovseg3r_model.rooms import make_room
from ovseg3r_model.settings import SuperpointSettings
from ovseg3r_model.superpoints import geometry_superpoints
from ovseg3r_model.vocabulary import scannet200_classes
from tests.unit.scan_folders import (
    Scan,
    scan_of,
    two_cells,
    write_class_table,
    write_json,
    write_mesh,
    write_preprocessed,
    write_scan,
)

SETTINGS = SuperpointSettings()


def read(path: Path) -> LabelledScene:
    return read_scene(locate(path), SETTINGS)


@pytest.fixture(scope="module")
def scan() -> Scan:
    return scan_of(make_room(3))


def test_a_room_comes_back_as_it_was_written(scan: Scan, tmp_path: Path) -> None:
    scene = read(write_scan(tmp_path / "scene0000_00", scan))
    points = scene.reconstruction.points
    np.testing.assert_array_equal(points.xyz, scan.xyz)
    np.testing.assert_array_equal(points.rgb, scan.rgb)
    assert np.einsum("nk,nk->n", points.normal.astype(np.float64), scan.normal).min() > 0.999
    assert (points.confidence == 1).all()
    assert scene.truth is not None
    np.testing.assert_array_equal(scene.truth.instance, scan.truth)
    assert scene.truth.instance.dtype == np.int32
    assert scene.truth.names == tuple(name for name, _ in scan.objects)
    assert len(scene.truth.names) > 15
    same = np.unique(np.column_stack([scene.superpoint, scan.segment]), axis=0)
    assert len(same) == len(np.unique(scan.segment)) == scene.superpoint.max() + 1  # one to one
    assert (scene.annotation, len(scene.reconstruction.views), len(scene.mask_ids)) == ("scene", 0, 0)
    assert (scene.reconstruction.correspondence.indptr == 0).all()
    assert CLASS_TABLE in scene.reconstruction.notes[0]


def test_text_and_binary_meshes_are_the_same(tmp_path: Path) -> None:
    for name, ascii_form in (("a.ply", False), ("b.ply", True)):
        write_mesh(tmp_path / name, two_cells(), ascii_form)
    binary, text = read_mesh(tmp_path / "a.ply"), read_mesh(tmp_path / "b.ply")
    for part in ("xyz", "rgb", "normal", "confidence"):
        np.testing.assert_array_equal(getattr(binary, part), getattr(text, part))
    np.testing.assert_array_equal(text.rgb, two_cells().rgb)


def test_normals_are_weighted_by_area() -> None:
    """A vertex with a face of area 3/2 across z and one of 1/2 across x; another without faces, beside the last."""
    xyz = np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1.1]], np.float32)
    normal = vertex_normals(xyz, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    assert normal is not None
    np.testing.assert_allclose(normal[0], np.array([1, 0, 3]) / np.sqrt(10), atol=1e-12)
    np.testing.assert_allclose(normal[[1, 3, 4]], [[0, 0, 1], [1, 0, 0], [1, 0, 0]], atol=1e-12)


def test_the_class_table_gives_names_and_says_what_is_no_class(tmp_path: Path) -> None:
    scan = replace(two_cells(), objects=(("Sofa chairs", (4,)), ("thingamajig", (9,))))
    for place in ("scans", "."):
        base = tmp_path / place.strip(".") / "base"
        folder = write_scan(base / "scans" / "scene0000_00", scan)
        write_class_table(base / place / CLASS_TABLE, {"Sofa chairs": 6, "thingamajig": 1400, "wall": 1})
        scene = read(folder)
        assert scene.truth is not None
        assert scene.truth.names == ("couch",)
        np.testing.assert_array_equal(scene.truth.instance, np.repeat([1, 0], 4))
        assert scene.reconstruction.notes == (
            "1 of 2 objects are no instances: their names are of none of the 200 classes.",
        )


def test_the_later_object_has_what_several_claim_and_wall_and_floor_are_none(tmp_path: Path) -> None:
    claims = (("bed", (4,)), ("desk", (4, 9)), ("lamp", (4,)), ("floor", (9,)))
    scene = read(write_scan(tmp_path / "scene0000_00", replace(two_cells(), objects=claims)))
    assert scene.truth is not None
    assert scene.truth.names == ("lamp",)  # bed and desk have no vertex left
    np.testing.assert_array_equal(scene.truth.instance, np.repeat([1, 0], 4))


def test_the_preprocessed_form(scan: Scan, tmp_path: Path) -> None:
    known = {c.name for c in scannet200_classes() if c.split}
    objects = tuple((name if name in known else "chair", segments) for name, segments in scan.objects)
    scan = replace(scan, objects=objects)
    mesh = write_preprocessed(tmp_path / "scene0011_00.ply", scan)
    write_preprocessed(tmp_path / "scene0011_01.ply", scan)
    assert find_scenes(tmp_path) == [mesh, tmp_path / "scene0011_01.ply"]
    scene = read(mesh)
    assert scene.truth is not None
    # numbered by class first, so compared as partitions with names
    names = np.array(["", *scene.truth.names])[scene.truth.instance]
    np.testing.assert_array_equal(names, np.array(["", *(name for name, _ in objects)])[scan.truth])
    assert len(np.unique(np.column_stack([scene.truth.instance, scan.truth]), axis=0)) == len(objects) + 1
    np.testing.assert_array_equal(scene.superpoint, geometry_superpoints(scene.reconstruction.points, SETTINGS))


def test_ids_of_wall_floor_and_no_class_are_no_instances(tmp_path: Path) -> None:
    mesh = write_preprocessed(tmp_path / "a.ply", two_cells())
    mesh.with_suffix(".txt").write_text("1001 3002 0 7 2001 2001 2002 15000")
    scene = read(mesh)
    assert scene.truth is not None
    np.testing.assert_array_equal(scene.truth.instance, [0, 0, 0, 0, 1, 1, 2, 3])
    assert scene.truth.names == ("chair", "chair", "picture")


def test_scenes_are_found_in_folders_of_folders(tmp_path: Path) -> None:
    for name in ("scene0010_00", "scene0002_00"):
        write_scan(tmp_path / "scans" / name, two_cells())
    lost = write_scan(tmp_path / "scans" / "scene0003_00", two_cells())
    (lost / "scene0003_00_vh_clean_2.ply").unlink()
    (tmp_path / "scans" / "notes").mkdir()
    folder = tmp_path / "scans" / "scene0002_00"
    shutil.copy(folder / "scene0002_00_vh_clean_2.ply", folder / "scene0002_00_vh_clean.ply")  # ScanNet's full mesh
    found = find_scenes(tmp_path / "scans")
    assert [p.name for p in found] == ["scene0002_00", "scene0003_00", "scene0010_00"]
    assert find_scenes(found[0]) == [found[0]]
    assert locate(found[0]).mesh.name == "scene0002_00_vh_clean_2.ply"
    with pytest.raises(InputError, match="scene0003_00: has no meshes"):
        locate(found[1])
    with pytest.raises(InputError, match="holds no ScanNet200-style scene"):
        find_scenes(tmp_path / "scans" / "notes")
    with pytest.raises(InputError, match="does not exist"):
        find_scenes(tmp_path / "nothing")


def test_the_digest_is_of_contents_not_of_places(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "a" / "scene0000_00", two_cells())
    moved = Path(shutil.copytree(folder, tmp_path / "b" / "scene0000_00"))
    before = content_digest(locate(folder))
    assert content_digest(locate(moved)) == before
    write_class_table(tmp_path / "b" / CLASS_TABLE, {"box": 26})
    with_table = content_digest(locate(moved))
    write_class_table(tmp_path / "b" / CLASS_TABLE, {"box": 28})
    assert len({before, with_table, content_digest(locate(moved))}) == 3
    write_json(folder / "scene0000_00.aggregation.json", {"segGroups": [{"label": "bag", "segments": [9]}]})
    assert content_digest(locate(folder)) != before


MESH, SEGMENTS, OBJECTS = (
    f"scene0000_00{end}" for end in ("_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json", AGGREGATION_ENDS[0])
)


def _cut(count: int) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / MESH).read_bytes()
        (folder / MESH).write_bytes(data[:-count])

    return cut


def _replaced(old: bytes, new: bytes) -> Callable[[Path], None]:
    def replaced(folder: Path) -> None:
        data = (folder / MESH).read_bytes()
        assert old in data
        (folder / MESH).write_bytes(data.replace(old, new))

    return replaced


def _written(name: str, document: object) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / name, document)


def _mesh(**changes: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: write_mesh(folder / MESH, replace(two_cells(), **changes))


def _group(**values: object) -> Callable[[Path], None]:
    return _written(OBJECTS, {"segGroups": [{"label": "box", "segments": [9]} | values]})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_cut(8), "damaged or cut off"),
        (_cut(4 * 13 + 20), "damaged or cut off"),
        (_replaced(b"vertex 8", b"vertex 80000000000"), "cannot hold 80000000000 vertices"),
        (_replaced(b"face 4", b"face 99999"), "cannot hold 99999 faces"),
        (_replaced(b"face 4", b"face 0"), "has no faces"),
        (_replaced(b"end_header", b"end_haeder"), "is no PLY file"),
        (_replaced(b"uchar green", b"uchar verde"), "its vertices have no green"),
        (_mesh(triangles=np.array([[0, 1, 8]])), "names vertex 8, but there are 8"),
        (_mesh(triangles=np.array([[0, 0, 1]])), "none of its faces has an area"),
        (_mesh(xyz=np.where(np.arange(24).reshape(8, 3) == 7, np.nan, two_cells().xyz)), "vertex 2 is not finite"),
        (lambda folder: (folder / SEGMENTS).unlink(), "segs.json: is missing"),
        (lambda folder: (folder / OBJECTS).unlink(), "no ground truth beside it"),
        (lambda folder: (folder / OBJECTS).write_text("{"), "not valid JSON"),
        (_written(SEGMENTS, {"segIndices": [4] * 7}), "segments of 7 vertices, the mesh has 8"),
        (_written(SEGMENTS, {"segIndices": [4] * 7 + [-1]}), "no segIndices"),
        (_written(SEGMENTS, [4] * 8), "no segIndices"),
        (_written(OBJECTS, {"objects": []}), "no segGroups"),
        (_group(segments=[9, 10]), "object 1 has segment 10, which no vertex is in"),
        (_group(segments=["9"]), "object 1 has no segments"),
        (_group(label=" "), "object 1: the label must be a non-empty text"),
        (_group(label="floor"), "no instance but wall and floor"),
        (lambda folder: (folder / CLASS_TABLE).write_text("id\tcategory\n1\twall\n"), "no columns raw_category and id"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scene0000_00", two_cells())
    assert read(folder).truth is not None
    change(folder)
    with pytest.raises(InputError, match=told) as error:
        read(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ("2001 " * 7, "ids of 7 vertices, the mesh has 8"),
        ("axisAlignment = 0.9 0.3 0 -2", "add the scan's .aggregation.json"),
        ("2001 " * 7 + "-1", "entry 8 is '-1'"),
        ("2001 " * 7 + "12001", "class 12 is none of ScanNet200's"),
    ],
)
def test_ids_that_do_not_fit_are_refused(ids: str, told: str, tmp_path: Path) -> None:
    mesh = write_preprocessed(tmp_path / "a.ply", two_cells())
    mesh.with_suffix(".txt").write_text(ids)
    with pytest.raises(InputError, match=told):
        read(mesh)


def test_an_aggregation_of_the_full_mesh_is_second_choice(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scene0000_00", two_cells())
    other = folder / "scene0000_00_vh_clean.aggregation.json"
    other.write_text(json.dumps({"segGroups": [{"label": "bag", "segments": [9]}]}))
    assert locate(folder).aggregation == folder / OBJECTS
    (folder / OBJECTS).unlink()
    scene = read(folder)
    assert scene.truth is not None
    assert scene.truth.names == ("bag",)
