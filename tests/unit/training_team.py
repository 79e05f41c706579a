"""What the processes of a team have in the tests of them: a training of made-up scenes."""

from dataclasses import dataclass, replace

import torch
from safetensors.torch import save

from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.training.samples import TrainingScene
from ovseg3r_model.training.settings import TrainSettings
from ovseg3r_model.training.step import Prepare
from ovseg3r_model.training.training import Diverged, StepReport, Training
from tests.unit.test_training import NETWORK, POOL, settings
from tests.unit.training_scenes import made_up

STEPS = 3
WITH_BATCH_NORM = NETWORK.model_copy(update={"backbone": NETWORK.backbone.model_copy(update={"norm": "batch"})})


def bare(seed: int) -> TrainingScene:
    """Without 2D objects: what looks at them is not used."""
    made = made_up(seed, views=True)
    return replace(made, input=replace(made.input, objects=made.input.objects[:0], object_position=torch.zeros(0, 3)))


def batch_of(number: int) -> list[TrainingScene]:
    """Of two scenes, one for each process. 2D objects, boxes are in one, in none, in both and one."""
    return [[made_up(0), bare(1)], [bare(2), bare(3)], [made_up(4, views=True), made_up(5)]][number % STEPS]


def nan(made: TrainingScene) -> TrainingScene:
    return replace(made, scene_id="broken", input=replace(made.input, rgb=made.input.rgb * torch.nan))


@dataclass(frozen=True)
class Lesson:
    """breaks: what is wrong in the second step, in the second process: its loss or its gradient."""

    network: NetworkSettings = NETWORK
    breaks: str = ""
    accumulate: int = 1

    @property
    def settings(self) -> TrainSettings:
        return settings(
            STEPS, batch=2, optimiser={"learning_rate": 1e-3, "warm_up": 2, "ema": 0.8, "accumulate": self.accumulate}
        )


class Pupil:
    """What each process of the team has."""

    training: Training

    def begin(self, lesson: Lesson, checkpoint: bytes | None = None) -> None:
        self.training, self.lesson = Training(lesson.network, lesson.settings), lesson
        if checkpoint is not None:
            self.training.restore(checkpoint)

    def step(self) -> StepReport | Diverged:
        accelerator, step, chosen = self.training.accelerator, self.training.step, self.lesson
        share = 2 // accelerator.num_processes
        first = share * accelerator.process_index
        prepare = Prepare(chosen.network, chosen.settings, POOL, first)
        broken = chosen.breaks if (step, first) == (1, 1) else ""
        works = []
        for number in range(step * chosen.accumulate, (step + 1) * chosen.accumulate):
            scenes = batch_of(number)[first : first + share]
            works.append(prepare(number, [nan(made) if broken == "loss" else made for made in scenes]))
        if broken == "gradient":
            next(self.training.network.parameters()).register_hook(lambda gradient: gradient * torch.nan)
        try:
            return self.training.run_step(works)
        except Diverged as error:
            return error

    def gradients(self) -> bytes:
        named = self.training.network.named_parameters()
        return save({name: value.grad.clone() for name, value in named if value.grad is not None})

    def checkpoint(self) -> bytes:
        return self.training.checkpoint()
