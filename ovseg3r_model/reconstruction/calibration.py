"""Do colour and depth line up? Depth edges should lie on colour edges; where they do so only after scaling and
shifting, the calibration is off.

Recordings with unregistered depth are common (the 7-Scenes set is one), and they fail silently: every mask is lifted
onto its neighbour.
"""

from dataclasses import dataclass

import cv2
import numba
import numpy as np

from ovseg3r_model.reconstruction.registration import registered_depth
from ovseg3r_model.records import Float32, Float64, Recording

CHECKED_VIEWS = 24
EDGES_PER_VIEW = 1500
DEPTH_JUMP = 0.08
"""Share of the depth that makes a silhouette: large, so that only sharp occlusions vote."""

REPORTED_FROM_PX = 3.0
"""A smaller offset is within what this check can tell."""

_SCALES = np.linspace(0.84, 1.16, 33)
_SHIFTS = np.arange(-28.0, 28.1, 4.0)


@dataclass(frozen=True)
class Alignment:
    """offset_px: the largest distance, over the picture, between where a depth pixel is put and where colour shows it;
    0 where the given calibration explains the pictures as well as any other. notes: the warning, if there is one.
    """

    offset_px: float
    notes: tuple[str, ...]


def check_alignment(recording: Recording) -> Alignment:
    """Fits scale and shift between depth edges and colour edges over the recording and reports what does not agree with
    the calibration.
    """
    if recording.depth is None or recording.intrinsics is None:
        return Alignment(0.0, ())
    chosen = np.unique(np.linspace(0, len(recording) - 1, min(CHECKED_VIEWS, len(recording))).round().astype(int))
    evidence = [e for e in (_evidence(recording, int(v)) for v in chosen) if e is not None]
    if len(evidence) < 4:
        return Alignment(0.0, ())
    fitted, gain = _fit(evidence)
    offset = _largest_offset(fitted, recording.size)
    # the better fit must hold in most views by itself, else it is chance
    if offset < REPORTED_FROM_PX or np.mean(gain > 0.02) < 0.75:
        return Alignment(0.0, ())
    return Alignment(offset, (_advice(fitted, offset, recording),))


def _advice(fitted: Float64, offset: float, recording: Recording) -> str:
    assert recording.intrinsics is not None  # noqa: S101 - check_alignment() has looked
    k = recording.intrinsics[0]
    scale, dx, dy = fitted
    center = (np.array(recording.size) - 1) / 2
    fx, fy = scale * k[0, 0], scale * k[1, 1]
    cx, cy = center + scale * (k[:2, 2] - center) + (dx, dy)
    return (
        f"Colour and depth do not line up: depth edges lie up to {offset:.0f} px (at the picture's corner) from the "
        "colour edges they belong to, so masks and colours would land on neighbouring surfaces; the colour camera "
        f"behaves like "
        f"--color-intrinsics {fx:.1f},{fy:.1f},{cx:.1f},{cy:.1f}: check it, then run again with it."
    )


def _largest_offset(fitted: Float64, size: tuple[int, int]) -> float:
    scale, dx, dy = fitted
    half = (np.array(size) - 1) / 2
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * half
    return float(np.linalg.norm((scale - 1) * corners + (dx, dy), axis=1).max())


def _evidence(recording: Recording, view: int) -> tuple[Float32, Float32] | None:
    """Depth-edge pixels (E,2) and the colour edges' strength (H,W) of a view; None where it has too few edges to say
    anything.
    """
    depth = registered_depth(recording, view)
    edges = _silhouettes(depth, DEPTH_JUMP)
    if len(edges) < 200:
        return None
    if len(edges) > EDGES_PER_VIEW:
        edges = edges[np.linspace(0, len(edges) - 1, EDGES_PER_VIEW).astype(int)]
    gray = cv2.cvtColor(recording.color[view], cv2.COLOR_RGB2GRAY).astype(np.float32)
    gray = cv2.GaussianBlur(gray, (0, 0), 1.5)
    strength = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    # by rank and not by contrast: one bright window would outvote all else
    strength = np.minimum(strength / max(float(np.percentile(strength, 95)), 1e-6), 1)
    return edges, cv2.GaussianBlur(strength, (0, 0), 2.0)


@numba.njit(cache=True)
def _silhouettes(depth, jump):  # type: ignore[no-untyped-def]
    """(E,2) float32 x, y of near pixels beside a far one. Sensors leave a gap between both, hence the look a few pixels
    farther.
    """
    height, width = depth.shape
    found = np.empty((height * width, 2), np.float32)
    count = 0
    for y in range(4, height - 4):
        for x in range(4, width - 4):
            z = depth[y, x]
            if z <= 0:
                continue
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                if abs(depth[y - dy, x - dx] - z) > 0.02 * z:
                    continue  # not a surface on this side
                gap = 1
                while gap <= 4 and depth[y + gap * dy, x + gap * dx] <= 0:
                    gap += 1
                if gap <= 4 and depth[y + gap * dy, x + gap * dx] > (1 + jump) * z:
                    found[count, 0] = x + 0.5 * dx
                    found[count, 1] = y + 0.5 * dy
                    count += 1
                    break
    return found[:count].copy()


def _fit(evidence: list[tuple[Float32, Float32]]) -> tuple[Float64, Float64]:
    """The (scale, dx, dy) with the strongest colour edges under the depth edges, and by how much it beats the identity
    in each view.
    """
    best, width = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0])
    grid = [(s, x, y) for s in _SCALES for x in _SHIFTS for y in _SHIFTS]
    best = _argmax(evidence, np.array(grid), stride=4)
    width = np.array([_SCALES[1] - _SCALES[0], _SHIFTS[1] - _SHIFTS[0], _SHIFTS[1] - _SHIFTS[0]])
    for _ in range(4):
        steps = np.linspace(-1, 1, 5)
        grid = [(s, x, y) for s in steps for x in steps for y in steps]
        best = _argmax(evidence, best + np.array(grid) * width, stride=1)
        width = width / 2
    identity = np.array([[1.0, 0.0, 0.0]])
    gain = [_scores(e, s, best[None], 1)[0] / max(_scores(e, s, identity, 1)[0], 1e-6) - 1 for e, s in evidence]
    return best, np.array(gain)


def _argmax(evidence: list[tuple[Float32, Float32]], candidates: Float64, stride: int) -> Float64:
    total = np.sum([_scores(edges, strength, candidates, stride) for edges, strength in evidence], axis=0)
    best: Float64 = candidates[int(np.argmax(total))]
    return best


@numba.njit(cache=True)
def _scores(edges, strength, candidates, stride):  # type: ignore[no-untyped-def]
    """Mean edge strength under the moved depth edges, for each candidate (scale about the picture's centre, dx, dy)."""
    height, width = strength.shape
    mx, my = (width - 1) / 2, (height - 1) / 2
    out = np.zeros(len(candidates))
    for c in range(len(candidates)):
        total, count = 0.0, 0
        for e in range(0, len(edges), stride):
            x = int(mx + candidates[c, 0] * (edges[e, 0] - mx) + candidates[c, 1] + 0.5)
            y = int(my + candidates[c, 0] * (edges[e, 1] - my) + candidates[c, 2] + 0.5)
            if 0 <= x < width and 0 <= y < height:
                total += strength[y, x]
                count += 1
        # edges pushed out of the picture must not pay off
        if 2 * count * stride > len(edges):
            out[c] = total / count
    return out
