"""Small valid scenes for the tests of the store; ``change`` makes broken ones."""

from dataclasses import replace
from typing import Any

import numpy as np

from ovseg3r_model.records import (
    Correspondence,
    Instances,
    LabelledScene,
    Points,
    Reconstruction,
    Reduction,
    SceneFeatures,
    SceneTruth,
    Views,
)
from storage.catalog_rows import CatalogRow
from storage.digests import stage_digest
from storage.model_rows import ModelRow
from storage.parquet_rows import utc_now

HEIGHT, WIDTH = 24, 32


def digest(number: int) -> str:
    return stage_digest("publish", number, {}, {})


def scene(points: int = 200, views: int = 5, per_view: int = 3, seed: int = 0) -> LabelledScene:
    """Points seen by one to ``views`` views; in each view ``per_view`` instances: stripes, unlabelled above. Of the
    truth's three instances the first two have points."""
    rng = np.random.default_rng(seed)
    seen = rng.random((points, views)) < 0.5
    seen[np.arange(points), rng.integers(0, views, points)] = True
    of_point, view = np.nonzero(seen)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(of_point, minlength=points))]).astype(np.int64)
    pixel = np.stack([rng.integers(0, WIDTH, len(view)), rng.integers(0, HEIGHT, len(view))], axis=1).astype(np.uint16)
    masks = [_mask(v, per_view) for v in range(views)]
    observation = np.array([masks[v][y, x] for v, (x, y) in zip(view, pixel, strict=True)], dtype=np.uint32)
    normal = rng.normal(size=(points, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    poses = np.tile(np.eye(4), (views, 1, 1))
    poses[:, :3, 3] = rng.normal(size=(views, 3))
    return LabelledScene(
        reconstruction=Reconstruction(
            points=Points(
                xyz=rng.normal(size=(points, 3)).astype(np.float32),
                rgb=rng.integers(0, 256, (points, 3)).astype(np.uint8),
                normal=normal.astype(np.float16),
                confidence=rng.uniform(0.1, 1, points).astype(np.float16),
            ),
            correspondence=Correspondence(indptr, view.astype(np.uint16), pixel),
            views=Views(
                intrinsics=np.tile(np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]]), (views, 1, 1)),
                world_from_camera=poses,
                size=np.tile(np.array([[WIDTH, HEIGHT]], dtype=np.int64), (views, 1)),
                frame=np.arange(views, dtype=np.int64) * 10,
                time=np.full(views, np.nan),
            ),
            scale_known=True,
            world_frame="the first camera",
            voxel_size=0.02,
            quality={"coverage": 0.5},
            notes=("one note",),
        ),
        mask_ids=masks,
        instances=_instances(views, per_view),
        observation=observation,
        superpoint=(np.arange(points) % 7).astype(np.int32),
        features=_features(points, views * per_view, rng),
        truth=SceneTruth((np.arange(points) % 3).astype(np.int32), ("chair", "sofa", "sofa")),
    )


def mesh(points: int = 50) -> LabelledScene:
    """The vertices of a mesh that was annotated by hand: no views and nothing that is seen in them."""
    seen = scene(points=points, views=1)
    none = scene(points=0, views=0)
    return LabelledScene(
        reconstruction=replace(
            seen.reconstruction,
            points=replace(seen.reconstruction.points, confidence=np.ones(points, dtype=np.float16)),
            correspondence=replace(none.reconstruction.correspondence, indptr=np.zeros(points + 1, dtype=np.int64)),
            views=none.reconstruction.views,
        ),
        mask_ids=[],
        instances=replace(none.instances, label_names=()),
        observation=none.observation,
        superpoint=seen.superpoint,
        truth=seen.truth,
        annotation="scene",
    )


def _features(points: int, instances: int, rng: np.random.Generator) -> SceneFeatures:
    """Three channels of seven for points, two of four for instances."""

    def reduction(channels: int, size: int) -> Reduction:
        return Reduction(*(rng.normal(size=shape).astype(np.float32) for shape in (channels, (channels, size))))

    of_points, of_objects = (rng.normal(size=shape).astype(np.float16) for shape in ((points, 3), (instances, 2)))
    return SceneFeatures(of_points, of_objects, "simulated", reduction(7, 3), reduction(4, 2))


def _mask(view: int, per_view: int) -> np.ndarray:
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint32)
    for k in range(per_view):
        ids[4:, k * 8 : k * 8 + 7] = view * per_view + k + 1
    return ids


def _instances(views: int, per_view: int) -> Instances:
    count = views * per_view
    left = np.tile(np.arange(per_view) * 8, views)
    box = np.stack([left, np.full(count, 4), left + 6, np.full(count, HEIGHT - 1)], axis=1)
    return Instances(
        label_names=("chair", "café table"),
        view=np.repeat(np.arange(views), per_view).astype(np.uint16),
        label=(np.arange(count) % 2).astype(np.int32),
        score=np.full(count, 0.5, dtype=np.float32),
        box=box.astype(np.uint16),
        position=np.where(np.arange(count)[:, None] % 3 == 0, np.nan, 1.0).repeat(3, axis=1).astype(np.float32),
    )


def change(base: LabelledScene, path: str, value: Any) -> LabelledScene:
    """``base`` with the field at a dotted path replaced."""

    def put(record: Any, names: list[str]) -> Any:
        inner = value if len(names) == 1 else put(getattr(record, names[0]), names[1:])
        return replace(record, **{names[0]: inner})

    changed: LabelledScene = put(base, path.split("."))
    return changed


def row(scene_id: str = "room", number: int = 1, **fields: Any) -> CatalogRow:
    values: dict[str, Any] = {
        "scene_id": scene_id,
        "digest": digest(number),
        "uri": "memory://x/scenes/room",
        "source_digest": "f" * 64,
        "source": "a test",
        "published_at": utc_now(),
        "schema_version": 3,
        "points": 1,
        "views": 2,
        "observations": 3,
        "instances": 4,
        "superpoints": 5,
        "scale_known": True,
        "annotation": "views",
        "label_histogram": {"chair": 3, "café table": 1},
        "quality": {"coverage": 0.25},
        "timings": {},
        "bytes": 10,
        "settings": "{}",
        "engines": {"segment": "imported"},
        "tags": ("kitchen", "split:train"),
        "tagged_at": fields.get("published_at", utc_now()),
    }
    return CatalogRow(**{**values, **fields})


def model_row(model_id: str = "net", number: int = 1, **fields: Any) -> ModelRow:
    values: dict[str, Any] = {
        "model_id": model_id,
        "digest": digest(number),
        "uri": "memory://x/models/net",
        "created_at": utc_now(),
        "size": "tiny",
        "parameters": 1_000_000,
        "text_encoder": "minilm",
        "vocabulary": 20,
        "scenes": 4,
        "data_digest": "e" * 64,
        "steps": 100,
        "seed": 0,
        "metrics": {"ap50": 0.5},
        "bytes": 10,
        "settings": "{}",
    }
    return ModelRow(**{**values, **fields})
