"""From the last layer's predictions to instances with names and scores (METHOD 2, inference)."""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from ovseg3r_model.network.inputs import SceneInput
from ovseg3r_model.network.segmenter import ScenePredictions
from ovseg3r_model.records import Bool, Int64
from ovseg3r_model.settings import Settings


class InferenceSettings(Settings):
    top: int = Field(600, ge=1, description="Most (query, name) pairs that are looked at, the surest.")
    min_score: float = Field(0.05, ge=0, lt=1, description="Less sure instances are left out.")
    min_points: int = Field(100, ge=1, description="Smaller instances are left out, points.")
    box_margin: float = Field(
        1.5, gt=0, description="Points farther out than the predicted box grown by this share of it are dropped."
    )
    gap: float | None = Field(
        0.25,
        gt=0,
        description="What is farther than this from all that hangs together with the query's superpoint is dropped, "
        "metres.",
    )


@dataclass(frozen=True)
class Found:
    """K instances by falling score: mask (K,N) bool, label (K,) int64 row of the text, score (K,) float32."""

    mask: Tensor
    label: Tensor
    score: Tensor


@torch.no_grad()
def instances(predicted: ScenePredictions, scene: SceneInput, settings: InferenceSettings, boxes: bool) -> Found:
    """The instances of one scene of N points, all of its S superpoints having been queries, on the CPU.

    Score: the class' probability times the mean of the mask's probabilities over the superpoints it takes. The surest
    pairs of a query and a name are thinned by matrix NMS among those of one name (SOLOv2, linear), so that the same
    thing found twice keeps one sure instance.

    Open in the paper: a mask is only ever corrected where a view shows it together with its query (METHOD 3), so what
    lies elsewhere and looks alike may be in it. Of a mask that falls into pieces, the query's own is kept.

    Args:
        boxes: whether the network's boxes were trained: points far from them are dropped.
    """
    last = predicted.layers[-1]
    probability = last.classes.float().softmax(dim=1)[:, :-1].cpu()  # (Q,T)
    inside = last.mask.float().sigmoid().cpu()
    taken = inside > 0.5  # (Q,S)
    query, label = _surest(probability * _quality(inside, taken)[:, None], settings.top)
    if settings.gap is not None:
        taken = torch.from_numpy(own_pieces(taken.numpy(), np.unique(query.numpy()), neighbours(scene, settings.gap)))
    score = probability[query, label] * _quality(inside, taken)[query]
    order = torch.argsort(score, descending=True, stable=True)
    query, label, score = query[order], label[order], score[order]
    size = torch.bincount(scene.superpoint, minlength=taken.shape[1])
    score = matrix_nms(taken[query], label, score, size.float())
    order = torch.argsort(score, descending=True, stable=True)
    order = order[score[order] >= settings.min_score]
    mask = taken[query[order]][:, scene.superpoint]  # (K,N)
    if boxes:
        mask &= _near(last.box[query[order]].float().cpu(), scene.xyz, settings.box_margin)
    kept = mask.sum(dim=1) >= settings.min_points
    return Found(mask[kept], label[order][kept], score[order][kept])


def _quality(inside: Tensor, taken: Tensor) -> Tensor:
    """(Q,) the mean of the mask's probabilities (Q,S) over the superpoints that it takes (Q,S)."""
    return (inside * taken).sum(dim=1) / taken.sum(dim=1).clamp(min=1)


def _surest(score: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the largest scores (Q,T)."""
    place = torch.topk(score.flatten(), min(most, score.numel())).indices
    return place // max(score.shape[1], 1), place % max(score.shape[1], 1)


def matrix_nms(mask: Tensor, label: Tensor, score: Tensor, size: Tensor) -> Tensor:
    """(K,) scores, those of doubles lowered: of masks (K,S) bool over superpoints of ``size`` (S,) points, by falling
    score (SOLOv2's matrix NMS with the linear decay).
    """
    if not len(mask):
        return score
    weighted = mask.float()
    common = (weighted * size) @ weighted.T
    area = common.diagonal()
    iou = common / (area[:, None] + area[None] - common).clamp(min=1)
    same = torch.triu(label[:, None] == label[None], diagonal=1)
    iou = torch.where(same, iou, 0)  # [i, j]: of i, surer than j, with j
    covered = iou.amax(dim=0)  # by how much each one is itself doubtful
    decay = ((1 - iou) / (1 - covered[:, None]).clamp(min=1e-6)).masked_fill(~same, 1.0).amin(dim=0)
    return score * decay.clamp(max=1.0)


def neighbours(scene: SceneInput, gap: float) -> Int64:
    """(E,2) the pairs of superpoints that have points no farther apart than ``gap``, metres, up to a quarter of it: the
    points are taken to the middles of cells of that size."""
    cell = gap / 4
    place = torch.floor(scene.xyz / cell).long().numpy()
    thinned = np.unique(np.concatenate([scene.superpoint.numpy()[:, None], place], axis=1), axis=0)
    pairs = cKDTree((thinned[:, 1:] + 0.5) * cell).query_pairs(gap, output_type="ndarray")
    owners = np.sort(thinned[pairs, 0], axis=1)
    found: Int64 = np.unique(owners[owners[:, 0] != owners[:, 1]], axis=0).astype(np.int64)
    return found


def own_pieces(taken: Bool, queries: Int64, pairs: Int64) -> Bool:
    """Of masks (S,S) bool, row q that of the query at superpoint q: for the ``queries`` the piece that q lies in, by
    the neighbouring pairs (E,2); all of a mask where q is no part of it."""
    count = taken.shape[1]
    out = taken.copy()
    for query in queries:
        mask = taken[query].copy()
        if not mask[query] or mask.sum() == 1:
            continue
        inside = pairs[mask[pairs].all(axis=1)]
        graph = csr_array((np.ones(len(inside)), (inside[:, 0], inside[:, 1])), shape=(count, count))
        piece = connected_components(graph, directed=False)[1]
        out[query] = mask & (piece == piece[query])
    return out


def _near(box: Tensor, xyz: Tensor, margin: float) -> Tensor:
    """(K,N) bool: points inside of the boxes (K,6) once grown to 1 + margin times their size.

    Open in the paper: "1 + 1.5 times the predicted box".
    """
    half = box[:, 3:] * (1 + margin) / 2
    near = torch.ones(len(box), len(xyz), dtype=torch.bool)
    for k in range(len(box)):  # one after the other: all at once would take (K,N,3) numbers
        near[k] = ((xyz - box[k, :3]).abs() <= half[k]).all(dim=1)
    return near
