"""The flow ``train``: published scenes -> a published model. One page: who calls what."""

import hashlib
from pathlib import Path
from typing import Any

from prefect import flow

from flows.train_settings import TrainParameters, chosen_scenes, settled
from ovseg3r_model.segmentation.imported import file_digest
from storage.catalog import ModelCatalog
from storage.digests import canonical_json, stage_digest
from storage.model_rows import ModelRow
from storage.store import Store
from tasks.model_files import keys_of
from tasks.progress import of_scene
from tasks.publish_model import publish_model
from tasks.seen import model_seen
from tasks.server import show_logs
from tasks.train import STAGE, VERSION, train


@flow(name="train", persist_result=False)
def train_model(parameters: TrainParameters) -> ModelRow:
    """Trains a model on what the selection finds and publishes it; a training that was killed goes on where it was, and
    one that is done is not done again.

    Raises:
        InputError: the store is unusable, or the selection finds nothing to train on, or nothing to evaluate on.
    """
    show_logs()
    store = Store.open(parameters.store, create=False)
    store.check_writable()
    scenes, held_out = chosen_scenes(store, parameters)
    model, encoder = settled(parameters.model)
    vocabulary = tuple(sorted({name for row in scenes for name in row.label_histogram}))
    inputs = {f"scene {row.scene_id}": row.digest for row in scenes}
    data_digest = hashlib.sha256(canonical_json(inputs)).hexdigest()
    others = {f"held out {row.scene_id}": row.digest for row in held_out} | {"text encoder": encoder}
    # How often it is evaluated decides the curves that are kept, not the weights; they are one output all the same.
    # Where a file lies and what the numbers are computed with decide nothing.
    unused = {"train": {"device", "convolution", "backbone"}}
    config: dict[str, Any] = {
        "model": model.model_dump(mode="json", exclude=unused),
        "schedule": parameters.schedule.model_dump(mode="json", include={"evaluate_every", "report_every"}),
    }
    if model.train.backbone is not None:
        others["backbone"] = file_digest(Path(model.train.backbone).expanduser())
    digest = stage_digest(STAGE, VERSION, config, inputs | others)
    with of_scene(parameters.model_id):
        trained = train(
            store.url, digest, keys_of(scenes), keys_of(held_out), vocabulary,
            any(row.annotation == "scene" for row in scenes), model, parameters.schedule,
        )  # fmt: skip
        listed = {row.digest for row in ModelCatalog(store).rows(latest_only=False)}
        row = publish_model(
            store.url, parameters.model_id, trained, keys_of(scenes), keys_of(held_out), vocabulary, data_digest,
            [row.source_digest for row in scenes], model,
        )  # fmt: skip
    if row.digest not in listed:
        model_seen(store.url, row)
    return row
