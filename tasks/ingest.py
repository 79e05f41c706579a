"""Stage ``ingest``: source -> keyframes, as decoded pictures in the store, so that later stages may run anywhere."""

from pathlib import Path
from typing import Any

import numpy as np
from prefect import task

from ovseg3r_model.keyframes import choose_keyframes
from ovseg3r_model.reconstruction.registration import with_intrinsics
from ovseg3r_model.records import Recording, color_alone, subset
from ovseg3r_model.settings import IngestSettings
from ovseg3r_model.sources import open_recording
from storage.arrays import FrameWriter, StoredImages, create_array, open_array, read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.progress import announce
from tasks.retrying import STAGE_OPTIONS
from tasks.stage import run_stage

_OPTIONAL = ("intrinsics", "world_from_camera", "depth_intrinsics", "color_from_depth")


@task(name="ingest", **STAGE_OPTIONS)
def ingest(store_url: str, digest: str, source: str, settings: IngestSettings) -> StageRef:
    """Chooses and stores the keyframes of a source. Raises InputError for a source that cannot be read."""

    def work(_: Stages, attempt: Attempt) -> dict[str, Any]:
        recording = open_recording(Path(source), settings.source_format)
        if settings.color_only:
            recording = color_alone(recording)
        recording = with_intrinsics(recording, settings.color_intrinsics, settings.depth_intrinsics)
        chosen = choose_keyframes(recording, settings.max_views)
        keyframes = subset(recording, chosen)
        _save(attempt, keyframes)
        return {
            "source_format": keyframes.source_format,
            "frames": len(recording),
            "views": len(keyframes),
            "size": list(keyframes.size),
            "notes": list(keyframes.notes),
        }

    return run_stage(store_url, "ingest", digest, work)


def load_recording(ref: StageRef) -> Recording:
    """The keyframes as stored; pictures are read when asked for."""
    group = ref.group()
    attributes: dict[str, Any] = group.attrs.asdict()
    optional = {name: read_array(group, name) if name in group else None for name in _OPTIONAL}
    has_depth = "depth" in group
    depth = StoredImages(open_array(group, "depth")) if has_depth else None
    return Recording(
        source_format=str(attributes["source_format"]),
        names=tuple(attributes["names"]),
        frame=read_array(group, "frame"),
        time=read_array(group, "time"),
        color=StoredImages(open_array(group, "color")),
        size=_size(attributes["size"]),
        depth=depth,
        depth_size=_size(attributes["depth_size"]) if has_depth else None,
        focal_guess=attributes["focal_guess"],
        turned=bool(attributes["turned"]),
        notes=tuple(attributes["notes"]),
        **optional,
    )


def _size(values: list[int]) -> tuple[int, int]:
    width, height = values
    return width, height


def _save(attempt: Attempt, recording: Recording) -> None:
    group = attempt.group()
    count, (width, height) = len(recording), recording.size
    group.attrs.update(
        {
            "source_format": recording.source_format,
            "names": list(recording.names),
            "size": list(recording.size),
            "depth_size": list(recording.depth_size or ()),
            "focal_guess": recording.focal_guess,
            "turned": recording.turned,
            "notes": list(recording.notes),
        }
    )
    write_array(group, "frame", recording.frame)
    write_array(group, "time", recording.time)
    for name in _OPTIONAL:
        value = getattr(recording, name)
        if value is not None:
            write_array(group, name, value)
    color = create_array(group, "color", (count, height, width, 3), np.uint8, "frames")
    steps = count * (2 if recording.depth is not None else 1)
    with FrameWriter(color) as writer:
        for v in range(count):
            writer.append(recording.color[v])
            announce("ingest", v + 1, steps)
    if recording.depth is not None and recording.depth_size is not None:
        width, height = recording.depth_size
        depth = create_array(group, "depth", (count, height, width), np.float32, "frames")
        with FrameWriter(depth) as writer:
            for v in range(count):
                writer.append(recording.depth[v])
                announce("ingest", count + v + 1, steps)
