"""The camera that the tests of rooms look through, and what they make of its pictures."""

import cv2
import numpy as np

from ovseg3r_model.rooms import default_intrinsics

SIZE = (320, 240)
K = default_intrinsics(SIZE)


def to_world(depth: np.ndarray, pose: np.ndarray) -> np.ndarray:
    y, x = np.indices(depth.shape)
    camera = np.stack([(x - K[0, 2]) / K[0, 0] * depth, (y - K[1, 2]) / K[1, 1] * depth, depth], axis=-1)
    return camera.reshape(-1, 3).astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]


def away_from_borders(ids: np.ndarray) -> np.ndarray:
    """Pixels whose 5x5 neighbourhood has one id."""
    values = ids.astype(np.float32)
    box = np.ones((5, 5), np.uint8)
    return cv2.erode(values, box) == cv2.dilate(values, box)
