"""Stage ``segment``: keyframes -> 2D instance masks. Saved view by view: a killed run repeats what was in flight."""

import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from prefect import task

from ovseg3r_model.errors import InputError
from ovseg3r_model.lifting import gather_instances
from ovseg3r_model.reconstruction.lens import instances_of_views, masks_of_views
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.records import Float16, Images, Instances, Reconstruction, ViewFeatures, ViewMasks
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.segmentation.protocol import engine_for
from ovseg3r_model.settings import SegmentSettings
from storage.arrays import FrameWriter, StoredImages, create_array, open_array, read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.ingest import load_recording
from tasks.progress import announce
from tasks.retrying import STAGE_OPTIONS
from tasks.stage import run_stage

_COLUMNS = ("view", "label", "score", "box")
_BATCH = "batch.txt"


@task(name="segment", **STAGE_OPTIONS)
def segment(
    store_url: str, digest: str, keyframes: StageRef, settings: SegmentSettings, features: bool = False
) -> StageRef:
    """Segments every keyframe; ``features``: and keeps the engine's features of them.

    Raises InputError where the engine's inputs and the frames do not fit.
    """

    def work(stages: Stages, attempt: Attempt) -> dict[str, Any]:
        recording = load_recording(keyframes)
        batch = stages.part("segment", digest, _BATCH)
        # a killed run is continued in batches of the same size
        continued = settings if batch is None else settings.model_copy(update={"batch": int(batch)})
        engine = build_segmenter(continued, features)
        notes = engine.prepare(recording)
        stages.put_part("segment", digest, _BATCH, str(engine.batch).encode())
        views = range(len(recording))
        missing = [v for v in views if stages.part("segment", digest, _part_name(v)) is None]
        for v, masks in zip(missing, engine.segment(recording, missing), strict=True):
            stages.put_part("segment", digest, _part_name(v), _encode(masks))
            announce("segment", len(views) - len(missing) + missing.index(v) + 1, len(views))
        width, height = recording.size
        instances, dropped = _assemble(stages, attempt, digest, (len(views), height, width))
        if not len(instances):  # told before the longer work: the scene would be refused in the end
            told = " ".join((*notes, *_told(0, dropped)))
            raise InputError(
                f"The 2D engine {engine.name} leaves no instance in any of the {len(views)} frames, so there is "
                f"nothing to learn from; give other masks, other words or a lower threshold. {told}".rstrip()
            )
        return {
            "engine": engine.name,
            "open_vocabulary": engine.open_vocabulary,
            "instances": len(instances),
            "labels": list(instances.label_names),
            "dropped": dict(dropped),
            "notes": [*notes, *_told(len(instances), dropped)],
        }

    return run_stage(store_url, "segment", digest, work, lambda: _device(settings))


def _device(settings: SegmentSettings) -> str | None:
    """The torch device that the engine computes on; None where it is not learned."""
    return torch_device(settings.device) if engine_for(settings) in ("grounded-sam", "sam3") else None


def load_masks(ref: StageRef, reconstruction: Reconstruction) -> tuple[Images, Instances]:
    """The scene-unique id maps of the reconstruction's views, read when asked for, and the instances' table without
    positions."""
    group = ref.group()
    columns = {name: read_array(group, name) for name in _COLUMNS}
    position = np.full((len(columns["view"]), 3), np.nan, np.float32)
    instances = Instances(tuple(ref.summary["labels"]), **columns, position=position)
    return masks_of_views(StoredImages(open_array(group, "ids")), instances, reconstruction)


def load_view_features(ref: StageRef, reconstruction: Reconstruction) -> tuple[Images, tuple[float, float], Float16]:
    """The image features (h,w,C) of each keyframe, as its lens took it, read when asked for; their scale
    (:class:`.ViewFeatures`); and the features (O,D) of the instances in the reconstruction's views."""
    group = ref.group()
    attributes: dict[str, Any] = group.attrs.asdict()
    kept = instances_of_views(read_array(group, "view"), reconstruction)
    x, y = attributes["feature_scale"]
    return StoredImages(open_array(group, "features/image")), (x, y), read_array(group, "features/objects")[kept]


def _assemble(
    stages: Stages, attempt: Attempt, digest: str, shape: tuple[int, int, int]
) -> tuple[Instances, Counter[str]]:
    """Gives the views' instances scene-unique ids, view after view, and stores maps, table and features; also how many
    detections were dropped, by reason."""
    group = attempt.group()
    ids = create_array(group, "ids", shape, np.uint32, "frames")
    dropped: Counter[str] = Counter()

    def views(writer: FrameWriter) -> Iterator[ViewMasks]:
        before = 0
        for v in range(shape[0]):
            part = stages.part("segment", digest, _part_name(v))
            if part is None:
                raise FileNotFoundError(f"the masks of view {v} were deleted while the segment stage ran; run it again")
            masks = _decode(part)
            writer.append(np.where(masks.ids > 0, masks.ids + np.uint32(before), np.uint32(0)))
            before += len(masks.labels)
            dropped.update(masks.dropped)
            if masks.features is not None:
                features.append(masks.features)
            yield masks

    with FrameWriter(ids) as writer, _FeatureWriter(group, shape[0]) as features:
        instances = gather_instances(views(writer))
    for name in _COLUMNS:
        write_array(group, name, getattr(instances, name))
    return instances, dropped


class _FeatureWriter(AbstractContextManager["_FeatureWriter"]):
    """Stores the features of the views one after the other, where there are any; all views' maps are of one shape."""

    def __init__(self, group: zarr.Group, views: int) -> None:
        self._group, self._views = group, views
        self._objects: list[Float16] = []
        self._writer: FrameWriter | None = None

    def append(self, features: ViewFeatures) -> None:
        if self._writer is None:
            shape = (self._views, *features.image.shape)
            self._writer = FrameWriter(create_array(self._group, "features/image", shape, np.float16, "frames"))
            self._group.attrs.update({"feature_scale": list(features.scale)})
        self._writer.append(features.image)
        self._objects.append(features.objects)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._writer is not None:
            self._writer.close()
            write_array(self._group, "features/objects", np.concatenate(self._objects))


def _told(instances: int, dropped: Counter[str]) -> list[str]:
    """What became of the detections, for the user; nothing where none were dropped."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
    if not reasons:
        return []
    return [f"Of {instances + dropped.total():,} detections in 2D {instances:,} are kept; left out: {reasons}."]


def _part_name(view: int) -> str:
    return f"{view:06d}.npz"


def _encode(masks: ViewMasks) -> bytes:
    out = io.BytesIO()
    features = masks.features
    about = {
        "labels": masks.labels,
        "dropped": dict(masks.dropped),
        "scale": None if features is None else features.scale,
    }
    ids = np.frombuffer(zlib.compress(masks.ids.astype("<u4").tobytes(), 1), np.uint8)
    arrays: dict[str, Any] = {"ids": ids, "shape": np.array(masks.ids.shape), "scores": masks.scores}
    if features is not None:  # as they are: halves of noise do not shrink
        arrays |= {"image": features.image, "objects": features.objects}
    np.savez(out, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return out.getvalue()


def _decode(data: bytes) -> ViewMasks:
    with np.load(io.BytesIO(data), allow_pickle=False) as part:
        about = json.loads(part["about"].tobytes())
        scale = about["scale"]
        features = None if scale is None else ViewFeatures(part["image"], (scale[0], scale[1]), part["objects"])
        ids = np.frombuffer(zlib.decompress(part["ids"].tobytes()), "<u4").astype(np.uint32).reshape(part["shape"])
        return ViewMasks(ids, tuple(about["labels"]), part["scores"], about["dropped"], features)
