"""What the learned engines share: vocabulary, device, weights loaded when first needed, frames in batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch

from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.records import Recording, UInt8, ViewMasks
from ovseg3r_model.segmentation.in_network import Batches, Network, frames_at_once
from ovseg3r_model.segmentation.pretrained import one_at_a_time
from ovseg3r_model.settings import SegmentSettings
from ovseg3r_model.vocabulary import Vocabulary, parse_prompt, read_vocabulary


def vocabulary_of(settings: SegmentSettings) -> Vocabulary:
    """What the settings say to look for: the prompt, else the vocabulary.

    Raises:
        InputError: neither can be read.
    """
    return read_vocabulary(settings.vocabulary) if settings.prompt is None else parse_prompt(settings.prompt)


Finish: TypeAlias = Callable[[], ViewMasks]
"""What is left to do for a frame without the network; other scenes may have it meanwhile."""


class Learned(ABC):
    """A :class:`.Segmenter` around a network that turns frames into masks."""

    name: str
    open_vocabulary = True

    def __init__(self, settings: SegmentSettings, features: bool) -> None:
        """Raises InputError: the vocabulary cannot be read, or there is no such device."""
        self.settings, self.features = settings, features
        self.device = torch.device(torch_device(settings.device))
        self._vocabulary = vocabulary_of(settings)
        self.phrases = self._vocabulary.phrases
        self.batch = settings.batch or 1

    @abstractmethod
    def build(self) -> Network[Finish]:
        """The network for frames (H,W,3) uint8 of one size. Raises InputError: its weights cannot be read."""

    def prepare(self, recording: Recording) -> tuple[str, ...]:
        """See :meth:`.Segmenter.prepare`; loads the weights.

        Raises:
            InputError: they cannot be read, or the vocabulary does not suit the text encoder.
        """
        with one_at_a_time():
            self.batch = frames_at_once(self.settings.batch, self.device, lambda: recording.color[0], self._network)
        if self.settings.prompt is not None:
            return self._vocabulary.notes
        looked = f"Looked for the {len(self.phrases)} things that the vocabulary {self._vocabulary.name} names."
        return (looked, *self._vocabulary.notes)

    def segment(self, recording: Recording, views: Sequence[int]) -> Iterator[ViewMasks]:
        """See :meth:`.Segmenter.segment`. Raises InputError also where the memory does not hold one frame."""

        def frame(view: int) -> UInt8:
            return np.ascontiguousarray(recording.color[view])

        for finish in Batches(self.batch).results(frame, len(recording), views, self._alone):
            yield finish()

    def _alone(self, frames: Sequence[UInt8]) -> list[Finish]:
        with one_at_a_time():
            return self._network(frames)

    @cached_property
    def _network(self) -> Network[Finish]:
        return self.build()
