"""The stored scene: every array's path, dtype and shape. Writing, validating and hashing all go by this table.

N points, M observations, V views, O 2D instances, H x W pixels. Units and frames are those of
``ovseg3r_model.records``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ovseg3r_model.records import LabelledScene

SCHEMA_VERSION = 2
MASKS = "masks/ids"  # (V,H,W) uint32; the one array that is never in memory whole

# attributes that the scene itself gives; callers add others beside them
SCENE_ATTRIBUTES = (
    "distortion",
    "labels",
    "notes",
    "quality",
    "scale_known",
    "scene_id",
    "digest",
    "schema_version",
    "units",
    "voxel_size",
    "world_frame",
)


@dataclass(frozen=True)
class ArraySpec:
    """path in the group, dtype, shape with letters for the lengths that arrays share, and where the scene keeps it."""

    path: str
    dtype: str
    shape: tuple[int | str, ...]
    get: Callable[[LabelledScene], NDArray[Any]]


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
)


def lengths(scene: LabelledScene) -> dict[str, int]:
    """What the letters of the shapes stand for in this scene."""
    points = len(scene.reconstruction.points)
    return {
        "N": points,
        "N+1": points + 1,
        "M": len(scene.reconstruction.correspondence),
        "V": len(scene.reconstruction.views),
        "O": len(scene.instances),
    }
