"""The same as ``vip`` in loops over views and instances, to read and to compare with. Slow."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg3r_model.supervision.predictions import LayerPredictions, Losses, Matches
from ovseg3r_model.supervision.settings import LossWeights
from ovseg3r_model.supervision.targets import ViewTargets


def vip_losses_reference(
    predicted: LayerPredictions,
    semantic: Tensor,
    targets: ViewTargets,
    query_superpoint: Tensor,
    label_of_name: Tensor,
    weights: LossWeights,
    no_object: float,
) -> tuple[Losses, Matches]:
    """As :func:`.vip.vip_losses`, of the targets themselves."""
    found: dict[int, int] = {}
    parts: dict[str, list[Tensor]] = {name: [] for name in ("classes", "mask", "dice", "semantic")}
    boxes: dict[str, list[Tensor]] = {"centre": [], "extent": []}
    for view in range(targets.views):
        here = [g for g in range(targets.instances) if targets.instance_view[g] == view]
        if not here:
            continue
        superpoints = sorted(targets.visible_superpoint[targets.visible_view == view].tolist())  # V_sp[v]
        queries = [q for q, s in enumerate(query_superpoint.tolist()) if s in superpoints]  # V_q[v]
        truncated = predicted.mask[queries][:, superpoints]  # m_v
        target_of = dict.fromkeys(queries, -1)
        matched: dict[str, list[Tensor]] = {"mask": [], "dice": []}
        rows: list[tuple[Tensor, float]] = []
        for g in here:
            members = targets.member_superpoint[targets.member_instance == g].tolist()
            label = int(label_of_name[targets.instance_label[g]])
            mask = torch.tensor([float(s in members) for s in superpoints], dtype=predicted.mask.dtype)
            best, least = None, float("inf")
            for row, q in enumerate(queries):
                if int(query_superpoint[q]) in members:
                    cost = _cost(truncated[row], mask, predicted, q, label, targets.box[g], weights).item()
                    if cost < least:
                        best, least = row, cost
            if best is None:
                continue
            q = queries[best]
            found[g], target_of[q] = q, label
            matched["mask"].append(_bce(truncated[best], mask))
            matched["dice"].append(_dice(truncated[best], mask))
            rows.append((-F.log_softmax(predicted.classes[q], 0)[label], 1.0))
            if not torch.isnan(targets.box[g]).any():
                away = (predicted.box[q] - targets.box[g]).abs()
                boxes["centre"].append(away[:3].mean())
                boxes["extent"].append(away[3:].mean())
        rows += [(-F.log_softmax(predicted.classes[q], 0)[-1], no_object) for q in queries if target_of[q] < 0]
        if rows and sum(w for _, w in rows) > 0:
            parts["classes"].append(_sum([loss * w for loss, w in rows]) / sum(w for _, w in rows))
        for name, values in matched.items():
            if values:
                parts[name].append(_mean(values))
        parts["semantic"].append(_semantic(semantic, targets, here, label_of_name))
    losses = Losses(**{name: _mean(values) for name, values in (parts | boxes).items()})
    instance = sorted(found)
    return losses, Matches(torch.tensor(instance), torch.tensor([found[g] for g in instance]))


def _cost(
    logits: Tensor, mask: Tensor, predicted: LayerPredictions, q: int, label: int, box: Tensor, weights: LossWeights
) -> Tensor:
    probability = predicted.classes[q].softmax(0)[label]
    cost = weights.classes * (1 - probability) + weights.mask * _bce(logits, mask) + weights.dice * _dice(logits, mask)
    if not torch.isnan(box).any():
        away = (predicted.box[q] - box).abs()
        cost = cost + weights.centre * away[:3].mean() + weights.extent * away[3:].mean()
    return cost


def _bce(logits: Tensor, mask: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, mask)


def _dice(logits: Tensor, mask: Tensor) -> Tensor:
    probability = logits.sigmoid()
    return 1 - (2 * (probability * mask).sum() + 1) / (probability.sum() + mask.sum() + 1)


def _semantic(semantic: Tensor, targets: ViewTargets, here: list[int], label_of_name: Tensor) -> Tensor:
    wrong = []
    for g in here:
        label = int(label_of_name[targets.instance_label[g]])
        members = targets.member_superpoint[targets.member_instance == g].tolist()
        wrong += [-F.log_softmax(semantic[s], 0)[label] for s in members]
    return _mean(wrong)


def _mean(values: list[Tensor]) -> Tensor:
    return _sum(values) / max(len(values), 1)


def _sum(values: list[Tensor]) -> Tensor:
    return torch.stack(values).sum() if values else torch.zeros(())
