"""A trained model as files, and back: weights, what the network is, the words it was trained on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ovseg3r_model.network.build import build_network
from ovseg3r_model.network.segmenter import Segmenter
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.text.settings import TextSettings

WEIGHTS, MODEL, VOCABULARY = "weights.safetensors", "model.json", "vocabulary.json"


@dataclass(frozen=True)
class ModelDescription:
    """What a network's weights are for. text: settings of its text encoder; encoder: what that is called, with its
    weights' digest: another would give the words other places. boxes: whether its boxes were trained, which
    only scene-level scenes do.
    """

    network: NetworkSettings
    text: TextSettings
    encoder: str
    boxes: bool


@dataclass(frozen=True)
class TrainedModel:
    """network: in evaluation mode, on the CPU. vocabulary: the names it was trained on."""

    network: Segmenter
    description: ModelDescription
    vocabulary: tuple[str, ...]


def model_files(
    weights: Mapping[str, Tensor], description: ModelDescription, vocabulary: Sequence[str]
) -> dict[str, bytes]:
    """The files of a model, by name; ``load_model`` reads them."""
    said: dict[str, Any] = {
        "network": description.network.model_dump(mode="json"),
        "text": description.text.model_dump(mode="json"),
        "encoder": description.encoder,
        "boxes": description.boxes,
    }
    return {
        WEIGHTS: save_tensors({name: value.contiguous() for name, value in weights.items()}),
        MODEL: _json(said),
        VOCABULARY: _json(list(vocabulary)),
    }


def load_model(get: Callable[[str], bytes]) -> TrainedModel:
    """From the bytes of its files by name."""
    said = json.loads(get(MODEL))
    description = ModelDescription(
        NetworkSettings.model_validate(said["network"]),
        TextSettings.model_validate(said["text"]),
        str(said["encoder"]),
        bool(said["boxes"]),
    )
    network = build_network(description.network)
    network.load_state_dict(load_tensors(get(WEIGHTS)))
    return TrainedModel(network.eval(), description, tuple(json.loads(get(VOCABULARY))))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
