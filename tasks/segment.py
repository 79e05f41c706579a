"""Stage ``segment``: keyframes -> 2D instance masks. Saved view by view: a killed run repeats what was in flight."""

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from ovseg3r_model.lifting import gather_instances
from ovseg3r_model.reconstruction.lens import masks_of_views
from ovseg3r_model.records import Images, Instances, Reconstruction, ViewMasks
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.settings import SegmentSettings
from storage.arrays import FrameWriter, StoredImages, create_array, open_array, read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.ingest import load_recording
from tasks.progress import announce
from tasks.stage import run_stage

_COLUMNS = ("view", "label", "score", "box")


@task(name="segment", cache_policy=NO_CACHE, persist_result=False)
def segment(store_url: str, digest: str, keyframes: StageRef, settings: SegmentSettings) -> StageRef:
    """Segments every keyframe. Raises InputError where the engine's inputs and the frames do not fit."""

    def work(stages: Stages, attempt: Attempt) -> dict[str, Any]:
        recording = load_recording(keyframes)
        engine = build_segmenter(settings)
        notes = engine.prepare(recording)
        views = range(len(recording))
        missing = [v for v in views if stages.part("segment", digest, _part_name(v)) is None]
        for v, masks in zip(missing, engine.segment(recording, missing), strict=True):
            stages.put_part("segment", digest, _part_name(v), _encode(masks))
            announce("segment", len(views) - len(missing) + missing.index(v) + 1, len(views))
        width, height = recording.size
        instances = _assemble(stages, attempt, digest, (len(views), height, width))
        return {
            "engine": engine.name,
            "open_vocabulary": engine.open_vocabulary,
            "instances": len(instances),
            "labels": list(instances.label_names),
            "notes": list(notes),
        }

    return run_stage(store_url, "segment", digest, work)


def load_masks(ref: StageRef, reconstruction: Reconstruction) -> tuple[Images, Instances]:
    """The scene-unique id maps of the reconstruction's views, read when asked for, and the instances' table without
    positions."""
    group = ref.group()
    columns = {name: read_array(group, name) for name in _COLUMNS}
    position = np.full((len(columns["view"]), 3), np.nan, np.float32)
    instances = Instances(tuple(ref.summary["labels"]), **columns, position=position)
    return masks_of_views(StoredImages(open_array(group, "ids")), instances, reconstruction)


def _assemble(stages: Stages, attempt: Attempt, digest: str, shape: tuple[int, int, int]) -> Instances:
    """Gives the views' instances scene-unique ids, view after view, and stores maps and table."""
    group = attempt.group()
    ids = create_array(group, "ids", shape, np.uint32, "frames")

    def views(writer: FrameWriter) -> Iterator[ViewMasks]:
        before = 0
        for v in range(shape[0]):
            part = stages.part("segment", digest, _part_name(v))
            if part is None:
                raise FileNotFoundError(f"the masks of view {v} were deleted while the segment stage ran; run it again")
            masks = _decode(part)
            writer.append(np.where(masks.ids > 0, masks.ids + np.uint32(before), np.uint32(0)))
            before += len(masks.labels)
            yield masks

    with FrameWriter(ids) as writer:
        instances = gather_instances(views(writer))
    for name in _COLUMNS:
        write_array(group, name, getattr(instances, name))
    return instances


def _part_name(view: int) -> str:
    return f"{view:06d}.npz"


def _encode(masks: ViewMasks) -> bytes:
    out = io.BytesIO()
    labels = np.frombuffer(json.dumps(masks.labels).encode(), np.uint8)
    np.savez_compressed(out, ids=masks.ids, scores=masks.scores, labels=labels)
    return out.getvalue()


def _decode(data: bytes) -> ViewMasks:
    with np.load(io.BytesIO(data), allow_pickle=False) as part:
        return ViewMasks(part["ids"], tuple(json.loads(part["labels"].tobytes())), part["scores"])
