"""Every setting of a training."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ovseg3r_model.settings import Settings
from ovseg3r_model.supervision.settings import SupervisionSettings


class OptimiserSettings(Settings):
    learning_rate: float = Field(1e-4, gt=0, description="AdamW's, at the start.")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's.")
    decay_power: float = Field(0.9, ge=0, description="Of the polynomial decay to 0 at the last step.")
    warm_up: int = Field(0, ge=0, description="Steps over which the rate rises from 0.")
    clip: float = Field(10.0, gt=0, description="Largest norm of the gradient; a longer one is shortened.")
    accumulate: int = Field(1, ge=1, description="Batches whose gradients are put together for a step.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Keep a running mean of the weights with this decay, and publish that."
    )
    explosion: float = Field(1e4, gt=0, description="A loss above this stops the training, as one that is no number.")


class LabelSettings(Settings):
    """The words that queries are compared with (METHOD 2, text)."""

    count: int = Field(100, ge=1, description="T: a scene's names and random negatives are so many labels.")
    nearest: float = Field(
        0.75, gt=-1, le=1, description="A negative more similar (cosine) to a name of the scene is not drawn."
    )


class QuerySettings(Settings):
    least: float = Field(0.5, gt=0, le=1, description="Smallest share of the superpoints that query in a step.")
    objects: float = Field(0.3, ge=0, le=1, description="Share of the 2D objects that stay in a step.")


class TrainSettings(Settings):
    """How the loop trains; what on, and which network, stands beside it."""

    steps: int = Field(20_000, ge=1, description="Steps of the optimiser.")
    batch: int = Field(4, ge=1, description="Scenes a batch, over all processes.")
    # left out where it is 1: what was trained before it was there keeps its digest
    processes: int = Field(
        1,
        ge=1,
        le=64,
        exclude_if=lambda processes: processes == 1,
        description="Processes of this machine that share each batch, one GPU each; batch is a multiple of it.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Of the weights, the order, the augmentation and the queries.")
    device: str = Field("auto", description="auto (CUDA where there is one), cpu, or a torch device such as cuda:0.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto is bfloat16 (autocast) on CUDA, float32 on the CPU."
    )
    convolution: Literal["torch", "spconv"] = Field(
        "torch", description="spconv (if installed) is quicker on CUDA, the same otherwise; weights interchange."
    )
    backbone: str | None = Field(
        None, description="File with the weights of a Mask3D or SegDINO3D backbone to start from."
    )
    deterministic: bool = Field(True, description="Same input, same weights, also on CUDA; a little slower there.")
    optimiser: OptimiserSettings = OptimiserSettings()
    labels: LabelSettings = LabelSettings()
    queries: QuerySettings = QuerySettings()
    supervision: SupervisionSettings = SupervisionSettings()

    @model_validator(mode="after")
    def _shared_evenly(self) -> Self:
        if self.batch % self.processes:
            raise ValueError(f"batch ({self.batch} scenes) must be a multiple of processes ({self.processes})")
        return self


def precision_of(settings: TrainSettings) -> Literal["float32", "bfloat16"]:
    """What "auto" stands for here.

    Raises:
        InputError: the device cannot be used.
    """
    from ovseg3r_model.reconstruction.protocol import torch_device

    if settings.precision != "auto":
        return settings.precision
    return "bfloat16" if torch_device(settings.device).startswith("cuda") else "float32"
