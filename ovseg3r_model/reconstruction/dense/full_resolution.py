"""A small depth map on the pixels of its picture. Apart from the rest, as it needs no torch."""

import cv2
import numpy as np

from ovseg3r_model.records import Float32

SAME_SURFACE = 0.02
"""Interpolated and nearest depth that differ more, relative, are of two surfaces."""


def full_resolution(depth: Float32, confidence: Float32, size: tuple[int, int]) -> tuple[Float32, Float32]:
    """A working-resolution map (h,w) on the pixels of the colour picture of ``size`` (width, height).

    Inverse depth, which is linear in the picture on every plane, is interpolated between the four nearest pixels
    where they lie on one surface; else the nearest pixel's depth is taken. Where the nearest has none there is none.
    """
    height, width = depth.shape
    if (width, height) == size:
        return depth, confidence
    nearest = _resized(depth, size, cv2.INTER_NEAREST)
    has = (depth > 0).astype(np.float32)
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    share = _resized(has, size, cv2.INTER_LINEAR)
    smooth = np.divide(share, _resized(inverse, size, cv2.INTER_LINEAR), out=np.zeros_like(nearest), where=share > 0)
    one_surface = np.abs(smooth - nearest) <= SAME_SURFACE * nearest
    out = np.where(one_surface, smooth, nearest) * (nearest > 0)
    return out.astype(np.float32), _resized(confidence, size, cv2.INTER_NEAREST)


def _resized(values: Float32, size: tuple[int, int], how: int) -> Float32:
    return np.asarray(cv2.resize(values, size, interpolation=how), np.float32)
