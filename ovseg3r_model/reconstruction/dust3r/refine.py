"""DUSt3R's global alignment (section 3.4), by gradient descent from a good start."""

from collections.abc import Callable

import numpy as np
import torch

from ovseg3r_model.reconstruction.dust3r.initial import Alignment, Pointmaps
from ovseg3r_model.reconstruction.torch_threads import one_thread
from ovseg3r_model.records import Float64

RATE = 0.003
"""Adam's first learning rate, in median depths and radians; it falls to nothing along half a cosine. Upstream's 0.01
shakes our start, which is closer, more than some hundred steps can settle.
"""


def refine(
    start: Alignment, maps: Pointmaps, rays: Float64, iterations: int, step: Callable[[int], None] = lambda done: None
) -> Alignment:
    """Minimises, as in the paper,

        L = sum over pairs e, their views v, pixels p of  C_p |chi_p - s_e P_e X_p|,

    where chi are the views' points: each view's depth along its rays, moved by its pose; X, C the predicted points and
    their confidences; s_e P_e the pair's similarity, the product of all s_e held at what
    it starts as (the paper's 1 is a choice of unit). The cameras' intrinsics,
    hence rays (n,S,3) float64 with z = 1, stay as given. step is called with the number of iterations done.

    Runs on one thread of the CPU, where sums come out the same each time; nothing in it is drawn at random.
    """
    with one_thread():
        return _refined(start, maps, rays, iterations, step)


def _refined(
    start: Alignment, maps: Pointmaps, rays: Float64, iterations: int, step: Callable[[int], None]
) -> Alignment:
    scale = float(np.exp(np.log(start.pair_scale).mean()))
    edges = torch.from_numpy(maps.edges)
    flat = edges.flatten()
    points, confidence = torch.from_numpy(maps.points), torch.from_numpy(maps.confidence)
    directions = torch.from_numpy(rays.astype(np.float32))
    view_turn, pair_turn = (torch.zeros(len(r), 3, requires_grad=True) for r in (start.view_rotation, maps.edges))
    view_from, pair_from = _tensor(start.view_rotation), _tensor(start.pair_rotation)
    view_at, pair_at = _leaf(start.view_position), _leaf(start.pair_position)
    log_depth, log_scale = _leaf(np.log(start.depth)), _leaf(np.log(start.pair_scale / scale))
    optimizer = torch.optim.Adam([view_turn, pair_turn, view_at, pair_at, log_depth, log_scale], RATE)
    total = confidence.sum().clamp_min(1e-12)

    def distances() -> torch.Tensor:
        turned = _rotate(view_turn, view_from, directions)
        scene = view_at[:, None] + log_depth.exp()[..., None] * turned
        s = scale * (log_scale - log_scale.mean()).exp()
        predicted = _rotate(pair_turn, pair_from, points.flatten(1, 2)).view_as(points)
        predicted = pair_at[:, None, None] + s[:, None, None, None] * predicted
        return ((scene.index_select(0, flat).view_as(points) - predicted).square().sum(dim=-1) + 1e-12).sqrt()

    for i in range(iterations):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 + np.cos(np.pi * i / iterations)) / 2
        optimizer.zero_grad()
        ((confidence * distances()).sum() / total).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step(i + 1)
    with torch.no_grad():
        depth = log_depth.exp()
        relative = (distances() / depth[edges])[confidence > 0]
        return Alignment(
            view_rotation=_rotation(view_turn, view_from).double().numpy(),
            view_position=view_at.double().numpy(),
            depth=depth.double().numpy(),
            pair_scale=scale * (log_scale - log_scale.mean()).exp().double().numpy(),
            pair_rotation=_rotation(pair_turn, pair_from).double().numpy(),
            pair_position=pair_at.double().numpy(),
            error=float(relative.median()),
        )


def _tensor(values: Float64) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _leaf(values: Float64) -> torch.Tensor:
    return _tensor(values).requires_grad_()


def _rotate(turn: torch.Tensor, base: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """vectors (B,N,3) by the rotations (B,3,3) of :func:`_rotation`."""
    return vectors @ _rotation(turn, base).transpose(1, 2)


def _rotation(turn: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """(B,3,3): base (B,3,3) followed by the rotation of the unit quaternion along (1, turn / 2)."""
    half = turn / 2
    q = torch.cat([torch.ones_like(half[:, :1]), half], dim=1)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(dim=1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1),
    ]
    return torch.stack(rows, dim=1) @ base
