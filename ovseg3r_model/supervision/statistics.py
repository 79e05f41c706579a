"""What is worth knowing of a matching (METHOD 3, and what the paper's reviewers asked for)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ovseg3r_model.supervision.pairs import Pairs
from ovseg3r_model.supervision.predictions import Matches
from ovseg3r_model.supervision.targets import ViewTargets


@dataclass(frozen=True)
class MatchStatistics:
    """Of one scene in one step; counts, so that they add up over scenes.

    queries: how many; unsupervised: those in no view that holds an instance. views: that hold an instance; matched:
    pairs of a query and an instance. known: matched pairs of which the truth is known; astray: those whose query lies
    in another true instance than the annotation (VIP's assignment errors).
    """

    queries: int
    unsupervised: int
    views: int
    matched: int
    known: int
    astray: int


def match_statistics(matches: Matches, pairs: Pairs, targets: ViewTargets, query_superpoint: Tensor) -> MatchStatistics:
    """``targets`` on the CPU; the rest where it is."""
    supervised = torch.zeros(len(query_superpoint), dtype=torch.bool, device=pairs.query.device)
    supervised[pairs.query] = True
    instance, superpoint = matches.instance.cpu(), query_superpoint[matches.query].cpu()
    meant, found = targets.true_of_instance[instance], targets.true_of_superpoint[superpoint]
    known = (meant >= 0) & (found >= 0)
    return MatchStatistics(
        queries=len(query_superpoint),
        unsupervised=int((~supervised).sum()),
        views=int(pairs.holds.sum()),
        matched=len(instance),
        known=int(known.sum()),
        astray=int((known & (meant != found)).sum()),
    )


def summed(statistics: list[MatchStatistics]) -> MatchStatistics:
    """Over scenes and steps."""
    names = vars(statistics[0]) if statistics else {}
    return MatchStatistics(**{name: sum(getattr(each, name) for each in statistics) for name in names})
