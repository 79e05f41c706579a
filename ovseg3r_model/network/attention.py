"""Positions and attention of the decoder (METHOD 2)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SinePositions(nn.Module):
    """Sine encoding of positions in metres: width / 3 channels an axis, as sines and cosines of wavelengths from
    ``wavelength`` to ``temperature`` times that. Channels that three axes do not fill are 0.
    """

    def __init__(self, width: int, temperature: float, wavelength: float) -> None:
        super().__init__()
        self.per_axis = width // 6 * 2
        self.rest = width - 3 * self.per_axis
        frequencies = torch.arange(self.per_axis // 2, dtype=torch.float32) / max(self.per_axis // 2, 1)
        self.register_buffer("omega", 2 * math.pi / wavelength * temperature**-frequencies, persistent=False)

    def forward(self, position: Tensor, scale: Tensor | None = None) -> Tensor:
        """(n,width) of positions (n,3); scale (n,3): what each axis' channels are multiplied by."""
        omega: Tensor = self.get_buffer("omega")
        angle = position[:, :, None] * omega  # (n,3,per_axis / 2)
        waves = torch.cat([angle.sin(), angle.cos()], dim=2)
        if scale is not None:
            waves = waves * scale[:, :, None]
        return F.pad(waves.flatten(1), (0, self.rest))


class CrossAttention(nn.Module):
    """Attention from queries to superpoints or objects whose logits are the sum of content and position:

        q_content . k_content + q_position . k_position,  by 1 / sqrt(2 d / heads)

    as in Conditional DETR; the position's part is modulated by the caller (boxes).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_content, self.query_position = nn.Linear(width, width), nn.Linear(width, width)
        self.key_content, self.key_position = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, query: Tensor, query_position: Tensor, key: Tensor, key_position: Tensor, allowed: Tensor
    ) -> Tensor:
        """(Q,d) of queries (Q,d) and keys (K,d); allowed (Q,K) bool. A query that may look at nothing gets 0."""
        any_key = allowed.any(dim=1, keepdim=True)
        q = self._split(self.query_content(query), self.query_position(query_position))
        k = self._split(self.key_content(key), self.key_position(key_position))
        v = self._split(self.value(key))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=(allowed | ~any_key)[None])
        found: Tensor = self.out(out.transpose(0, 1).flatten(1)) * any_key
        return found

    def _split(self, *parts: Tensor) -> Tensor:
        """(heads,n,c) of parts (n,d), joined inside each head."""
        return torch.cat([part.reshape(len(part), self.heads, -1) for part in parts], dim=2).transpose(0, 1)


class SelfAttention(nn.Module):
    """Attention among the queries; positions are added to queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, query: Tensor, position: Tensor) -> Tensor:
        """(Q,d) of queries (Q,d) at encoded positions (Q,d)."""
        placed = query + position
        q, k, v = (
            each.reshape(len(each), self.heads, -1).transpose(0, 1)
            for each in (self.query(placed), self.key(placed), self.value(query))
        )
        found: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1))
        return found


class Perceptron(nn.Sequential):
    """Linear, GELU, linear. zero: the last layer starts at 0, so that the whole gives 0 at first."""

    def __init__(self, inputs: int, hidden: int, outputs: int, zero: bool = False) -> None:
        last = nn.Linear(hidden, outputs)
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(inputs, hidden), nn.GELU(), last)
