"""Radial lens distortion: pictures as a pinhole would have taken them."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.lifting import boxes
from ovseg3r_model.records import (
    Bool,
    Float32,
    Float64,
    Images,
    Instances,
    Int64,
    Reconstruction,
    UInt16,
    UInt32,
    Views,
)


def distort(pixel: Float64, intrinsics: Float64, k: float) -> Float64:
    """Where pixels (N,2) (x, y) of a rectified picture are in the recording's own; intrinsics (3,3)."""
    center, focal = intrinsics[:2, 2], np.array([intrinsics[0, 0], intrinsics[1, 1]])
    plane = (pixel - center) / focal
    out: Float64 = plane * (1 + k * (plane**2).sum(axis=-1, keepdims=True)) * focal + center
    return out


def undistort(pixel: Float64, intrinsics: Float64, k: float) -> Float64:
    """The inverse of :func:`distort`."""
    center, focal = intrinsics[:2, 2], np.array([intrinsics[0, 0], intrinsics[1, 1]])
    seen = (pixel - center) / focal
    plane = seen.copy()
    for _ in range(20):  # a contraction for every lens that a room is filmed with
        plane = seen / (1 + k * (plane**2).sum(axis=-1, keepdims=True))
    out: Float64 = plane * focal + center
    return out


class RectifiedImages:
    """Pictures, or id maps, without their radial distortion, remapped when asked for.

    images: V pictures as taken by the lens. views: the pinholes. distortion: k, see :func:`distort`. ids: whether the
    pictures are id maps, which must not be interpolated.
    """

    def __init__(self, images: Images, views: Views, distortion: float, ids: bool = False) -> None:
        self._images, self._views, self._distortion, self._ids = images, views, distortion, ids
        self._key: bytes = b""
        self._maps: tuple[Float32, Float32] | None = None

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        map_x, map_y = self._map(index)
        image = np.ascontiguousarray(self._images[index])
        if self._ids:  # OpenCV remaps no uint32
            height, width = image.shape
            x = np.clip(np.rint(map_x), 0, width - 1).astype(np.intp)
            y = np.clip(np.rint(map_y), 0, height - 1).astype(np.intp)
            picked: NDArray[Any] = image[y, x]
            return picked
        # beyond the picture its border is repeated: black there would be an edge to every matcher
        out: NDArray[Any] = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return out

    def _map(self, index: int) -> tuple[Float32, Float32]:
        k = self._views.intrinsics[index]
        if self._maps is None or self._key != k.tobytes():
            width, height = (int(v) for v in self._views.size[index])
            grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
            at = distort(grid.astype(np.float64), k, self._distortion).reshape(height, width, 2)
            self._key = k.tobytes()
            self._maps = (at[..., 0].astype(np.float32), at[..., 1].astype(np.float32))
        return self._maps


def pictures_of_views(color: Images, reconstruction: Reconstruction) -> Images:
    """The reconstruction's views among the keyframes' pictures ``color``, as its pinholes see them."""
    if reconstruction.keyframes is None:
        return color
    chosen = _Chosen(color, reconstruction.keyframes)
    if reconstruction.distortion == 0:
        return chosen
    return RectifiedImages(chosen, reconstruction.views, reconstruction.distortion)


def masks_of_views(mask_ids: Images, instances: Instances, reconstruction: Reconstruction) -> tuple[Images, Instances]:
    """The id maps and instances of the reconstruction's views among those of all keyframes, as its pinholes see them.

    Instances of keyframes without a camera are left out, and the others are numbered anew without gaps. ``mask_ids``:
    one map (H,W) uint32 per keyframe; positions are copied.
    """
    if reconstruction.keyframes is None:
        return mask_ids, instances
    kept = instances_of_views(instances.view, reconstruction)
    number = np.zeros(len(instances) + 1, np.uint32)
    number[1:][kept] = np.arange(1, kept.sum() + 1)
    images: Images = _Chosen(mask_ids, reconstruction.keyframes, number)
    table = replace(
        instances,
        view=np.searchsorted(reconstruction.keyframes, instances.view[kept]).astype(np.uint16),
        label=instances.label[kept],
        score=instances.score[kept],
        box=instances.box[kept],
        position=instances.position[kept],
    )
    if reconstruction.distortion != 0:
        images = RectifiedImages(images, reconstruction.views, reconstruction.distortion, ids=True)
        first = np.searchsorted(table.view, np.arange(len(images) + 1))
        found = [
            boxes(np.where(images[v] > 0, images[v] - np.uint32(first[v]), 0), int(first[v + 1] - first[v]))
            for v in range(len(images))
        ]
        table = replace(table, box=np.concatenate(found))
    return images, table


def instances_of_views(view: UInt16, reconstruction: Reconstruction) -> Bool:
    """(O,) bool: which instances, by their keyframe (O,), are in one of the reconstruction's views."""
    if reconstruction.keyframes is None:
        return np.ones(len(view), np.bool_)
    return np.isin(view, reconstruction.keyframes)


@dataclass(frozen=True)
class _Chosen:
    """Some of the pictures; id maps with their ids replaced by ``number`` of them."""

    images: Images
    index: Int64
    number: UInt32 | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        image = self.images[int(self.index[index])]
        return image if self.number is None else np.asarray(self.number[image])
