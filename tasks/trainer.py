"""One process's share of a training: its network, and its part of the scenes of each step."""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

from safetensors.torch import save as save_tensors

from ovseg3r_model.network.segmenter import parameters_of
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.training.data_settings import DataSettings
from ovseg3r_model.training.labels import LabelPool
from ovseg3r_model.training.settings import TrainSettings
from ovseg3r_model.training.step import Prepare, Work
from ovseg3r_model.training.training import Diverged, StepReport, Training
from tasks.scene_dataset import SceneDataset, scene_batches


class Trainer:
    """What a team of processes is asked for, see ``processes.team``; bytes stand for tensors."""

    def __init__(
        self,
        network: NetworkSettings,
        settings: TrainSettings,
        pool: LabelPool,
        dataset: SceneDataset,
        data: DataSettings,
    ) -> None:
        self._network, self._settings, self._pool = network, settings, pool
        self._dataset, self._data = dataset, data
        self._training = Training(network, settings)

    def run_step(self) -> StepReport | Diverged:
        """The next step of those that are left, or why there is none; in all processes at once.

        Raises:
            InputError: a scene cannot be read or does not fit the network.
        """
        try:
            return self._training.run_step(next(self._steps))
        except Diverged as error:
            return error

    def restore(self, data: bytes) -> tuple[int, Any]:
        """Goes on from a checkpoint, before any step; the step that it was taken at, and its notes."""
        notes = self._training.restore(data)
        return self._training.step, notes

    def checkpoint(self, notes: Any) -> bytes:
        """See ``Training.checkpoint``."""
        return self._training.checkpoint(notes)

    def weights(self) -> bytes:
        """``Training.weights`` as safetensors."""
        return save_tensors({name: value.contiguous() for name, value in self._training.weights().items()})

    def parameters(self) -> int:
        """How many numbers are trained."""
        return parameters_of(self._training.network)

    @cached_property
    def _steps(self) -> Iterator[list[Work]]:
        """The work of each step that is left."""
        chosen, accelerator = self._settings, self._training.accelerator
        together, share = chosen.optimiser.accumulate, chosen.batch // accelerator.num_processes
        first = accelerator.process_index * share
        numbers = range(self._training.step * together, chosen.steps * together)
        works = scene_batches(
            self._dataset, self._data, chosen.batch, numbers,
            Prepare(self._network, chosen, self._pool, first), range(first, first + share),
        )  # fmt: skip
        return iter(lambda: list(islice(works, together)), [])
