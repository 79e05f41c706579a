"""What a trained model finds in one scene, and its picture."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ovseg3r_model import pictures
from ovseg3r_model.network.inference import InferenceSettings
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.records import Float32, Int32, LabelledScene
from ovseg3r_model.training.model import TrainedModel
from ovseg3r_model.training.predict import predict
from ovseg3r_model.training.samples import scene_input
from tasks.progress import announce

SURE = 0.15
"""Less sure instances are not drawn: a picture of all hides those that matter."""
_LEGEND = 24  # most names written


def on_device(model: TrainedModel, device: str) -> TrainedModel:
    """The model with its network on that device; "auto" is CUDA where there is one."""
    return replace(model, network=model.network.to(torch_device(device)))


def found_in(
    model: TrainedModel, scene: LabelledScene, text: Float32, inference: InferenceSettings
) -> PredictedInstances:
    """Instances by falling score; labels are rows of ``text`` (T,C).

    Raises:
        InputError: the scene does not fit the network.
    """
    description = model.description
    found = predict(model.network, description.network, scene_input(scene), text, inference, description.boxes)
    announce("segment", 1, 1)
    return found


def draw_found(scene: LabelledScene, found: PredictedInstances, names: Sequence[str]) -> dict[str, bytes]:
    """PNG bytes by file name: the scene in its colours, and with the sure instances in theirs, their names beside."""
    rec = scene.reconstruction
    ids = painted(found)
    views = pictures.onlooker(rec.points) if not len(rec.views) else rec.views
    drawn = pictures.cloud(rec.points, pictures.shaded(rec.points, pictures.id_colors(ids)), views, rec.voxel_size)
    sure = [k for k in range(len(found)) if found.score[k] >= SURE and (ids == k + 1).any()]
    said = [(k + 1, f"{names[k]} {found.score[k]:.2f}") for k in sure[:_LEGEND]]
    return {
        "cloud.png": pictures.png(pictures.cloud(rec.points, rec.points.rgb, views, rec.voxel_size)),
        "found.png": pictures.png(pictures.with_legend(drawn, said)),
    }


def painted(found: PredictedInstances) -> Int32:
    """(N,) int32: the surest instance at each point, from 1 in their order; 0 where none is sure."""
    ids = np.zeros(found.scene_points, np.int32)
    end = np.cumsum(found.sizes)
    for k in range(len(found))[::-1]:
        if found.score[k] >= SURE:
            ids[found.point[end[k] - found.sizes[k] : end[k]]] = k + 1
    return ids
