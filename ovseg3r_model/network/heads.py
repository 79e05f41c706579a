"""What a query says: its mask over the superpoints, its name among any words, its box (METHOD 2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg3r_model.network.attention import Perceptron
from ovseg3r_model.supervision.predictions import LayerPredictions

MOST_SHARP = 100.0
"""The largest factor on cosines of text and queries, as CLIP's."""

SMALLEST_STEP = 0.2
"""Boxes move and grow by shares of their size, of a thin superpoint's by shares of this, metres: else a seat's box, a
centimetre high, could never become its chair's."""


class TextClassifier(nn.Module):
    """Cosine of features and texts, times a learned factor: any number of labels, any words."""

    def __init__(self, width: int, text_channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, text_channels)
        self.log_sharpness = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """(n,T) logits of features (n,d) for texts (T,C) of unit length."""
        sharpness = self.log_sharpness.exp().clamp(max=MOST_SHARP)
        with torch.autocast(features.device.type, enabled=False):  # names may be as near as bfloat16's steps
            cosine = F.normalize(self.project(features.float()), dim=1) @ text.T
            logits: Tensor = sharpness * cosine
        return logits


class Heads(nn.Module):
    """mask = q . x_mask, classes = q . text and a learned "no object", box = the last one moved and stretched."""

    def __init__(self, width: int, text_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mask_query = Perceptron(width, width, width)
        self.mask_feature = Perceptron(width, width, width)
        self.mask_bias = nn.Parameter(torch.zeros(()))
        self.classifier = TextClassifier(width, text_channels)
        self.nothing = nn.Linear(width, 1)
        self.box = Perceptron(width, width, 6, zero=True)
        self.semantic = TextClassifier(width, text_channels)

    def forward(self, query: Tensor, box: Tensor, features: Tensor, text: Tensor) -> LayerPredictions:
        """Of queries (Q,d) with boxes (Q,6) so far, superpoints (S,d) and texts (T,C)."""
        query = self.norm(query)
        mask = self.mask_query(query) @ self.mask_feature(features).T + self.mask_bias
        classes = torch.cat([self.classifier(query, text), self.nothing(query)], dim=1)
        change = self.box(query).float()
        step = box[:, 3:].clamp(min=SMALLEST_STEP)
        centre = box[:, :3] + change[:, :3] * step
        size = step * change[:, 3:].clamp(-2, 2).exp()
        return LayerPredictions(mask, classes, torch.cat([centre, size], dim=1))
