"""The nouns of the method. Every record is frozen; arrays are not copied and must not be written to.

Conventions, once for the whole project:

- Cameras are OpenCV's: x right, y down, z forward. ``world_from_camera`` takes camera coordinates to the world.
- A pixel is (x, y): column, then row. Integer coordinates are pixel *centres*; the image spans [-0.5, width - 0.5].
- Depth is z-depth, not ray length. Lengths are metres, or scene units where ``scale_known`` is false.
- Instance ids are unique over a scene and start at 1; 0 is "no instance".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
UInt32 = NDArray[np.uint32]
Bool = NDArray[np.bool_]


class Images(Protocol):
    """Pictures of one size, decoded when asked for. A zarr array of shape (F,H,W,...) is one, and so is a list of
    arrays.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Recording:
    """F frames of one source in time order; what the source knows of them, and nothing guessed.

    names: how the source calls each frame, without suffix ("frame-000005.color"); imported masks are matched by it.
    frame: (F,) int64, index of each frame in the whole source (keyframes are a subset of a source).
    time: (F,) float64, seconds from the first frame of the source; nan where the source has no clock.
    color: F pictures (H,W,3) uint8, RGB.
    intrinsics: (F,3,3) float64 of the colour camera, pixels; None where unknown.
    world_from_camera: (F,4,4) float64 of the colour camera; None where unknown.
    depth: F maps (Hd,Wd) float32, metres, 0 where there is no measurement; None for plain video.
    depth_intrinsics: (F,3,3) float64; given exactly when ``depth`` is.
    color_from_depth: (4,4) float64, colour-camera coordinates from depth-camera coordinates; the identity for
    registered depth.
    focal_guess: focal length in pixels that the pictures' EXIF states, where the cameras are unknown: rounded, and of
    the lens in general, so a value to start from; None where it states none.
    turned: whether EXIF had pictures turned or mirrored: other programs may read the files otherwise than ``color``.
    notes: what a user should know of how the source was read (frames left out, assumptions made), one sentence each.
    """

    source_format: str
    names: tuple[str, ...]
    frame: Int64
    time: Float64
    color: Images
    size: tuple[int, int]  # width, height of the colour pictures
    intrinsics: Float64 | None = None
    world_from_camera: Float64 | None = None
    depth: Images | None = None
    depth_size: tuple[int, int] | None = None
    depth_intrinsics: Float64 | None = None
    color_from_depth: Float64 | None = None
    focal_guess: float | None = None
    turned: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Views:
    """The cameras of V keyframes.

    intrinsics (V,3,3) float64, world_from_camera (V,4,4) float64, size (V,2) int64 as (width, height), frame (V,)
    int64: index in the source, time (V,) float64 seconds.
    """

    intrinsics: Float64
    world_from_camera: Float64
    size: Int64
    frame: Int64
    time: Float64

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Points:
    """N fused points: xyz (N,3) float32 in the world, rgb (N,3) uint8, normal (N,3) float16 unit and towards the
    cameras that saw the point, confidence (N,) float16 in (0, 1].
    """

    xyz: Float32
    rgb: UInt8
    normal: NDArray[np.float16]
    confidence: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True)
class Correspondence:
    """Which pixels saw which point (METHOD 1.1), as CSR: the M observations of point i are rows indptr[i]:indptr[i+1].

    indptr (N+1,) int64; view (M,) uint16, strictly increasing within a point; pixel (M,2) uint16 as (x, y).
    """

    indptr: Int64
    view: UInt16
    pixel: UInt16

    def __len__(self) -> int:
        return len(self.view)

    def point(self) -> Int64:
        """(M,) int64: the point of each observation."""
        return np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int64), np.diff(self.indptr))


@dataclass(frozen=True)
class Reconstruction:
    """What a reconstruction engine gives: points, who saw them, the cameras.

    keyframes: (V,) int64, which of the recording's keyframes the views are; None where they are all of them.
    distortion: k of the keyframes' radial lens distortion, which the views do not have (see ``lens.py``).
    world_frame: where the world's axes come from, in words. voxel_size: the fusion grid, same unit as xyz.
    depth: the dense depth that was fused, with its confidence; None where the source had it.
    quality: figures worth keeping, by name. notes: warnings for the user, one sentence each.
    """

    points: Points
    correspondence: Correspondence
    views: Views
    scale_known: bool
    world_frame: str
    voxel_size: float
    quality: dict[str, float]
    notes: tuple[str, ...] = ()
    keyframes: Int64 | None = None
    distortion: float = 0.0
    depth: "DenseDepth | None" = None


@dataclass(frozen=True)
class DenseDepth:
    """Estimated depth of V views, of a lower resolution (h,w) than the pictures but covering the same field of view.

    z (V,h,w) float16: z-depth in the world's unit, 0 = none. confidence (V,h,w) float16 in (0, 1] where there is depth:
    about the chance that the depth is within 2 % of the truth.
    """

    z: NDArray[np.float16]
    confidence: NDArray[np.float16]


@dataclass(frozen=True)
class ViewFeatures:
    """What a 2D model knows of one view beyond names (METHOD 1.2).

    image (h,w,C) float16: X, covering the picture at a lower resolution. scale: cells per pixel along x and y; pixel x
    is at cell (x + 0.5) * scale - 0.5, integers being centres of either. objects (K,D) float16: R, a row an instance.
    """

    image: Float16
    scale: tuple[float, float]
    objects: Float16


@dataclass(frozen=True)
class ViewMasks:
    """The 2D instances of one view: ids (H,W) uint32 with 0 = none and 1..K, labels K free texts, scores (K,) float32
    in [0, 1].

    Ids count within the view; the scene-unique ids are made when the views are put together. dropped: how many
    detections did not become instances, by reason. features: where they were asked for.
    """

    ids: UInt32
    labels: tuple[str, ...]
    scores: Float32
    dropped: Mapping[str, int] = field(default_factory=dict)
    features: ViewFeatures | None = None


@dataclass(frozen=True)
class Reduction:
    """A PCA: features (C,) less ``mean`` (C,) float32, times ``basis`` (C,size) float32 of orthonormal columns, gives
    the reduced ones; the other way gives back what was kept.
    """

    mean: Float32
    basis: Float32


@dataclass(frozen=True)
class SceneFeatures:
    """points (N,C) float16: the mean of the image features at the point's observations (METHOD 1.4). objects (O,D)
    float16: the instances' own. model: what made them, in words. point_reduction, object_reduction: given when they
    were reduced.
    """

    points: Float16
    objects: Float16
    model: str
    point_reduction: Reduction | None = None
    object_reduction: Reduction | None = None


@dataclass(frozen=True)
class Instances:
    """One row per 2D instance of the scene; row k is instance id k + 1.

    view (O,) uint16; label (O,) int32, index into ``label_names``; score (O,) float32; box (O,4) uint16 as x0, y0, x1,
    y1, all inside the mask; position (O,3) float32: mean of the points under the mask, nan where no point is.
    """

    label_names: tuple[str, ...]
    view: UInt16
    label: Int32
    score: Float32
    box: UInt16
    position: Float32

    def __len__(self) -> int:
        return len(self.view)


Annotation = Literal["views", "scene"]
"""What supervises a training: the view-wise annotation of the 2D instances, or the scene-level truth."""


@dataclass(frozen=True)
class SceneTruth:
    """The scene-level instances, where they are known: instance (N,) int32 is each point's, 1..K, 0 where there is
    none; names: the K instances' names.
    """

    instance: Int32
    names: tuple[str, ...]


@dataclass(frozen=True)
class LabelledScene:
    """A whole scene as published. ``mask_ids`` are V maps (H,W) uint32 of scene-unique ids; observation (M,) uint32 is
    the lifted view-wise annotation; superpoint (N,) int32 counts from 0 without gaps.

    annotation "scene": truth is what a person or a data set says the scene holds, and a training is supervised by it;
    such a scene may have no views at all. annotation "views": truth, where it is known, only judges.
    """

    reconstruction: Reconstruction
    mask_ids: Images
    instances: Instances
    observation: UInt32
    superpoint: Int32
    features: SceneFeatures | None = None
    truth: SceneTruth | None = None
    annotation: Annotation = "views"


def subset(recording: Recording, chosen: Sequence[int] | Int64) -> Recording:
    """The recording restricted to the frames ``chosen`` (increasing indices into it)."""
    index = np.asarray(chosen, dtype=np.int64)

    def take(values: Float64 | None) -> Float64 | None:
        return None if values is None else values[index]

    return Recording(
        source_format=recording.source_format,
        names=tuple(recording.names[i] for i in index),
        frame=recording.frame[index],
        time=recording.time[index],
        color=_Picked(recording.color, index),
        size=recording.size,
        intrinsics=take(recording.intrinsics),
        world_from_camera=take(recording.world_from_camera),
        depth=None if recording.depth is None else _Picked(recording.depth, index),
        depth_size=recording.depth_size,
        depth_intrinsics=take(recording.depth_intrinsics),
        color_from_depth=recording.color_from_depth,
        focal_guess=recording.focal_guess,
        turned=recording.turned,
        notes=recording.notes,
    )


def color_alone(recording: Recording) -> Recording:
    """The recording as plain video would be: without depth, poses and cameras."""
    return Recording(
        source_format=recording.source_format,
        names=recording.names,
        frame=recording.frame,
        time=recording.time,
        color=recording.color,
        size=recording.size,
        focal_guess=recording.focal_guess,
        turned=recording.turned,
    )


@dataclass(frozen=True)
class _Picked:
    images: Images
    index: Int64

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return self.images[int(self.index[index])]
