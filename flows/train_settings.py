"""The parameters of the flow ``train``."""

from pydantic import Field

from flows.settings import DEFAULT_STORE
from ovseg3r_model.settings import Settings
from ovseg3r_model.training.model_settings import ModelSettings
from ovseg3r_model.training.schedule import ScheduleSettings
from storage.selection import SelectionSettings


class TrainParameters(Settings):
    """Which published scenes to train on, what, and under which name to publish it."""

    model_id: str = Field("segmenter", description="Name that the model is published under.")
    store: str = Field(DEFAULT_STORE, description="Folder or URL of the store that holds the scenes, and the models.")
    scenes: SelectionSettings = SelectionSettings()
    held_out: SelectionSettings | None = Field(
        None, description="Scenes with truth to evaluate on; they are left out of the training."
    )
    model: ModelSettings = ModelSettings()
    schedule: ScheduleSettings = ScheduleSettings()
