"""VIP: matching and losses of all views of a scene at once, in a few sparse operations (METHOD 3).

A view's prediction is the scene's, truncated: m_v = M[V_q[v], V_sp[v]]. No such matrix is made. Over the view's
superpoints, with x a query's logits and y an instance's 0/1 mask,

    BCE  = (sum_v softplus(x) - sum_instance x) / |V_sp[v]|
    Dice = 1 - (2 sum_instance sigmoid(x) + 1) / (sum_v sigmoid(x) + |instance| + 1)

so that one product with V_sp gives the sums over every view, and the sums over the instances are needed only where a
query lies in the instance. ``vip_reference`` says the same in loops.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg3r_model.supervision.pairs import Pairs
from ovseg3r_model.supervision.predictions import LayerPredictions, Losses, Matches
from ovseg3r_model.supervision.settings import LossWeights


@dataclass(frozen=True)
class _CandidateLosses:
    """mask, dice, centre, extent (C,) of every candidate; the last two mean nothing where the instance has no box."""

    mask: Tensor
    dice: Tensor
    centre: Tensor
    extent: Tensor


def vip_losses(
    predicted: LayerPredictions, semantic: Tensor, pairs: Pairs, weights: LossWeights, no_object: float
) -> tuple[Losses, Matches]:
    """The losses of one layer over all views of a scene, and who was matched.

    Each part is a mean inside each view (over its matched instances; its queries, weighted; its labelled superpoints),
    then a mean over the views that have one (an instance of which no superpoint was drawn
    as a query matches nothing); boxes: over the matched instances that have one. Zero where there
    is nothing to compare.

    Args:
        semantic: (S,T) logits of the superpoints' own classes.
    """
    candidate = _candidate_losses(predicted, pairs)
    chosen = _cheapest(_costs(predicted, candidate, pairs, weights), pairs)
    matches = Matches(pairs.candidate_instance[chosen], pairs.candidate_query[chosen])
    view = pairs.instance_view[matches.instance]
    boxed = pairs.boxed[matches.instance]
    return Losses(
        classes=_class_loss(predicted.classes, pairs, matches, no_object),
        mask=_mean_over_views(candidate.mask[chosen], view, pairs),
        dice=_mean_over_views(candidate.dice[chosen], view, pairs),
        centre=_mean_where(candidate.centre[chosen], boxed),
        extent=_mean_where(candidate.extent[chosen], boxed),
        semantic=_semantic_loss(semantic, pairs),
    ), matches


def _candidate_losses(predicted: LayerPredictions, pairs: Pairs) -> _CandidateLosses:
    logits = predicted.mask.float()
    probability = logits.sigmoid()
    over_view = torch.stack([F.softplus(logits), probability]) @ pairs.visible.T  # (2,Q,V)
    view = pairs.instance_view[pairs.candidate_instance]
    softplus_sum, probability_sum = over_view[:, pairs.candidate_query, view]
    place = pairs.candidate_query[pairs.term_candidate] * logits.shape[1] + pairs.term_superpoint
    inside = logits.flatten().index_select(0, place)  # (E,)
    count = len(pairs.candidate_instance)
    logit_inside = _sum_by(inside, pairs.term_candidate, count)
    probability_inside = _sum_by(inside.sigmoid(), pairs.term_candidate, count)
    size = pairs.instance_size[pairs.candidate_instance]
    away = (predicted.box.float()[pairs.candidate_query] - pairs.box[pairs.candidate_instance]).abs()
    return _CandidateLosses(
        mask=(softplus_sum - logit_inside) / pairs.visible.sum(dim=1)[view],
        dice=1 - (2 * probability_inside + 1) / (probability_sum + size + 1),
        centre=away[:, :3].mean(dim=1),
        extent=away[:, 3:].mean(dim=1),
    )


def _costs(predicted: LayerPredictions, candidate: _CandidateLosses, pairs: Pairs, weights: LossWeights) -> Tensor:
    """(C,) what each candidate would cost."""
    with torch.no_grad():
        probability = predicted.classes.float().softmax(dim=1)
        named = probability[pairs.candidate_query, pairs.instance_label[pairs.candidate_instance]]
        cost = weights.classes * (1 - named) + weights.mask * candidate.mask + weights.dice * candidate.dice
        boxes = weights.centre * candidate.centre + weights.extent * candidate.extent
        return cost + boxes * pairs.boxed[pairs.candidate_instance]


def _cheapest(cost: Tensor, pairs: Pairs) -> Tensor:
    """(K,) the candidate of the least cost of every instance that has one; the first of several."""
    count, instance = len(pairs.instance_view), pairs.candidate_instance
    least = torch.full((count,), torch.inf, device=cost.device).scatter_reduce(0, instance, cost, "amin")
    number = torch.arange(len(cost), device=cost.device)
    never = len(cost)
    best = torch.where(cost <= least[instance], number, never)
    first = torch.full((count,), never, device=cost.device).scatter_reduce(0, instance, best, "amin")
    return first[first < never]


def _class_loss(logits: Tensor, pairs: Pairs, matches: Matches, no_object: float) -> Tensor:
    """Cross-entropy of each view's queries: the matched instance's label, else "no object"."""
    log_probability = F.log_softmax(logits.float(), dim=1)  # (Q,T+1)
    view = pairs.instance_view[matches.instance]
    taken = torch.zeros(len(pairs.holds), len(logits), dtype=torch.bool, device=logits.device)
    taken[view, matches.query] = True
    free = ~taken[pairs.query_view, pairs.query]
    nothing = -log_probability[pairs.query, -1] * free * no_object
    named = -log_probability[matches.query, pairs.instance_label[matches.instance]]
    views = len(pairs.holds)
    loss = _sum_by(nothing, pairs.query_view, views) + _sum_by(named, view, views)
    weight = _sum_by(free * no_object, pairs.query_view, views) + _sum_by(torch.ones_like(named), view, views)
    return _mean_where(loss / weight.clamp(min=1e-9), pairs.holds & (weight > 0))


def _semantic_loss(logits: Tensor, pairs: Pairs) -> Tensor:
    log_probability = F.log_softmax(logits.float(), dim=1)
    wrong = -log_probability[pairs.semantic_superpoint, pairs.semantic_label]
    return _mean_over_views(wrong, pairs.semantic_view, pairs)


def _mean_over_views(value: Tensor, view: Tensor, pairs: Pairs) -> Tensor:
    """Of values (K,) of views (K,): the mean inside each view, then over the views that have one."""
    views = len(pairs.holds)
    count = _sum_by(torch.ones_like(value), view, views)
    return _mean_where(_sum_by(value, view, views) / count.clamp(min=1), count > 0)


def _mean_where(value: Tensor, kept: Tensor) -> Tensor:
    """The mean of the values that are kept; 0 where none is."""
    return torch.where(kept, value, 0).sum() / kept.sum().clamp(min=1)


def _sum_by(value: Tensor, index: Tensor, count: int) -> Tensor:
    """(count,) sums of the values of each index."""
    return torch.zeros(count, dtype=value.dtype, device=value.device).index_add(0, index, value)
