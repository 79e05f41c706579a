"""What the network sees of a picture, and which of the picture's pixels that is."""

from dataclasses import dataclass

import cv2
import numpy as np

from ovseg3r_model.records import Float32, Float64, UInt8

PATCH = 16
"""The network takes pictures whose sides are multiples of it."""

SQUARE = 224
"""Weights for this size are trained on squares; those for other sizes on oblongs, 4:3 and longer."""


@dataclass(frozen=True)
class Crop:
    """The middle of a picture of ``size``, once that is resized to ``resized``; offset: the crop's first pixel in the
    resized picture; shape: the crop's size. All (width, height) or (x, y).
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    shape: tuple[int, int]

    def cut(self, rgb: UInt8) -> UInt8:
        """(h,w,3) uint8 of a picture (H,W,3)."""
        if self.resized != self.size:
            shrinks = self.resized[0] < self.size[0]
            rgb = np.asarray(
                cv2.resize(rgb, self.resized, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8
            )
        (x, y), (width, height) = self.offset, self.shape
        return np.ascontiguousarray(rgb[y : y + height, x : x + width])

    def pixels(self) -> Float64:
        """(h,w,2) float64: where the centres of the crop's pixels are in the picture, as (x, y)."""
        x, y = (
            (np.arange(n) + start + 0.5) * full / resized - 0.5
            for n, start, full, resized in zip(self.shape, self.offset, self.size, self.resized, strict=True)
        )
        return np.stack(np.meshgrid(x, y), axis=-1)

    def whole(self, values: Float32) -> Float32:
        """A map of the crop (h,w) on the whole resized picture, 0 outside of the crop."""
        out = np.zeros((self.resized[1], self.resized[0]), np.float32)
        (x, y), (width, height) = self.offset, self.shape
        out[y : y + height, x : x + width] = values
        return out


def crop_of(size: tuple[int, int], image_size: int) -> Crop:
    """What the network with pictures of ``image_size`` pixels sees of pictures of ``size`` (width, height).

    224: the shorter side becomes 224 and the middle square is seen. Else the longer side becomes ``image_size`` and
    both sides are cut to multiples of 16; of a square picture the middle 4:3, as in training there were no squares.
    """
    side = min(size) if image_size == SQUARE else max(size)
    resized = (max(PATCH, round(size[0] * image_size / side)), max(PATCH, round(size[1] * image_size / side)))
    if image_size == SQUARE:
        shape = (SQUARE, SQUARE)
    else:
        width, height = (n // PATCH * PATCH for n in resized)
        shape = (width, height if resized[0] != resized[1] else max(PATCH, 3 * width // 4 // PATCH * PATCH))
    offset = ((resized[0] - shape[0]) // 2, (resized[1] - shape[1]) // 2)
    return Crop(size, resized, offset, shape)
