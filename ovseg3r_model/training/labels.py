"""The labels of a step: a scene's own names and random others (METHOD 2, text)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ovseg3r_model.records import Float32
from ovseg3r_model.text.negatives import padded_labels
from ovseg3r_model.training.settings import LabelSettings


class LabelPool:
    """The names that a training knows, with their embeddings."""

    def __init__(self, embeddings: Mapping[str, Float32]) -> None:
        """embeddings: (C,) of unit length for every name."""
        self.names = tuple(sorted(embeddings))
        self._row = {name: k for k, name in enumerate(self.names)}
        self._table = torch.from_numpy(np.stack([embeddings[name] for name in self.names]))

    def draw(self, names: Sequence[str], settings: LabelSettings, rng: np.random.Generator) -> Tensor:
        """(T,C) embeddings: those of ``names``, in their order, then of random others up to ``settings.count``; fewer
        where the pool holds no more that are different enough. All of ``names`` stay, even if they are more.
        """
        own = self._table[[self._row[name] for name in names]]
        alike = (self._table @ own.T > settings.nearest).any(dim=1).tolist()
        forbidden = [name for name, too_near in zip(self.names, alike, strict=True) if too_near]
        drawn = padded_labels(names, self.names, settings.count, rng, forbidden)
        return self._table[[self._row[name] for name in drawn]]
