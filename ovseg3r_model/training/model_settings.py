"""All that decides a model besides the scenes, and what the named sizes stand for."""

from typing import Any

from pydantic import Field, model_validator

from ovseg3r_model.network.settings import SIZES, NetworkSettings, Size
from ovseg3r_model.settings import Settings, merged
from ovseg3r_model.text.settings import TextSettings
from ovseg3r_model.training.data_settings import AugmentSettings
from ovseg3r_model.training.settings import TrainSettings

_PRESETS: dict[Size, dict[str, Any]] = {
    "tiny": {"train": {"steps": 1500, "batch": 2, "optimiser": {"learning_rate": 1e-3, "warm_up": 50}}},
    "small": {"train": {"steps": 10_000, "optimiser": {"learning_rate": 3e-4, "warm_up": 100}}},
    "base": {},
}


class ModelSettings(Settings):
    """``size`` says what stands where nothing is given: the network, steps, batch and learning rate."""

    size: Size = Field("base", description="tiny: minutes on a CPU; small: one GPU, hours; base: the paper's.")
    features: bool = Field(True, description="Use the scenes' 2D features, where they have them.")
    network: NetworkSettings = NetworkSettings()
    text: TextSettings = TextSettings()
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, values: Any) -> Any:
        size = values.get("size", "base") if isinstance(values, dict) else None
        if size not in SIZES:
            return values
        return merged({"network": SIZES[size].model_dump()} | _PRESETS[size], values)
