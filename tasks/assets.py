"""Lineage in Prefect: source -> scene -> dataset -> model, as asset keys and the events that something was made."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.assets import Asset
from prefect.context import AssetContext
from prefect.states import Completed

from storage.catalog_rows import CatalogRow
from storage.model_rows import ModelRow

_FORBIDDEN = re.compile(r"""[\s\0#?&%"'<>\[\]{}|\\^`]""")
_LONGEST = 480  # characters; Prefect takes 512


def dataset_asset(store_url: str) -> str:
    """The key of all scenes of a store (its URL or folder): what a training is made from. A scene that is published
    newly is announced as ``prefect.asset.materialization.succeeded`` of this key, with scene_id and digest as payload.
    """
    return _key(store_url, "/scenes")


def scene_asset(store_url: str, scene_id: str) -> str:
    """The key of one scene."""
    return _key(store_url, f"/scenes/{scene_id}")


def model_asset(store_url: str, model_id: str) -> str:
    """The key of one model."""
    return _key(store_url, f"/models/{model_id}")


def source_asset(source: str) -> str:
    """The key of a recording."""
    return _key(source, "")


def scene_made(store_url: str, row: CatalogRow) -> None:
    """Tells Prefect that the scene was published newly."""
    about = {"scene_id": row.scene_id, "digest": row.digest}
    scene = scene_asset(store_url, row.scene_id)
    _made(scene, source_asset(row.source), about)
    _made(dataset_asset(store_url), scene, about)


def model_made(store_url: str, row: ModelRow) -> None:
    """Tells Prefect that the model was published newly."""
    about = {"model_id": row.model_id, "digest": row.digest, "data_digest": row.data_digest, "scenes": row.scenes}
    _made(model_asset(store_url, row.model_id), dataset_asset(store_url), about | {"metrics": row.metrics})


def _made(key: str, of: str, about: Mapping[str, Any]) -> None:
    """As a materialising task would at its end, without the cost of a task run."""
    made = AssetContext(
        direct_asset_dependencies={Asset(key=of)},
        downstream_assets={Asset(key=key)},
        materialization_metadata={key: dict(about)},
    )
    made.emit_events(Completed())


def _key(place: str, path: str) -> str:
    """A URL or local path as Prefect takes keys: without credentials or query, with few kinds of characters; one that
    had others, or is too long, ends in a digest instead."""
    parts = urlsplit(place if "://" in place else Path(place).expanduser().resolve().as_uri())
    host = parts.netloc.rpartition("@")[2]
    whole = f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}{path}"
    plain = _FORBIDDEN.sub("_", whole)
    if plain == whole and len(plain) <= _LONGEST:
        return plain
    return f"{plain[: _LONGEST - 17]}.{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
