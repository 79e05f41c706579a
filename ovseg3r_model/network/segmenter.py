"""SegDINO3D-VL: backbone, superpoints, decoder (METHOD 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovseg3r_model.network.backbone import Res16UNet
from ovseg3r_model.network.decoder import Decoder, Surroundings
from ovseg3r_model.network.inputs import Batch
from ovseg3r_model.network.pooling import pool_mean
from ovseg3r_model.supervision.predictions import LayerPredictions


@dataclass(frozen=True)
class ScenePredictions:
    """layers: those before the first decoder layer and after each. semantic (S,T): the superpoints' own logits."""

    layers: list[LayerPredictions]
    semantic: Tensor


class Segmenter(nn.Module):
    """The network. ``object_channels`` 0: without 2D objects."""

    def __init__(self, backbone: Res16UNet, decoder: Decoder, backbone_channels: int, object_channels: int) -> None:
        super().__init__()
        width = decoder.width
        self.backbone = backbone
        self.to_width = nn.Sequential(nn.Linear(backbone_channels, width), nn.LayerNorm(width))
        self.object_to_width = (
            nn.Sequential(nn.Linear(object_channels, width), nn.LayerNorm(width)) if object_channels else None
        )
        self.decoder = decoder

    def forward(
        self,
        batch: Batch,
        queries: Sequence[Tensor],
        texts: Sequence[Tensor],
        objects: Sequence[Tensor] | None = None,
    ) -> list[ScenePredictions]:
        """Predictions for each scene of the batch.

        Args:
            queries: for each scene the superpoints (Q,) that query.
            texts: for each scene the labels' embeddings (T,C).
            objects: for each scene the indices (O',) of the 2D objects to look at; without it all.
        """
        superpoint = self.superpoints(batch)
        counts, shares = list(batch.superpoints), list(batch.objects_of)
        features, boxes = torch.split(superpoint, counts), torch.split(batch.box, counts)
        known = torch.split(batch.objects, shares)
        places = torch.split(batch.object_position, shares)
        out = []
        for number, (query, text) in enumerate(zip(queries, texts, strict=True)):
            chosen = slice(None) if objects is None else objects[number]
            around = Surroundings(
                features[number],
                boxes[number],
                self._objects(known[number][chosen], superpoint),
                places[number][chosen],
                text,
                batch.origin[number],
            )
            semantic = self.decoder.heads.semantic(around.features, text)
            out.append(ScenePredictions(self.decoder(query, around), semantic))
        return out

    def superpoints(self, batch: Batch) -> Tensor:
        """S3D: (S,d) features of the batch's superpoints."""
        voxels = pool_mean(batch.point, batch.voxel_of_point, batch.pyramid.voxels)
        features = self.backbone(voxels, batch.pyramid)
        pooled = pool_mean(features.index_select(0, batch.voxel_of_point), batch.superpoint_of_point, len(batch.box))
        out: Tensor = self.to_width(pooled)
        return out

    def _objects(self, objects: Tensor, like: Tensor) -> Tensor:
        """(O,d); none where the network takes none."""
        if self.object_to_width is None:
            return like.new_zeros(0, like.shape[1])
        out: Tensor = self.object_to_width(objects)
        return out


def parameters_of(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def all_superpoints(batch: Batch) -> list[Tensor]:
    """Every superpoint a query: what inference takes."""
    return [torch.arange(count, device=batch.box.device) for count in batch.superpoints]
