"""A finished training as a published, listed model."""

from collections.abc import Sequence
from typing import Any

from prefect import task

from ovseg3r_model.training.model_settings import ModelSettings
from storage.catalog import ModelCatalog
from storage.digests import canonical_json
from storage.model_rows import ModelRow
from storage.model_store import ModelStore
from storage.parquet_rows import utc_now
from storage.stages import StageRef
from storage.store import Store
from tasks.listing import list_row, software
from tasks.model_files import SceneKey
from tasks.retrying import STAGE_OPTIONS


@task(name="publish-model", **STAGE_OPTIONS)
def publish_model(
    store_url: str,
    model_id: str,
    trained: StageRef,
    scenes: Sequence[SceneKey],
    held_out: Sequence[SceneKey],
    vocabulary: Sequence[str],
    data_digest: str,
    sources: Sequence[str],
    settings: ModelSettings,
) -> ModelRow:
    """Publishes the training's files under the model's id and lists it. What is complete already is only listed."""
    store = Store.open(store_url)
    files = {name: trained.get(name) for name in trained.summary["files"]}
    said = settings.model_dump(mode="json")
    manifest: dict[str, Any] = {
        "settings": said,
        "sources": sorted(set(sources)),
        "scenes": {scene.scene_id: scene.digest for scene in scenes},
        "held_out": {scene.scene_id: scene.digest for scene in held_out},
        "encoder": trained.summary["encoder"],
        "metrics": trained.summary["metrics"],
        "software": software(),
    }
    published = ModelStore(store).publish(model_id, trained.digest, files, manifest)
    row = ModelRow(
        model_id=model_id,
        digest=published.digest,
        uri=published.uri,
        created_at=utc_now(),
        size=settings.size,
        parameters=int(trained.summary["parameters"]),
        text_encoder=str(trained.summary["encoder"]),
        vocabulary=len(vocabulary),
        scenes=len(scenes),
        data_digest=data_digest,
        steps=settings.train.steps,
        seed=settings.train.seed,
        metrics={name: float(value) for name, value in trained.summary["metrics"].items()},
        bytes=published.total_bytes,
        settings=canonical_json(said).decode(),
    )
    return list_row(ModelCatalog(store), row)
