"""One published scene in words and numbers."""

import json
from pathlib import Path
from typing import Any

import zarr

from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.names import check_scene_id
from storage.scene_store import SceneStore
from storage.store import Store


def find(store: Store, scene_id: str) -> CatalogRow:
    """The newest row of a scene.

    Raises:
        InputError: the id is unusable, or no such scene is listed.
    """
    check_scene_id(scene_id)
    rows = Catalog(store).rows()
    for row in rows:
        if row.scene_id == scene_id:
            return row
    known = ", ".join(row.scene_id for row in rows[:10]) or "none"
    raise InputError(f"There is no scene {scene_id} in {store.url}; published are: {known}.")


def describe(store: Store, scene_id: str, verify: bool = False) -> dict[str, Any]:
    """Arrays, counts, sizes, digests, timings, settings as JSON values; with ``verify`` also every fault found on
    reading all of it.
    """
    row = find(store, scene_id)
    scenes = SceneStore(store)
    published = scenes.published(scene_id, row.digest)
    if published is None:
        raise InputError(f"Scene {scene_id} is listed, but its data is gone from {store.url}; label its source again.")
    group = store.open_group(f"{published.prefix}/scene.zarr")
    attributes: dict[str, Any] = group.attrs.asdict()
    stored = {e.key.removeprefix(f"{published.prefix}/scene.zarr/"): e.size for e in store.list(published.prefix)}
    out: dict[str, Any] = {
        "scene_id": scene_id,
        "digest": row.digest,
        "content_digest": published.content,
        "uri": row.uri,
        "source": row.source,
        "source_digest": row.source_digest,
        "published_at": row.published_at,
        "bytes": row.bytes,
        "seed": attributes["seed"],
        "annotation": row.annotation,
        "tags": list(row.tags),
        "counts": {n: getattr(row, n) for n in ("views", "points", "observations", "instances", "superpoints")},
        "labels": row.label_histogram,
        "quality": row.quality,
        "timings": row.timings,
        "stages": attributes["stages"],
        "engines": row.engines,
        "software": attributes["software"],
        "notes": [*attributes["source_notes"], *attributes["notes"]],
        "settings": json.loads(row.settings),
        "arrays": [_array(name, array, stored) for name, array in _arrays(group)],
    }
    if verify:
        out["faults"] = scenes.verify(scene_id, row.digest)
    return out


def save_pictures(store: Store, scene_id: str, folder: Path) -> list[str]:
    """Writes the scene's pictures into ``folder`` and gives their paths.

    Raises:
        InputError: the folder cannot be written to.
    """
    row = find(store, scene_id)
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in SceneStore(store).pictures(scene_id, row.digest).items():
            path = folder / f"{scene_id}-{name}"
            path.write_bytes(data)
            paths.append(str(path))
    except OSError as error:
        raise InputError(
            f"{folder}: the pictures cannot be written ({error.strerror}); name another folder."
        ) from error
    return paths


def _arrays(group: zarr.Group) -> list[tuple[str, "zarr.Array[Any]"]]:
    found = [(name, member) for name, member in group.members(max_depth=None) if isinstance(member, zarr.Array)]
    return sorted(found, key=lambda item: item[0])


def _array(name: str, array: "zarr.Array[Any]", stored: dict[str, int]) -> dict[str, Any]:
    size = sum(n for key, n in stored.items() if key.startswith(f"{name}/c/") or key == f"{name}/c")
    return {
        "name": name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "stored_bytes": size,
        "ratio": array.nbytes / size if size else 1.0,
    }
