"""The ladder's scenes: rooms through the real line, as scene-level and as view-wise data, and held out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.ladder_kinds import NOVEL
from flows import generate_labels
from flows.demo import MASK_ERRORS
from flows.demo_train import filmed
from flows.scenes import SceneResult
from flows.settings import LabelParameters
from ovseg3r_model.records import SceneTruth
from ovseg3r_model.settings import (
    FeatureSettings,
    IngestSettings,
    PipelineSettings,
    ReconstructSettings,
    SegmentSettings,
    SimulatedSettings,
    SuperpointSettings,
)
from storage.catalog import Catalog
from storage.catalog_rows import row_of
from storage.digests import stage_digest
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.model_files import SceneKey

VOXEL = 0.04
"""Of all of the ladder's scenes, metres."""
VIDEO = "video.mp4"


@dataclass(frozen=True)
class LadderScenes:
    """annotated: scene-level, base names alone. views: view-wise, every name; geometry: the same with superpoints of
    geometry alone; video: the same rooms by another reconstructor, from their videos alone. held_out: other rooms with
    their whole truth, on superpoints of the same imperfect masks; held_out_geometry: on those of geometry alone.
    """

    annotated: tuple[SceneKey, ...]
    views: tuple[SceneKey, ...]
    geometry: tuple[SceneKey, ...]
    video: tuple[SceneKey, ...]
    held_out: tuple[SceneKey, ...]
    held_out_geometry: tuple[SceneKey, ...]


def make_scenes(folder: Path, annotated: int, views: int, held_out: int, frames: int) -> LadderScenes:
    """Rooms 1000, 1001, ... of ``frames`` frames each; what is there already is not made again."""
    store = Store.open(folder / "store")
    films = [filmed(folder / "rooms", 1000 + number, frames) for number in range(annotated + views + held_out)]
    full, labelled, kept = films[:annotated], films[annotated : annotated + views], films[annotated + views :]
    ibsp, none = SuperpointSettings(), SuperpointSettings(cut="none")
    return LadderScenes(
        annotated=tuple(_base_alone(store, key) for key in _labelled(store, full, "whole", "recording", ibsp)),
        views=_labelled(store, labelled, "views", "recording", ibsp),
        geometry=_labelled(store, labelled, "geometry", "recording", none),
        video=_labelled(store, labelled, "video", VIDEO, ibsp),
        held_out=_labelled(store, kept, "held-out", "recording", ibsp),
        held_out_geometry=_labelled(store, kept, "held-out-geometry", "recording", none),
    )


def _labelled(
    store: Store, films: list[Path], kind: str, source: str, superpoints: SuperpointSettings
) -> tuple[SceneKey, ...]:
    """Through the real line with imperfect masks."""
    keys: list[SceneKey] = []
    for film in films:
        pipeline = PipelineSettings(
            ingest=IngestSettings(),
            reconstruct=ReconstructSettings(
                voxel=VOXEL, scale_from=f"positions:{_track(film)}" if source == VIDEO else None
            ),
            segment=SegmentSettings(
                engine="simulated",
                simulated=SimulatedSettings(truth=str(film), errors=MASK_ERRORS),
            ),
            features=FeatureSettings(),
            superpoints=superpoints,
        )
        scene_id = f"{kind}-{film.name}"
        given = LabelParameters(sources=(str(film / source),), store=store.url, scene_id=scene_id, pipeline=pipeline)
        keys += _keys(generate_labels.run(given))
    return tuple(keys)


def _track(film: Path) -> Path:
    """Where the camera was, as a robot's odometry says: it settles what pictures leave open, the scale."""
    track = film / "track.csv"
    poses = [(path.name.split(".")[0], np.loadtxt(path)) for path in sorted((film / "recording").glob("*.pose.txt"))]
    lines = (f"{name},{pose[0, 3]:.6f},{pose[1, 3]:.6f},{pose[2, 3]:.6f}\n" for name, pose in poses)
    track.write_text("name,x,y,z\n" + "".join(lines))
    return track


def _keys(results: Iterable[SceneResult]) -> tuple[SceneKey, ...]:
    keys = []
    for result in results:
        if result.row is None:
            raise RuntimeError(f"{result.scene_id}: {result.message}")
        keys.append(SceneKey(result.scene_id, result.row.digest))
    return tuple(keys)


def _base_alone(store: Store, key: SceneKey) -> SceneKey:
    """The scene again, annotated as a whole, by its base kinds' instances alone: the novel ones are nobody's, as in a
    data set that does not know them."""
    scene_id = f"base-{key.scene_id}"
    digest = stage_digest("ladder", 1, {"novel": sorted(NOVEL)}, {"scene": key.digest})
    known = SceneStore(store).published(scene_id, digest)
    if known is None:
        stored = SceneStore(store).read(key.scene_id, key.digest)
        truth = stored.scene.truth
        if truth is None:
            raise RuntimeError(f"{key.scene_id} has no truth")
        kept = [k for k, name in enumerate(truth.names) if name not in NOVEL]
        new = np.zeros(len(truth.names) + 1, np.int32)
        new[np.array(kept, np.int64) + 1] = np.arange(1, len(kept) + 1)
        of_base = SceneTruth(new[truth.instance], tuple(truth.names[k] for k in kept))
        base = replace(stored.scene, truth=of_base, annotation="scene")
        own = {
            name: stored.attributes[name] for name in ("seed", "source_digest", "stages", "software", "source_notes")
        }
        known = SceneStore(store).publish(base, scene_id, digest, own | {"settings": {}, "engines": {}}, {})
        row = row_of(
            known, base, source=key.scene_id, source_digest=str(own["source_digest"]), timings={}, settings={},
            engines={},
        )  # fmt: skip
        Catalog(store).add(row)
    return SceneKey(scene_id, digest)
