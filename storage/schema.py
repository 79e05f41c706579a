"""The stored scene: every array's path, dtype and shape. Writing, validating and hashing all go by this table.

N points, M observations, V views, O 2D instances, H x W pixels; P and Q channels of the features of points and of
instances, of PC and QC before a reduction. Units and frames are those of
``ovseg3r_model.records``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ovseg3r_model.records import LabelledScene

SCHEMA_VERSION = 3
MASKS = "masks/ids"  # (V,H,W) uint32; the one array that is never in memory whole

# attributes that the scene itself gives; callers add others beside them
SCENE_ATTRIBUTES = (
    "annotation",
    "distortion",
    "feature_model",
    "labels",
    "notes",
    "quality",
    "scale_known",
    "scene_id",
    "digest",
    "schema_version",
    "truth_names",
    "units",
    "voxel_size",
    "world_frame",
)


@dataclass(frozen=True)
class ArraySpec:
    """path in the group, dtype, shape with letters for the lengths that arrays share, and where the scene keeps it;
    None there where the scene does without."""

    path: str
    dtype: str
    shape: tuple[int | str, ...]
    get: Callable[[LabelledScene], NDArray[Any] | None]


SCENE_ARRAYS = (
    ArraySpec("points/xyz", "float32", ("N", 3), lambda s: s.reconstruction.points.xyz),
    ArraySpec("points/rgb", "uint8", ("N", 3), lambda s: s.reconstruction.points.rgb),
    ArraySpec("points/normal", "float16", ("N", 3), lambda s: s.reconstruction.points.normal),
    ArraySpec("points/confidence", "float16", ("N",), lambda s: s.reconstruction.points.confidence),
    ArraySpec("correspondence/indptr", "int64", ("N+1",), lambda s: s.reconstruction.correspondence.indptr),
    ArraySpec("correspondence/view", "uint16", ("M",), lambda s: s.reconstruction.correspondence.view),
    ArraySpec("correspondence/pixel", "uint16", ("M", 2), lambda s: s.reconstruction.correspondence.pixel),
    ArraySpec("views/intrinsics", "float64", ("V", 3, 3), lambda s: s.reconstruction.views.intrinsics),
    ArraySpec("views/world_from_camera", "float64", ("V", 4, 4), lambda s: s.reconstruction.views.world_from_camera),
    ArraySpec("views/size", "int64", ("V", 2), lambda s: s.reconstruction.views.size),
    ArraySpec("views/frame", "int64", ("V",), lambda s: s.reconstruction.views.frame),
    ArraySpec("views/time", "float64", ("V",), lambda s: s.reconstruction.views.time),
    ArraySpec("instances/view", "uint16", ("O",), lambda s: s.instances.view),
    ArraySpec("instances/label", "int32", ("O",), lambda s: s.instances.label),
    ArraySpec("instances/score", "float32", ("O",), lambda s: s.instances.score),
    ArraySpec("instances/box", "uint16", ("O", 4), lambda s: s.instances.box),
    ArraySpec("instances/position", "float32", ("O", 3), lambda s: s.instances.position),
    ArraySpec("labels/observation", "uint32", ("M",), lambda s: s.observation),
    ArraySpec("superpoints/id", "int32", ("N",), lambda s: s.superpoint),
    ArraySpec("truth/instance", "int32", ("N",), lambda s: None if s.truth is None else s.truth.instance),
    ArraySpec("features/points", "float16", ("N", "P"), lambda s: _feature(s, "points")),
    ArraySpec("features/objects", "float16", ("O", "Q"), lambda s: _feature(s, "objects")),
    ArraySpec("features/points_mean", "float32", ("PC",), lambda s: _feature(s, "point_reduction", "mean")),
    ArraySpec("features/points_basis", "float32", ("PC", "P"), lambda s: _feature(s, "point_reduction", "basis")),
    ArraySpec("features/objects_mean", "float32", ("QC",), lambda s: _feature(s, "object_reduction", "mean")),
    ArraySpec("features/objects_basis", "float32", ("QC", "Q"), lambda s: _feature(s, "object_reduction", "basis")),
)


def arrays(scene: LabelledScene) -> Iterator[tuple[ArraySpec, NDArray[Any]]]:
    """The arrays that the scene has, in the order of the table."""
    for spec in SCENE_ARRAYS:
        data = spec.get(scene)
        if data is not None:
            yield spec, data


def _feature(scene: LabelledScene, *path: str) -> Any:
    """What lies at that path of the scene's features; None where something on the way is."""
    found: Any = scene.features
    for name in path:
        found = None if found is None else getattr(found, name)
    return found


def lengths(scene: LabelledScene) -> dict[str, int]:
    """What the letters of the shapes stand for in this scene."""
    points = len(scene.reconstruction.points)
    channels = {
        "P": (_feature(scene, "points"), 1),
        "Q": (_feature(scene, "objects"), 1),
        "PC": (_feature(scene, "point_reduction", "basis"), 0),
        "QC": (_feature(scene, "object_reduction", "basis"), 0),
    }
    return {
        "N": points,
        "N+1": points + 1,
        "M": len(scene.reconstruction.correspondence),
        "V": len(scene.reconstruction.views),
        "O": len(scene.instances),
        **{letter: array.shape[axis] for letter, (array, axis) in channels.items() if array is not None},
    }
