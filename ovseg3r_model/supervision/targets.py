"""What supervises one scene, on superpoints: who is seen where, and which superpoints each instance has (METHOD 3).

S superpoints, V views, G instances, P pairs of a view and a superpoint that it sees, L pairs of an instance and a
superpoint that belongs to it. A scene-level annotation is one view that sees everything.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg3r_model.commonest import commonest
from ovseg3r_model.records import Correspondence, Float32, Instances, Int32, Int64, SceneTruth, UInt32


@dataclass(frozen=True)
class ViewTargets:
    """visible_view, visible_superpoint (P,) int64: V_sp, in order of (view, superpoint). instance_view,
    instance_label (G,) int64, the latter an index into ``names``. member_instance, member_superpoint (L,) int64, in
    order of (instance, superpoint); every instance has one. box (G,6) float32: centre and size, in the unit of the
    points; nan for an instance that is not fully observed.

    true_of_superpoint (S,), true_of_instance (G,) int64: the true instance that each mostly lies in, 0 for none, -1
    where the truth is not known. Only statistics look at it.
    """

    superpoints: int
    views: int
    visible_view: Tensor
    visible_superpoint: Tensor
    instance_view: Tensor
    instance_label: Tensor
    member_instance: Tensor
    member_superpoint: Tensor
    box: Tensor
    names: tuple[str, ...]
    true_of_superpoint: Tensor
    true_of_instance: Tensor

    @property
    def instances(self) -> int:
        """G."""
        return len(self.instance_view)


def view_targets(
    correspondence: Correspondence,
    observation: UInt32,
    instances: Instances,
    superpoint: Int32,
    truth: SceneTruth | None = None,
) -> ViewTargets:
    """The view-wise annotation of a reconstructed scene: N points, M observations, O 2D instances.

    A view sees a superpoint when it observes one of its points. The superpoint belongs to an instance of that view when
    more than half of its points seen there are the instance's. Instances without a superpoint are left out.
    """
    superpoints = int(superpoint.max()) + 1 if len(superpoint) else 0
    views = int(correspondence.view.max(initial=0)) + 1
    pair = correspondence.view.astype(np.int64) * superpoints + superpoint[correspondence.point()]
    seen, of_observation, total = np.unique(pair, return_inverse=True, return_counts=True)
    with_id, count = np.unique(
        of_observation * (len(instances) + 1) + observation.astype(np.int64), return_counts=True
    )  # an id belongs to one view, so that a pair's ids are all of its view
    place, number = np.divmod(with_id, len(instances) + 1)
    kept = (number > 0) & (2 * count > total[place])
    of_superpoint, of_instance = _truths(correspondence, observation, superpoint, len(instances), superpoints, truth)
    return _settled(
        ViewTargets(
            superpoints=superpoints,
            views=views,
            visible_view=_tensor(seen // max(superpoints, 1)),
            visible_superpoint=_tensor(seen % max(superpoints, 1)),
            instance_view=_tensor(instances.view),
            instance_label=_tensor(instances.label),
            member_instance=_tensor(number[kept] - 1),
            member_superpoint=_tensor(seen[place[kept]] % max(superpoints, 1)),
            box=torch.full((len(instances), 6), torch.nan),
            names=instances.label_names,
            true_of_superpoint=_tensor(of_superpoint),
            true_of_instance=_tensor(of_instance),
        )
    )


def scene_targets(xyz: Float32, superpoint: Int32, truth: SceneTruth) -> ViewTargets:
    """A scene-level annotation of N points as one view that sees everything; instances have boxes.

    A superpoint belongs to an instance when more than half of its points are the instance's.
    """
    superpoints, known = int(superpoint.max()) + 1, len(truth.names)
    pair, count = np.unique(superpoint.astype(np.int64) * (known + 1) + truth.instance, return_counts=True)
    of_superpoint, number = np.divmod(pair, known + 1)
    total = np.bincount(superpoint, minlength=superpoints)
    kept = (number > 0) & (2 * count > total[of_superpoint])
    names = tuple(dict.fromkeys(truth.names))
    index = {name: k for k, name in enumerate(names)}
    return _settled(
        ViewTargets(
            superpoints=superpoints,
            views=1,
            visible_view=torch.zeros(superpoints, dtype=torch.int64),
            visible_superpoint=torch.arange(superpoints),
            instance_view=torch.zeros(known, dtype=torch.int64),
            instance_label=torch.tensor([index[name] for name in truth.names], dtype=torch.int64),
            member_instance=_tensor(number[kept] - 1),
            member_superpoint=_tensor(of_superpoint[kept]),
            box=torch.from_numpy(_boxes(xyz, truth.instance, known)),
            names=names,
            true_of_superpoint=_tensor(commonest(superpoint, truth.instance, superpoints)),
            true_of_instance=torch.arange(1, known + 1),
        )
    )


def _truths(
    correspondence: Correspondence,
    observation: UInt32,
    superpoint: Int32,
    instances: int,
    superpoints: int,
    truth: SceneTruth | None,
) -> tuple[Int64, Int64]:
    """(S,) and (O,): the commonest true instance of the points of each superpoint, and under each 2D instance."""
    if truth is None:
        return np.full(superpoints, -1, np.int64), np.full(instances, -1, np.int64)
    under = truth.instance[correspondence.point()]
    of_instance = commonest(observation, under, instances + 1)[1:]
    return commonest(superpoint, truth.instance, superpoints), of_instance


def all_at_once(targets: ViewTargets) -> ViewTargets:
    """The same instances as annotations of one view that sees everything: what a training without VIP compares its
    scene-level predictions with (the paper's ablation)."""
    return replace(
        targets,
        views=1,
        visible_view=torch.zeros(targets.superpoints, dtype=torch.int64),
        visible_superpoint=torch.arange(targets.superpoints),
        instance_view=torch.zeros_like(targets.instance_view),
    )


def restricted(targets: ViewTargets, superpoints: Tensor, views: Tensor) -> ViewTargets:
    """The part of the targets on the superpoints that stay, (S',) increasing, and in the views that do, (V',)
    increasing; both are numbered anew. An instance that lost a superpoint has no box any more.
    """
    new_superpoint, new_view = _renumbering(superpoints, targets.superpoints), _renumbering(views, targets.views)
    seen = (new_superpoint[targets.visible_superpoint] >= 0) & (new_view[targets.visible_view] >= 0)
    kept = (new_superpoint[targets.member_superpoint] >= 0) & (
        new_view[targets.instance_view[targets.member_instance]] >= 0
    )
    before = torch.bincount(targets.member_instance, minlength=targets.instances)
    after = torch.bincount(targets.member_instance[kept], minlength=targets.instances)
    box = torch.where((after == before)[:, None], targets.box, torch.nan)
    return _settled(
        replace(
            targets,
            superpoints=len(superpoints),
            views=len(views),
            visible_view=new_view[targets.visible_view[seen]],
            visible_superpoint=new_superpoint[targets.visible_superpoint[seen]],
            instance_view=new_view[targets.instance_view],
            member_instance=targets.member_instance[kept],
            member_superpoint=new_superpoint[targets.member_superpoint[kept]],
            box=box,
            true_of_superpoint=targets.true_of_superpoint[superpoints],
        )
    )


def _renumbering(kept: Tensor, total: int) -> Tensor:
    """(total,) the new number of each, -1 for those that go."""
    new = torch.full((total,), -1, dtype=torch.int64)
    new[kept] = torch.arange(len(kept))
    return new


def _settled(targets: ViewTargets) -> ViewTargets:
    """Instances without a member go, names that no instance has too; members in order of (instance, superpoint)."""
    instance, of_member = torch.unique(targets.member_instance, return_inverse=True)
    order = torch.argsort(of_member * max(targets.superpoints, 1) + targets.member_superpoint)
    label, renamed = torch.unique(targets.instance_label[instance], return_inverse=True)
    return replace(
        targets,
        instance_view=targets.instance_view[instance],
        instance_label=renamed,
        member_instance=of_member[order],
        member_superpoint=targets.member_superpoint[order],
        box=targets.box[instance],
        names=tuple(targets.names[k] for k in label.tolist()),
        true_of_instance=targets.true_of_instance[instance],
    )


def _tensor(values: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.int64))


def _boxes(xyz: Float32, instance: Int32, count: int) -> Float32:
    """(count,6) float32: centre and size of the instances 1..count of the points (N,3); nan where one has none."""
    low, high = np.full((count + 1, 3), np.inf, np.float32), np.full((count + 1, 3), -np.inf, np.float32)
    np.minimum.at(low, instance, xyz)
    np.maximum.at(high, instance, xyz)
    empty = ~np.isfinite(low).all(axis=1)
    low[empty], high[empty] = np.nan, np.nan
    return np.concatenate([(low + high) / 2, high - low], axis=1)[1:]
