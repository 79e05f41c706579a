"""Choosing keyframes: an even stride, and near each step the sharpest frame."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import cv2
import numpy as np

from ovseg3r_model.records import Bool, Float64, Int64, Recording, UInt8
from ovseg3r_model.sources.pictures import ColorFiles
from ovseg3r_model.video import VideoFrames

# Sharpness is judged at this width: fine noise is gone, motion blur of a handheld camera is not.
_WIDTH = 320
# Frames to either side of a step at most: half a second finds a still moment, and longer recordings do not cost more.
_REACH = 15


def choose_keyframes(recording: Recording, max_views: int) -> Int64:
    """Indices (V,) int64 into ``recording``, strictly increasing, V = min(F, max_views).

    The recording is cut into V equal parts; of each part the sharpest frame (largest variance of the Laplacian of
    the grey picture at 320 pixels width) within 15 frames of its middle is taken, on a tie the one nearest to the
    middle. A video is decoded once. All frames, without decoding, when F <= max_views. Raises ValueError for
    max_views < 1, InputError for a picture that cannot be decoded.
    """
    count = len(recording)
    if max_views < 1:
        raise ValueError(f"max_views must be at least 1, not {max_views}")
    if count <= max_views:
        return np.arange(count, dtype=np.int64)
    bounds = np.arange(max_views + 1) * count // max_views
    windows = [_window(int(low), int(high)) for low, high in pairwise(bounds)]
    sharpness = _sharpness(recording, _members(windows, count))
    return np.array([_sharpest(window, sharpness) for window in windows], dtype=np.int64)


def _window(low: int, high: int) -> range:
    middle = (low + high - 1) // 2
    return range(max(low, middle - _REACH), min(high, middle + _REACH + 1))


def _members(windows: Iterable[range], count: int) -> Bool:
    wanted = np.zeros(count, dtype=np.bool_)
    for window in windows:
        wanted[window.start : window.stop] = True
    return wanted


def _sharpest(window: range, sharpness: Float64) -> int:
    middle = (window.start + window.stop - 1) // 2
    return min(window, key=lambda i: (-sharpness[i], abs(i - middle), i))


def _sharpness(recording: Recording, wanted: Bool) -> Float64:
    """(F,) float64; minus infinity for frames that are not wanted and for video frames that cannot be decoded."""
    values = np.full(len(wanted), -np.inf)
    for index, grey in _greys(recording, wanted):
        values[index] = _laplacian_variance(grey)
    return values


def _greys(recording: Recording, wanted: Bool) -> Iterator[tuple[int, UInt8]]:
    color = recording.color
    if isinstance(color, VideoFrames):
        yield from color.greys(_WIDTH, wanted)
        return
    for index in np.flatnonzero(wanted).tolist():
        yield (
            index,
            color.grey(index, _WIDTH)
            if isinstance(color, ColorFiles)
            else cv2.cvtColor(color[index], cv2.COLOR_RGB2GRAY),
        )


def _laplacian_variance(grey: UInt8) -> float:
    height, width = grey.shape
    if width > _WIDTH:
        grey = cv2.resize(grey, (_WIDTH, max(1, round(height * _WIDTH / width))), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())
