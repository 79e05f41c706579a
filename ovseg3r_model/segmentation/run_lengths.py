"""COCO's ways to write one mask, checked.

pycocotools trusts run lengths: a text that ends early leaves the rest of the mask to whatever was in memory. So they
are read here first, and handed on only when they cover the picture exactly.
"""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Int64

_MAX_DIGITS = 6  # of 5 bits each: more than any run that fits a picture needs


def run_lengths(segmentation: Any, size: tuple[int, int], where: str) -> dict[str, Any]:
    """One annotation's ``segmentation`` as pycocotools' compressed run lengths {size, counts: bytes}.

    It is a list of polygons [x0, y0, x1, y1, ...] of at least three points each, whose union is the mask, in COCO's
    pixel frame (a pixel covers [x, x + 1]); or run lengths {size: [height, width], counts}, down the columns, as a
    list or as COCO's compressed text. ``size`` is the picture's (width, height); ``where`` opens every message.

    Raises:
        InputError: it is neither, or does not fit the picture.
    """
    width, height = size
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if segmentation.get("size") != [height, width]:
            raise InputError(
                f"{where}: its run lengths are for size (height, width) {segmentation.get('size')}, but the "
                f"picture's is {[height, width]}."
            )
        return _from_counts(counts, size, where)
    if isinstance(segmentation, list) and segmentation and all(isinstance(polygon, list) for polygon in segmentation):
        for polygon in segmentation:
            _check_polygon(polygon, size, where)
        merged: dict[str, Any] = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        return merged
    raise InputError(f"{where}: its segmentation must be a list of polygons, or run lengths with size and counts.")


def _check_polygon(polygon: list[Any], size: tuple[int, int], where: str) -> None:
    if any(isinstance(c, bool) or not isinstance(c, int | float) for c in polygon):
        raise InputError(f"{where}: a polygon must be a list of numbers x0, y0, x1, y1, ...")
    if len(polygon) % 2 or len(polygon) < 6:
        raise InputError(f"{where}: a polygon has {len(polygon)} numbers; it needs x and y of at least three points.")
    # pycocotools walks along each side pixel by pixel: a far-off corner costs memory, and is a slip in any case
    for axis, extent in enumerate(size):
        if not all(-extent <= c <= 2 * extent for c in polygon[axis::2]):  # nan is none of these either
            raise InputError(f"{where}: a polygon lies far outside the picture of {size[0]} x {size[1]} pixels.")


def _from_counts(counts: Any, size: tuple[int, int], where: str) -> dict[str, Any]:
    width, height = size
    if isinstance(counts, str):
        runs = _decompressed(counts)
    elif isinstance(counts, list) and all(type(run) is int and 0 <= run <= width * height for run in counts):
        runs = np.array(counts, np.int64)
    else:
        runs = None
    if runs is None or (runs < 0).any():
        raise InputError(
            f"{where}: the counts of its run lengths are not a list of whole numbers up to the picture's size, "
            f"nor COCO's text."
        )
    if runs.sum() != width * height:
        raise InputError(
            f"{where}: its run lengths cover {runs.sum()} pixels, but the picture has {width} x {height} = "
            f"{width * height}."
        )
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts.encode("ascii")}
    packed: dict[str, Any] = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return packed


def _decompressed(text: str) -> Int64 | None:
    """The runs (R,) that COCO's compressed text stands for; None if it stands for none.

    Each number is written in digits of 5 bits, the lowest first, one character (48 + digit) each with bit 32 set when
    more follow; the last one's bit 16 is the sign. From the fourth run on, the difference to the run two before is
    written.
    """
    digits = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if not text.isascii() or not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        return None
    last = np.flatnonzero(~digits & 32)
    first = np.concatenate(([0], last[:-1] + 1))
    length = last - first + 1
    if length.max() > _MAX_DIGITS:
        return None
    place = np.arange(len(digits)) - np.repeat(first, length)
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= np.where(digits[last] & 16, np.int64(1) << (5 * length), 0)
    for chain in (values[1::2], values[2::2]):  # views: the sums land in values
        np.cumsum(chain, out=chain)
    return values
