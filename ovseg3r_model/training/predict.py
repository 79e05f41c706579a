"""A scene and words in, instances out."""

import numpy as np
import torch

from ovseg3r_model.network.inference import InferenceSettings, instances
from ovseg3r_model.network.inputs import SceneInput, make_batch
from ovseg3r_model.network.segmenter import Segmenter, all_superpoints
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Float32


@torch.no_grad()
def predict(
    network: Segmenter,
    settings: NetworkSettings,
    scene: SceneInput,
    text: Float32,
    inference: InferenceSettings,
    boxes: bool,
) -> PredictedInstances:
    """The instances of a scene of N points; labels are rows of ``text`` (T,C), embeddings of the words of unit length.

    The network runs on the device that it is on, in the mode that it is in.

    Raises:
        InputError: the scene does not fit the network.
    """
    device = next(network.parameters()).device
    batch = make_batch([scene], settings).to(device)
    (predicted,) = network(batch, all_superpoints(batch), [torch.from_numpy(text).to(device)])
    found = instances(predicted, scene, inference, boxes)
    return PredictedInstances.from_masks(
        found.mask.numpy(), found.label.numpy(), found.score.numpy().astype(np.float64)
    )
