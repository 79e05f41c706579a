"""Pictures made ready for matching: grey and small; a bounded number of them is kept."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np
import torch

from ovseg3r_model.records import Float32, Float64, Images, Views

KEPT = 48
"""Prepared pictures kept: 0.4 MB each at 320 x 240. Neighbours in time are each other's sources."""
COARSER = 2


@dataclass(frozen=True)
class Level:
    """One picture at one resolution: grey (h,w) float32, -0.5 to 0.5, and intrinsics (3,3) float64."""

    grey: torch.Tensor
    intrinsics: Float64


def working_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(width, height) for matching pictures of ``size``: the shorter side is at most ``short_side``, both even."""
    scale = min(1.0, short_side / min(size))
    width, height = (max(COARSER, COARSER * round(s * scale / COARSER)) for s in size)
    return width, height


def scaled_intrinsics(intrinsics: Float64, size: tuple[int, int], to: tuple[int, int]) -> Float64:
    """The camera (3,3) of a picture scaled from ``size`` to ``to``; pixel centres are integers in both."""
    factor = np.array([to[0] / size[0], to[1] / size[1]])
    out = intrinsics.copy()
    out[:2] *= factor[:, None]
    out[:2, 2] += 0.5 * factor - 0.5
    return out


class Pictures:
    """The views' pictures at working resolution and at half of it, made when asked for."""

    def __init__(self, color: Images, views: Views, short_side: int, device: torch.device) -> None:
        self._color, self._views, self._short, self._device = color, views, short_side, device
        self._kept: OrderedDict[int, tuple[Level, Level]] = OrderedDict()
        self._lock = Lock()

    def __getitem__(self, view: int) -> tuple[Level, Level]:
        """The picture of ``view`` at working resolution, and at half of it. Threads may ask together."""
        with self._lock:
            if view in self._kept:
                self._kept.move_to_end(view)
                return self._kept[view]
            levels = self._prepare(view)
            self._kept[view] = levels
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return levels

    def _prepare(self, view: int) -> tuple[Level, Level]:
        size = int(self._views.size[view, 0]), int(self._views.size[view, 1])
        fine = working_size(size, self._short)
        rgb = np.ascontiguousarray(self._color[view])
        grey: Float32 = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        if fine != size:
            grey = cv2.resize(grey, fine, interpolation=cv2.INTER_AREA)
        coarse = fine[0] // COARSER, fine[1] // COARSER
        half = cv2.resize(grey, coarse, interpolation=cv2.INTER_AREA)
        return (
            self._level(grey, scaled_intrinsics(self._views.intrinsics[view], size, fine)),
            self._level(half, scaled_intrinsics(self._views.intrinsics[view], size, coarse)),
        )

    def _level(self, grey: Float32, intrinsics: Float64) -> Level:
        tensor = torch.from_numpy(grey).to(self._device)
        return Level(tensor - 0.5, intrinsics)
