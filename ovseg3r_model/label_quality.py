"""Labels against ground truth: how good are superpoints and lifted annotations, independently of any network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.commonest import commonest
from ovseg3r_model.records import Correspondence, Float64, Int32, Int64, UInt32

AP_THRESHOLDS = np.arange(0.5, 0.95, 0.05)
"""The nine IoU thresholds of ScanNet's AP, METHOD 5."""

MIN_INSTANCE_POINTS = 100
"""Ground-truth instances with fewer points are none, METHOD 5."""


@dataclass(frozen=True)
class SuperpointQuality:
    """purity: share of points that carry their superpoint's commonest truth. boundary_recall: share of the neighbouring
    pairs of points with different truth that also have different superpoints. oracle_ap: see :func:`oracle_ap`, over
    all instances. oracle_ap_flat: over the flat ones.
    """

    superpoints: int
    purity: float
    boundary_recall: float
    oracle_ap: float
    oracle_ap_flat: float


def superpoint_quality(superpoint: Int32, truth: Int32, edges: Int32, flat_ids: Sequence[int]) -> SuperpointQuality:
    """Scores superpoints (N,) against true instance ids (N,), 0 = background; ``edges`` (E,2) are the neighbouring
    points.
    """
    table = _Overlap.of(superpoint, truth)
    boundary = truth[edges[:, 0]] != truth[edges[:, 1]]
    split = superpoint[edges[:, 0]] != superpoint[edges[:, 1]]
    flat = np.isin(table.truth_ids, np.asarray(flat_ids, np.int64))
    counted = (table.truth_ids > 0) & (table.truth_size >= MIN_INSTANCE_POINTS)
    iou = best_group_iou(superpoint, truth)
    return SuperpointQuality(
        superpoints=len(np.unique(superpoint)),
        purity=float(_largest_share(table) / len(superpoint)),
        boundary_recall=float((split & boundary).sum() / max(boundary.sum(), 1)),
        oracle_ap=oracle_ap(iou[counted]),
        oracle_ap_flat=oracle_ap(iou[counted & flat]),
    )


def oracle_ap(iou: Float64) -> float:
    """The best class-agnostic AP that any grouping of the superpoints could reach, from each instance's best IoU.

    A perfect ranking puts the matching groups first, so at each threshold the precision is 1 up to the recall: AP is
    the share of instances whose best group exceeds the threshold, averaged over :data:`AP_THRESHOLDS`. nan without
    instances.
    """
    if not len(iou):
        return float("nan")
    return float(np.mean([(iou > t).mean() for t in AP_THRESHOLDS]))


def best_group_iou(superpoint: Int32, truth: Int32) -> Float64:
    """For each true id (sorted, 0 included) the highest IoU that a union of superpoints reaches with it.

    With superpoint s holding a_s points of the instance and b_s others, the union that maximises (sum a) / (G + sum b)
    is a prefix of the superpoints sorted by a / b: the optimum of a linear-fractional 0-1 programme without
    constraints. Exact, not greedy.
    """
    table = _Overlap.of(superpoint, truth)
    inside = table.count.astype(np.float64)
    outside = table.superpoint_size[table.superpoint] - inside
    order = np.lexsort((-inside / (inside + outside), table.truth))
    of, inside, outside = table.truth[order], inside[order], outside[order]
    first = np.searchsorted(of, np.arange(len(table.truth_ids)))
    best = np.zeros(len(table.truth_ids))
    for g, (lo, hi) in enumerate(zip(first, [*first[1:], len(of)], strict=True)):
        best[g] = np.max(np.cumsum(inside[lo:hi]) / (table.truth_size[g] + np.cumsum(outside[lo:hi])))
    return best


@dataclass(frozen=True)
class LiftQuality:
    """How true the lifted annotation is, over all M observations.

    accuracy: share of labelled observations whose point belongs to the true instance that their 2D instance mostly
    covers.
    recall: share of the observations of true instances that are labelled and accurate.
    name_accuracy: share of labelled observations whose 2D instance carries a right name of the true instance under it.
    """

    accuracy: float
    recall: float
    name_accuracy: float


def lift_quality(
    correspondence: Correspondence,
    observation: UInt32,
    truth: Int32,
    instance_names: Sequence[str],
    true_names: dict[int, tuple[str, ...]],
) -> LiftQuality:
    """Scores the lifted annotation (M,) against true instance ids (N,) of the points.

    ``instance_names`` is the name of each 2D instance, id k + 1 at index k; ``true_names`` the names that are right for
    each true id.
    """
    true_of_observation = truth[correspondence.point()]
    labelled = observation > 0
    instance = observation[labelled].astype(np.int64) - 1
    true_label = true_of_observation[labelled]
    covers = commonest(instance, true_label, len(instance_names))
    right = (covers[instance] == true_label) & (true_label > 0)
    right_name = np.array(
        [name in true_names.get(int(t), ()) for name, t in zip(instance_names, covers, strict=True)], bool
    )
    on_objects = int((true_of_observation > 0).sum())
    return LiftQuality(
        accuracy=float(right.sum() / max(len(right), 1)),
        recall=float(right.sum() / max(on_objects, 1)),
        name_accuracy=float((right_name[instance] & right).sum() / max(len(right), 1)) if len(instance_names) else 0.0,
    )


def _largest_share(table: "_Overlap") -> int:
    largest = np.zeros(len(table.superpoint_ids), np.int64)
    np.maximum.at(largest, table.superpoint, table.count)
    return int(largest.sum())


@dataclass(frozen=True)
class _Overlap:
    """The sparse table of common points of superpoints and true instances: entry k says that
    superpoint_ids[superpoint[k]] and truth_ids[truth[k]] share count[k] points.
    """

    superpoint_ids: Int64
    superpoint_size: Int64
    truth_ids: Int64
    truth_size: Int64
    superpoint: Int64
    truth: Int64
    count: Int64

    @staticmethod
    def of(superpoint: NDArray[np.integer], truth: NDArray[np.integer]) -> "_Overlap":
        s_ids, s = np.unique(superpoint, return_inverse=True)
        t_ids, t = np.unique(truth, return_inverse=True)
        pairs, count = np.unique(s.astype(np.int64) * len(t_ids) + t, return_counts=True)
        return _Overlap(
            s_ids.astype(np.int64),
            np.bincount(s, minlength=len(s_ids)),
            t_ids.astype(np.int64),
            np.bincount(t, minlength=len(t_ids)),
            pairs // max(len(t_ids), 1),
            pairs % max(len(t_ids), 1),
            count,
        )
