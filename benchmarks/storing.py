"""Publishing and reading back: MB of raw arrays a second, and stored bytes, against ``np.save`` and ``np.load``."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row, timed_in_turn
from benchmarks.wavy import wavy_scene
from ovseg3r_model.records import LabelledScene
from ovseg3r_model.settings import SuperpointSettings
from ovseg3r_model.superpoints import geometry_superpoints
from storage.digests import stage_digest
from storage.scene_store import PublishedScene, SceneStore
from storage.schema import MASKS, SCENE_ARRAYS
from storage.store import Store


def storage_rows(quick: bool) -> list[Row]:
    points, views, runs = (5_000, 9, 1) if quick else (500_000, 100, 3)
    bare = wavy_scene(points, views)
    scene = replace(bare, superpoint=geometry_superpoints(bare.reconstruction.points, SuperpointSettings()))
    arrays = {spec.path: data for spec in SCENE_ARRAYS if (data := spec.get(scene)) is not None}
    arrays[MASKS] = np.stack([scene.mask_ids[v] for v in range(views)])
    raw = sum(data.nbytes for data in arrays.values())
    with tempfile.TemporaryDirectory() as folder:
        scenes = SceneStore(Store.open(Path(folder) / "store"))
        number = iter(range(1_000))
        publish, save, read, load = timed_in_turn(
            [
                lambda: _publish(scenes, scene, next(number)),
                partial(_save, Path(folder), arrays),
                lambda: _read(scenes),
                partial(_load, Path(folder), arrays),
            ],
            runs,
        )
        stored = _publish(scenes, scene, 0).bytes
    count = len(scene.reconstruction.points)
    megabytes = raw / 1e6
    observations = f"{len(scene.observation) / 1e6:.2f}M observations"
    size = f"{count / 1e3:.0f}k points, {observations}, {views} maps 640x480: {megabytes:.0f} MB"
    return [
        Row("storage", "publish: validate, compress, hash", size, publish, runs, megabytes / publish, "MB/s",
            "np.save of the same arrays", megabytes / save),
        Row("storage", "read back, masks too", size, read, runs, megabytes / read, "MB/s",
            "np.load of the same arrays", megabytes / load),
        Row("storage", "stored size", size, None, 1, stored / count, "bytes/point",
            "the arrays uncompressed", raw / count),
    ]  # fmt: skip


def _publish(scenes: SceneStore, scene: LabelledScene, number: int) -> PublishedScene:
    """Under a digest of its own: what is published already would not be written again."""
    return scenes.publish(scene, "wavy", _digest(number), {}, {})


def _digest(number: int) -> str:
    return stage_digest("publish", number, {}, {})


def _read(scenes: SceneStore) -> None:
    """All arrays, and every map once."""
    scene = scenes.read("wavy", _digest(0)).scene
    for view in range(len(scene.mask_ids)):
        scene.mask_ids[view]


def _save(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    for name, data in arrays.items():
        np.save(folder / f"{name.replace('/', '-')}.npy", data)


def _load(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    for name in arrays:
        np.load(folder / f"{name.replace('/', '-')}.npy")
