"""The decoder of SegDINO3D-VL (METHOD 2): superpoint queries that look at superpoints, at 2D objects and at each other,
and say after every layer which superpoints are theirs, what they are called, and where they are."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ovseg3r_model.network.attention import CrossAttention, Perceptron, SelfAttention, SinePositions
from ovseg3r_model.network.heads import Heads
from ovseg3r_model.network.settings import DecoderSettings
from ovseg3r_model.supervision.predictions import LayerPredictions

SMALLEST = 0.01
"""No box is smaller along an axis, metres."""


@dataclass(frozen=True)
class Surroundings:
    """What the queries of one scene look at. features (S,d) and box (S,6) of its superpoints; objects (O,d) and
    object_position (O,3) of its 2D objects, O = 0 where it has none; text (T,C): the labels' embeddings, unit length.
    origin (3,): where positions are counted from, the middle of the scene's floor.
    """

    features: Tensor
    box: Tensor
    objects: Tensor
    object_position: Tensor
    text: Tensor
    origin: Tensor


class DecoderLayer(nn.Module):
    """Superpoints, 2D objects, self-attention, feed-forward; each added and normalised."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        width = settings.width
        self.radius = settings.object_radius
        self.positions = SinePositions(width, settings.temperature, settings.wavelength)
        self.to_superpoints = CrossAttention(width, settings.heads)
        self.to_objects = CrossAttention(width, settings.heads)
        self.among = SelfAttention(width, settings.heads)
        self.feed_forward = Perceptron(width, settings.feed_forward, width)
        self.reference = Perceptron(width, width, 3)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))

    def forward(self, query: Tensor, box: Tensor, mask: Tensor, around: Surroundings) -> Tensor:
        """(Q,d) of queries (Q,d) with boxes (Q,6) and the previous layer's mask (Q,S) bool; where it is empty, the
        query looks at all superpoints."""
        centre = box[:, :3] - around.origin
        position = self.positions(centre)
        # Box-modulated, as in DAB-DETR: the larger the box along an axis, the less the distance along it matters.
        modulated = self.positions(centre, self.reference(query).sigmoid() * 2 / box[:, 3:].clamp(min=SMALLEST))
        seen = mask | ~mask.any(dim=1, keepdim=True)
        found = self.to_superpoints(
            query, modulated, around.features, self.positions(around.box[:, :3] - around.origin), seen
        )
        query = self.norms[0](query + found)
        if len(around.objects):
            near = self._near(box, around.object_position)
            placed = self.positions(around.object_position - around.origin)
            query = self.norms[1](query + self.to_objects(query, position, around.objects, placed, near))
        query = self.norms[2](query + self.among(query, position))
        out: Tensor = self.norms[3](query + self.feed_forward(query))
        return out

    def _near(self, box: Tensor, position: Tensor) -> Tensor:
        """(Q,O) bool: objects within the radius of the box."""
        away = (position[None] - box[:, None, :3]).abs() - box[:, None, 3:] / 2  # (Q,O,3)
        near: Tensor = away.clamp(min=0).norm(dim=2) <= self.radius
        return near


class Decoder(nn.Module):
    """All layers, with the heads before the first and after each."""

    def __init__(self, settings: DecoderSettings, heads: Heads) -> None:
        super().__init__()
        self.width = settings.width
        self.positions = SinePositions(settings.width, settings.temperature, settings.wavelength)
        self.place = nn.Linear(settings.width, settings.width)
        self.start = nn.Sequential(nn.Linear(settings.width, settings.width), nn.LayerNorm(settings.width))
        self.layers = nn.ModuleList(DecoderLayer(settings) for _ in range(settings.layers))
        self.heads = heads

    def forward(self, queries: Tensor, around: Surroundings) -> list[LayerPredictions]:
        """Predictions before the first layer and after each, of the queries (Q,): indices of superpoints."""
        # Where a superpoint is belongs to what it is like: things of one look far apart are not one thing.
        placed = around.features + self.place(self.positions(around.box[:, :3] - around.origin))
        around = replace(around, features=placed)
        query: Tensor = self.start(placed[queries])
        box = around.box[queries]
        made = [self.heads(query, box, around.features, around.text)]
        for layer in self.layers:
            last = made[-1]
            query = layer(query, last.box.detach(), last.mask.detach() > 0, around)
            made.append(self.heads(query, last.box.detach(), around.features, around.text))
        return made


def superpoint_boxes(xyz: Tensor, superpoint: Tensor, count: int) -> Tensor:
    """(count,6) float32 centre and size of the superpoints of points (N,3)."""
    index = superpoint[:, None].expand(-1, 3)
    start = torch.full((count, 3), torch.inf, device=xyz.device)
    low = start.scatter_reduce(0, index, xyz, "amin")
    high = (-start).scatter_reduce(0, index, xyz, "amax")
    return torch.cat([(low + high) / 2, (high - low).clamp(min=SMALLEST)], dim=1)
