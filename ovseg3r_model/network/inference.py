"""From the last layer's predictions to instances with names and scores (METHOD 2, inference)."""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from ovseg3r_model.network.inputs import SceneInput
from ovseg3r_model.network.segmenter import ScenePredictions
from ovseg3r_model.settings import Settings


class InferenceSettings(Settings):
    top: int = Field(600, ge=1, description="Most (query, name) pairs that are looked at, the surest.")
    min_score: float = Field(0.05, ge=0, lt=1, description="Less sure instances are left out.")
    min_points: int = Field(100, ge=1, description="Smaller instances are left out, points.")
    box_margin: float = Field(
        1.5, gt=0, description="Points farther out than the predicted box grown by this share of it are dropped."
    )


@dataclass(frozen=True)
class Found:
    """K instances by falling score: mask (K,N) bool, label (K,) int64 row of the text, score (K,) float32."""

    mask: Tensor
    label: Tensor
    score: Tensor


@torch.no_grad()
def instances(predicted: ScenePredictions, scene: SceneInput, settings: InferenceSettings, boxes: bool) -> Found:
    """The instances of one scene of N points, all of its S superpoints having been queries.

    Score: the class' probability times the mean of the mask's probabilities over the superpoints it takes. The surest
    pairs of a query and a name are thinned by matrix NMS among those of one name (SOLOv2, linear), so that the same
    thing found twice keeps one sure instance.

    Args:
        boxes: whether the network's boxes were trained: points far from them are dropped.
    """
    last = predicted.layers[-1]
    probability = last.classes.float().softmax(dim=1)[:, :-1]  # (Q,T)
    inside = last.mask.float().sigmoid()
    taken = last.mask > 0  # (Q,S)
    quality = (inside * taken).sum(dim=1) / taken.sum(dim=1).clamp(min=1)
    score, place = torch.topk((probability * quality[:, None]).flatten(), min(settings.top, probability.numel()))
    query, label = place // probability.shape[1], place % probability.shape[1]
    size = torch.bincount(scene.superpoint, minlength=taken.shape[1]).to(taken.device)
    score = matrix_nms(taken[query], label, score, size.float())
    order = torch.argsort(score, descending=True, stable=True)
    order = order[score[order] >= settings.min_score]
    mask = taken[query[order]][:, scene.superpoint.to(taken.device)]  # (K,N)
    if boxes:
        mask &= _near(last.box[query[order]].float(), scene.xyz.to(taken.device), settings.box_margin)
    kept = mask.sum(dim=1) >= settings.min_points
    return Found(mask[kept], label[order][kept], score[order][kept])


def matrix_nms(mask: Tensor, label: Tensor, score: Tensor, size: Tensor) -> Tensor:
    """(K,) scores, those of doubles lowered: of masks (K,S) bool over superpoints of ``size`` (S,) points, by falling
    score (SOLOv2's matrix NMS with the linear decay).
    """
    weighted = mask.float()
    common = (weighted * size) @ weighted.T
    area = common.diagonal()
    iou = common / (area[:, None] + area[None] - common).clamp(min=1)
    same = torch.triu(label[:, None] == label[None], diagonal=1)
    iou = torch.where(same, iou, 0)  # [i, j]: of i, surer than j, with j
    covered = iou.amax(dim=0)  # by how much each one is itself doubtful
    decay = ((1 - iou) / (1 - covered[:, None]).clamp(min=1e-6)).masked_fill(~same, 1.0).amin(dim=0)
    return score * decay.clamp(max=1.0)


def _near(box: Tensor, xyz: Tensor, margin: float) -> Tensor:
    """(K,N) bool: points inside of the boxes (K,6) once grown to 1 + margin times their size.

    Open in the paper: "1 + 1.5 times the predicted box".
    """
    half = box[:, None, 3:] * (1 + margin) / 2
    return ((xyz[None] - box[:, None, :3]).abs() <= half).all(dim=2)
