"""What is done how often beside a training."""

from pydantic import Field

from ovseg3r_model.settings import Settings
from ovseg3r_model.training.data_settings import DataSettings


class ScheduleSettings(Settings):
    """Nothing here changes the weights."""

    checkpoint_every: int = Field(
        100, ge=1, description="Steps between checkpoints: what a killed run repeats at most."
    )
    evaluate_every: int = Field(
        0, ge=0, description="Steps between evaluations on the held-out scenes; 0: once, at the end."
    )
    report_every: int | None = Field(
        None, ge=1, description="Steps that a point of the curves is the mean of; without it an epoch, at most 100."
    )
    tensorboard: str | None = Field(None, description="Folder for TensorBoard's scalars.")
    data: DataSettings = DataSettings()
