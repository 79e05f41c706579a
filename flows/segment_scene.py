"""The flow ``segment``: a published scene, or a source that is reconstructed first, and any words -> the instances that
a trained model finds."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import flow

from flows.inspect_scene import find
from flows.segment_settings import SegmentParameters, is_published, labelling, words_of
from flows.settings import only_scene
from flows.written_files import write_found
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Instances, LabelledScene
from ovseg3r_model.superpoints import geometry_superpoints
from ovseg3r_model.training.model import TrainedModel
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.fetch import fetched
from tasks.found import draw_found, found_in, on_device
from tasks.ingest import ingest
from tasks.model_files import find_model, read_model
from tasks.plan import plan_reconstruction
from tasks.progress import of_scene
from tasks.reconstruct import load_reconstruction, reconstruct


@flow(name="segment", persist_result=False)
def segment_scene(parameters: SegmentParameters) -> dict[str, Any]:
    """The report as JSON values; the folder gets ``instances.json``, ``masks.npz``, ``points.npz`` and pictures.

    Raises:
        InputError: there is no such model, scene or source, or it does not fit the model.
    """
    start = time.perf_counter()
    store = Store.open(parameters.store, create=False)
    row = find_model(store, parameters.model)
    model, encoder = read_model(store, row)
    scene_id, scene = _scene(store, parameters)
    words = words_of(parameters, model.vocabulary)
    with of_scene(scene_id):
        text = encoder.encode(words.phrases)
        found = found_in(on_device(model, parameters.device), scene, text, parameters.inference)
    instances = [
        {"name": words.phrases[label], "score": round(float(score), 4), "points": int(size)}
        for label, score, size in zip(found.label, found.score, found.sizes, strict=True)
    ]
    folder = Path(parameters.out or f"found-{scene_id}")
    report = {
        "scene_id": scene_id,
        "model": {"id": row.model_id, "digest": row.digest},
        "words": list(words.phrases),
        "notes": [*words.notes, *_lacking(model, scene)],
        "points": len(scene.reconstruction.points),
        "instances": instances,
        "folder": str(folder),
        "seconds": round(time.perf_counter() - start, 2),
    }
    names = [words.phrases[label] for label in found.label]
    write_found(folder, report, {**_arrays(scene, found), **draw_found(scene, found, names)})
    return report


def _lacking(model: TrainedModel, scene: LabelledScene) -> list[str]:
    if model.description.network.point_channels and scene.features is None:
        return [
            "The model was trained with 2D features, which this scene has not: label it with --features and segment "
            "that for better instances."
        ]
    return []


def _scene(store: Store, parameters: SegmentParameters) -> tuple[str, LabelledScene]:
    """The published scene, or the source reconstructed and grouped by geometry, without any 2D masks."""
    if is_published(store, parameters.target):
        row = find(store, parameters.target)
        return row.scene_id, SceneStore(store).read(row.scene_id, row.digest).scene
    scene = only_scene(labelling(parameters))
    source, scene_id, settings = scene.source, scene.scene_id, scene.settings
    with of_scene(scene_id), fetched(source, settings) as here:
        digests = plan_reconstruction(here.source, here.settings).digests
        keyframes = ingest(store.url, digests["ingest"], str(here.source), settings.ingest)
        done = reconstruct(store.url, digests["reconstruct"], keyframes, here.settings.reconstruct, settings.seed)
    rec = load_reconstruction(done)
    nothing = Instances(
        (), np.zeros(0, np.uint16), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros((0, 4), np.uint16),
        np.zeros((0, 3), np.float32),
    )  # fmt: skip
    superpoint = geometry_superpoints(rec.points, settings.superpoints)
    return scene_id, LabelledScene(rec, [], nothing, np.zeros(len(rec.correspondence), np.uint32), superpoint)


def _arrays(scene: LabelledScene, found: PredictedInstances) -> dict[str, bytes]:
    """``points.npz``: xyz, rgb (N,3). ``masks.npz``: the points (K,) of the first instance, then of the second ...;
    sizes (P,)."""
    points = scene.reconstruction.points
    made: dict[str, dict[str, NDArray[Any]]] = {
        "points.npz": {"xyz": points.xyz, "rgb": points.rgb},
        "masks.npz": {"point": found.point, "sizes": found.sizes, "score": found.score, "label": found.label},
    }
    out = {}
    for name, arrays in made.items():
        target = io.BytesIO()
        np.savez_compressed(target, **arrays)  # type: ignore[arg-type]
        out[name] = target.getvalue()
    return out
