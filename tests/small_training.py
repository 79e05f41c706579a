"""Small scenes that a network can be trained on in a second, published straight into a store."""

from dataclasses import replace
from typing import Any

import numpy as np

from ovseg3r_model.records import LabelledScene, SceneTruth
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow, row_of
from storage.scene_store import SceneStore
from storage.store import Store
from tests.unit.stored_scenes import HEIGHT, change, digest, mesh, scene

NAMES = ("chair", "café table", "sofa")
POINT_CHANNELS, OBJECT_CHANNELS = 7, 4
"""Of the scenes' 2D features before they were reduced."""

_THING = np.array([1, 1, 2, 2, 3, 0, 0], np.int32)  # of each superpoint: the number of its thing, 0 for none
_PLACE = np.array([0, 0, 1, 1, 2, 3, 4])
_CORNERS = np.array([(0.0, 0, 0), (2, 0, 0), (0, 2, 0), (2, 2, 0), (1, 1, 2)])
_COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [90, 90, 90]], np.uint8)

SETTINGS: dict[str, Any] = {
    "size": "tiny",
    "network": {
        "voxel": 0.2,
        "backbone": {"stem": 8, "planes": [8] * 8},
        "decoder": {"layers": 1, "width": 16, "heads": 2, "feed_forward": 16},
    },
    "text": {"engine": "minilm"},
    "train": {"steps": 6, "batch": 2, "device": "cpu", "labels": {"count": 4}},
}
"""A step of it takes hundredths of a second."""


def viewed(seed: int = 0, features: bool = False) -> LabelledScene:
    """700 points in 7 superpoints, three things that stand apart seen from three views, with its truth."""
    made = scene(points=700, views=3, seed=seed)
    rec, thing = made.reconstruction, _THING[made.superpoint]
    rng = np.random.default_rng(seed)
    corner = rng.permutation(_CORNERS)[_PLACE] + rng.uniform(-0.3, 0.3, (5, 3))[_PLACE]
    corner[[1, 3], 0] += 0.3  # the second superpoints of two things
    middle = corner[made.superpoint]
    points = replace(
        rec.points,
        xyz=(middle + rng.uniform(-0.2, 0.2, (700, 3))).astype(np.float32),
        rgb=_COLOURS[thing - 1],
    )
    seen = thing[rec.correspondence.point()]
    pixel = rec.correspondence.pixel.copy()
    pixel[:, 0] = (np.maximum(seen, 1) - 1) * 8 + pixel[:, 0] % 7
    pixel[:, 1] = np.where(seen > 0, 4 + pixel[:, 1] % (HEIGHT - 4), pixel[:, 1] % 4)
    observation = np.where(seen > 0, rec.correspondence.view.astype(np.uint32) * 3 + seen.astype(np.uint32), 0)
    correspondence = replace(rec.correspondence, pixel=pixel)
    return replace(
        made,
        reconstruction=replace(rec, points=points, correspondence=correspondence),
        instances=replace(made.instances, label_names=NAMES, label=np.tile(np.arange(3, dtype=np.int32), 3)),
        observation=observation.astype(np.uint32),
        truth=SceneTruth(thing, NAMES),
        features=made.features if features else None,
    )


def whole(seed: int = 0) -> LabelledScene:
    """The same kind of scene annotated as a whole, without any view."""
    seen = viewed(seed)
    made = mesh(700)
    points = replace(seen.reconstruction.points, confidence=made.reconstruction.points.confidence)
    return replace(
        made, reconstruction=replace(made.reconstruction, points=points), superpoint=seen.superpoint, truth=seen.truth
    )


def without_truth(made: LabelledScene) -> LabelledScene:
    without: LabelledScene = change(made, "truth", None)
    return without


def publish(
    store: Store, scene_id: str, made: LabelledScene, number: int, *tags: str, film: str | None = None
) -> CatalogRow:
    """A listed scene under the digest of that number, made of a film of its own where none is named."""
    done = SceneStore(store).publish(made, scene_id, digest(number), {"seed": 0, "stages": {}, "software": {}}, {})
    row = row_of(
        done,
        made,
        source="a test",
        source_digest=film or f"film of {scene_id}",
        timings={},
        settings={},
        engines={},
        tags=tags,
    )
    Catalog(store).add(row)
    return row


def publish_all(store: Store) -> None:
    """attic and cellar by views, hall as a whole, kitchen, which is tagged split:val, to evaluate on."""
    publish(store, "attic", viewed(0), 1, "split:train")
    publish(store, "cellar", viewed(1), 2, "split:train")
    publish(store, "hall", whole(2), 3, "split:train", "whole")
    publish(store, "kitchen", viewed(3), 4, "split:val")
