"""The sparse pairs that matching and losses of all views work on, made once a step and shared by the decoder's layers.

Q queries, each the superpoint it came from; C candidates, pairs of an instance and a query whose superpoint lies in it:
no other pair can match (METHOD 3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ovseg3r_model.supervision.targets import ViewTargets


@dataclass(frozen=True)
class Pairs:
    """visible (V,S) float32 0/1: V_sp. holds (V,) bool: views that hold an instance. instance_view, instance_label,
    instance_size (G,), the last in superpoints. boxed (G,) bool: whether box (G,6) is known; it is 0 where it is not.

    query_view, query (R,): V_q of the views that hold an instance. candidate_instance, candidate_query (C,), by
    instance. term_candidate, term_superpoint (E,): for each candidate the superpoints of its instance.
    semantic_view, semantic_superpoint, semantic_label (L,): the labelled superpoints.
    """

    visible: Tensor
    holds: Tensor
    instance_view: Tensor
    instance_label: Tensor
    instance_size: Tensor
    boxed: Tensor
    box: Tensor
    query_view: Tensor
    query: Tensor
    candidate_instance: Tensor
    candidate_query: Tensor
    term_candidate: Tensor
    term_superpoint: Tensor
    semantic_view: Tensor
    semantic_superpoint: Tensor
    semantic_label: Tensor

    def to(self, device: torch.device) -> "Pairs":
        """On that device."""
        return Pairs(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


def make_pairs(targets: ViewTargets, query_superpoint: Tensor, label_of_name: Tensor) -> Pairs:
    """On the CPU: targets of a scene, the superpoints (Q,) that its queries came from, and for each of the targets'
    names its row among the text labels."""
    query_of = torch.full((targets.superpoints,), -1, dtype=torch.int64)
    query_of[query_superpoint] = torch.arange(len(query_superpoint))
    holds = torch.zeros(targets.views, dtype=torch.bool)
    holds[targets.instance_view] = True
    visible = torch.zeros(targets.views, targets.superpoints)
    visible[targets.visible_view, targets.visible_superpoint] = 1.0
    seen = (query_of[targets.visible_superpoint] >= 0) & holds[targets.visible_view]
    query_here = query_of[targets.member_superpoint]
    chosen = query_here >= 0
    size = torch.bincount(targets.member_instance, minlength=targets.instances)
    candidate_instance = targets.member_instance[chosen]
    label = label_of_name[targets.instance_label]
    terms = _terms(candidate_instance, size, targets.member_superpoint)
    return Pairs(
        visible=visible,
        holds=holds,
        instance_view=targets.instance_view,
        instance_label=label,
        instance_size=size,
        boxed=~torch.isnan(targets.box).any(dim=1),
        box=torch.nan_to_num(targets.box),  # nan would reach the gradient even where it is masked
        query_view=targets.visible_view[seen],
        query=query_of[targets.visible_superpoint[seen]],
        candidate_instance=candidate_instance,
        candidate_query=query_here[chosen],
        term_candidate=terms[0],
        term_superpoint=terms[1],
        semantic_view=targets.instance_view[targets.member_instance],
        semantic_superpoint=targets.member_superpoint,
        semantic_label=label[targets.member_instance],
    )


def _terms(candidate_instance: Tensor, size: Tensor, member_superpoint: Tensor) -> tuple[Tensor, Tensor]:
    """(candidate (E,), superpoint (E,)): the members of each candidate's instance; members lie by instance."""
    first = torch.cumsum(size, 0) - size
    length = size[candidate_instance]
    candidate = torch.repeat_interleave(torch.arange(len(candidate_instance)), length)
    within = torch.arange(len(candidate)) - torch.repeat_interleave(torch.cumsum(length, 0) - length, length)
    return candidate, member_superpoint[first[candidate_instance[candidate]] + within]
