"""How good a reconstruction is beside a reference: cameras, depth, confidence, and a picture of it. Pure functions."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Bool, Float32, Float64, UInt8

CONFIDENCE_BINS = 10

CLOSE = 0.05
"""A depth within this share of the reference is close to it."""

ACCURATE = 0.02
"""A depth within this share of the reference is right: what its confidence is the chance of."""


@dataclass(frozen=True)
class Similarity:
    """x' = scale * rotation (3,3) @ x + translation (3,)."""

    scale: float
    rotation: Float64
    translation: Float64

    def points(self, xyz: Float64) -> Float64:
        """(...,3) points carried over."""
        out: Float64 = self.scale * xyz @ self.rotation.T + self.translation
        return out

    def poses(self, world_from_camera: Float64) -> Float64:
        """(V,4,4) poses carried over; they stay rigid."""
        out = world_from_camera.copy()
        out[:, :3, :3] = self.rotation @ out[:, :3, :3]
        out[:, :3, 3] = self.points(out[:, :3, 3])
        return out


@dataclass(frozen=True)
class TrajectoryError:
    """ate_rmse, ate_max: camera positions after the best similarity, in the reference's unit; rotation_median:
    degrees; scale: reference unit per unit of the estimate.
    """

    ate_rmse: float
    ate_max: float
    rotation_median: float
    alignment: Similarity

    @property
    def scale(self) -> float:
        return self.alignment.scale


@dataclass(frozen=True)
class DepthError:
    """Over the pixels of all views. coverage: the share of the reference's pixels with an estimate; median_relative:
    |estimate - reference| / reference at the median; bias: (estimate - reference) / reference at the median, which a
    scale that is off leaves everywhere; close, accurate: the share of them within 5 %, within 2 %.
    calibration (10,4) float64: a row per tenth of confidence: mean confidence, share within 2 %, median relative error,
    pixels (nan where none).
    """

    coverage: float
    median_relative: float
    bias: float
    close: float
    accurate: float
    calibration: Float64


def align(source: Float64, target: Float64) -> Similarity:
    """The similarity that carries source (N,3) closest to target (N,3) in the least-squares sense (Umeyama 1991).

    Raises:
        InputError: fewer than three points, or they all coincide.
    """
    if len(source) < 3 or source.shape != target.shape:
        raise InputError(
            f"{len(source)} and {len(target)} cameras cannot be aligned; at least 3 keyframes have to be in both."
        )
    mean_s, mean_t = source.mean(axis=0), target.mean(axis=0)
    s, t = source - mean_s, target - mean_t
    variance = float((s**2).sum()) / len(s)
    if variance < 1e-18 or float((t**2).sum()) < 1e-18 * len(t):
        raise InputError("All camera positions coincide, so there is nothing to align; the camera has to move.")
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    rotation = (u * sign) @ vt
    scale = float((d * sign).sum()) / variance
    return Similarity(scale, rotation, mean_t - scale * rotation @ mean_s)


def judge_trajectory(estimate: Float64, reference: Float64) -> TrajectoryError:
    """Poses (V,4,4) world_from_camera of the same V keyframes. Rotations are compared after the alignment that the
    positions give; where these lie on a line, the alignment leaves a turn about it open and the rotations settle it.

    Raises:
        InputError: see :func:`align`.
    """
    alignment = align(estimate[:, :3, 3], reference[:, :3, 3])
    spread = np.linalg.svd(reference[:, :3, 3] - reference[:, :3, 3].mean(axis=0), compute_uv=False)
    if spread[1] < 1e-3 * spread[0]:
        alignment = align_cameras(estimate, reference)
    moved = alignment.poses(estimate)
    away = np.linalg.norm(moved[:, :3, 3] - reference[:, :3, 3], axis=1)
    angle = rotation_angle(moved[:, :3, :3], reference[:, :3, :3])
    return TrajectoryError(float(np.sqrt((away**2).mean())), float(away.max()), float(np.median(angle)), alignment)


def align_cameras(estimate: Float64, reference: Float64) -> Similarity:
    """The similarity between poses (V,4,4) whose rotation is that of the cameras, not of their positions: on a short
    walk a position's millimetre turns what is metres away by more than the cameras themselves are turned.

    Raises:
        InputError: see :func:`align`.
    """
    scale = align(estimate[:, :3, 3], reference[:, :3, 3]).scale
    u, _, vt = np.linalg.svd(np.einsum("vij,vkj->ik", reference[:, :3, :3], estimate[:, :3, :3]))
    rotation = (u * [1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    offset = reference[:, :3, 3].mean(axis=0) - scale * rotation @ estimate[:, :3, 3].mean(axis=0)
    return Similarity(scale, rotation, offset)


def rotation_angle(a: Float64, b: Float64) -> Float64:
    """(V,) degrees between rotations (V,3,3)."""
    # from sine and cosine: the arc cosine alone loses half the digits near zero
    difference = np.einsum("vij,vik->vjk", a, b)
    axis = np.stack([difference[:, i, j] - difference[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0))], axis=1)
    trace = np.trace(difference, axis1=1, axis2=2)
    out: Float64 = np.degrees(np.arctan2(np.linalg.norm(axis, axis=1), trace - 1))
    return out


def judge_depth(views: Iterable[tuple[Float32, Float32, Float32 | None]], scale: float = 1.0) -> DepthError:
    """Depth maps against a reference, one view in memory at a time.

    Args:
        views: per view the estimate (H,W), the reference (H,W), both z-depth with 0 where there is none, and the
            estimate's confidence (H,W) in (0, 1], or None.
        scale: the estimate is multiplied by it first (``TrajectoryError.scale`` where its unit is unknown).

    Raises:
        InputError: no reference pixel has a depth, or maps of one view differ in size.
    """
    wanted = covered = 0
    signed: list[Float32] = []
    confidence: list[Float32] = []
    for estimate, reference, sure in views:
        if estimate.shape != reference.shape:
            raise InputError(
                f"The estimated depth is {estimate.shape[1]}x{estimate.shape[0]} and the reference's "
                f"{reference.shape[1]}x{reference.shape[0]}; they have to be of one size."
            )
        known, both = reference > 0, (reference > 0) & (estimate > 0)
        wanted, covered = wanted + int(known.sum()), covered + int(both.sum())
        signed.append(((scale * estimate[both] - reference[both]) / reference[both]).astype(np.float32))
        confidence.append(np.full(len(signed[-1]), np.nan, np.float32) if sure is None else sure[both])
    if wanted == 0:
        raise InputError("The reference has no depth at any pixel of the shared keyframes, so depth cannot be judged.")
    off, sureness = np.concatenate(signed), np.concatenate(confidence)
    error = np.abs(off)
    return DepthError(
        coverage=covered / wanted,
        median_relative=float(np.median(error)) if covered else float("nan"),
        bias=float(np.median(off)) if covered else float("nan"),
        close=float((error <= CLOSE).mean()) if covered else float("nan"),
        accurate=float((error <= ACCURATE).mean()) if covered else float("nan"),
        calibration=calibration(error, sureness),
    )


def calibration(relative: Float32, confidence: Float32) -> Float64:
    """(10,4) float64 as in :class:`DepthError`, of pixels' relative errors (n,) and confidences (n,); nan confidences
    are in no row.
    """
    table = np.full((CONFIDENCE_BINS, 4), np.nan)
    table[:, 3] = 0
    usable = np.isfinite(confidence)
    relative, confidence = relative[usable], confidence[usable]
    row = np.clip((confidence * CONFIDENCE_BINS).astype(np.int64), 0, CONFIDENCE_BINS - 1)
    for k in range(CONFIDENCE_BINS):
        here = row == k
        if here.any():
            error = relative[here]
            table[k] = confidence[here].mean(dtype=np.float64), (error <= ACCURATE).mean(), np.median(error), len(error)
    return table


def calibration_error(table: Float64) -> float:
    """Mean distance of confidence from the share within 2 %, weighted by pixels; nan without any."""
    used = table[:, 3] > 0
    if not used.any():
        return float("nan")
    return float(np.average(np.abs(table[used, 0] - table[used, 1]), weights=table[used, 3]))


def picture(rgb: UInt8, reference: Float32, estimate: Float32, scale: float = 1.0) -> UInt8:
    """One view as people see it: colour | reference depth | estimate | relative error, (H, 4 W, 3) uint8.

    rgb (H,W,3); reference and estimate (H,W) with 0 = none, which is drawn grey. Both depths share one scale of
    colours; the error runs from black (0) to white (10 % and more).
    """
    known, seen = reference > 0, estimate > 0
    scaled = scale * estimate
    every = np.concatenate([reference[known], scaled[seen]])
    low, high = (float(v) for v in np.percentile(every, [2, 98])) if len(every) else (0.0, 1.0)
    span = max(high - low, 1e-9)
    error = np.zeros(reference.shape, np.float64)
    both = known & seen
    error[both] = np.abs(scaled[both] - reference[both]) / reference[both]
    return np.concatenate(
        [
            rgb,
            _colored((reference - low) / span, known, cv2.COLORMAP_TURBO),
            _colored((scaled - low) / span, seen, cv2.COLORMAP_TURBO),
            _colored(error / (2 * CLOSE), both, cv2.COLORMAP_HOT),
        ],
        axis=1,
    )


def _colored(value: Float64 | Float32, valid: Bool, palette: int) -> UInt8:
    level = np.rint(255 * np.clip(np.nan_to_num(value), 0, 1)).astype(np.uint8)
    out: UInt8 = np.ascontiguousarray(cv2.applyColorMap(level, palette)[..., ::-1])
    out[~valid] = 90
    return out
