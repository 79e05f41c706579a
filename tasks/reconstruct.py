"""Stage ``reconstruct``: keyframes -> points, correspondences, cameras."""

from typing import Any

from prefect import task

from ovseg3r_model.reconstruction.protocol import build_reconstructor, engine_for, torch_device
from ovseg3r_model.records import Correspondence, DenseDepth, Points, Reconstruction, Views
from ovseg3r_model.settings import ReconstructSettings
from storage.arrays import read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.ingest import load_recording
from tasks.progress import announce
from tasks.retrying import STAGE_OPTIONS
from tasks.stage import run_stage

_ARRAYS = {
    "points": ("xyz", "rgb", "normal", "confidence"),
    "correspondence": ("indptr", "view", "pixel"),
    "views": ("intrinsics", "world_from_camera", "size", "frame", "time"),
}
_DEPTH = ("z", "confidence")


@task(name="reconstruct", **STAGE_OPTIONS)
def reconstruct(store_url: str, digest: str, keyframes: StageRef, settings: ReconstructSettings, seed: int) -> StageRef:
    """Reconstructs a scene. Raises InputError where the source lacks what the engine needs."""

    def work(_: Stages, attempt: Attempt) -> dict[str, Any]:
        recording = load_recording(keyframes)
        engine = build_reconstructor(settings, recording, seed)
        result = engine.reconstruct(recording, lambda done, total: announce("reconstruct", done, total))
        _save(attempt, result)
        return {
            "engine": engine.name,
            "points": len(result.points),
            "observations": len(result.correspondence),
            "quality": result.quality,
            "notes": list(result.notes),
        }

    return run_stage(store_url, "reconstruct", digest, work, lambda: _device(keyframes, settings))


def _device(keyframes: StageRef, settings: ReconstructSettings) -> str | None:
    """The torch device that the engine computes on; None where it needs none."""
    group = keyframes.group()
    engine = engine_for(settings, "depth" in group and "world_from_camera" in group)
    if engine == "posed-rgbd":
        return None
    return torch_device((settings.dust3r if engine == "dust3r" else settings.dense).device)


def load_reconstruction(ref: StageRef, depth: bool = False) -> Reconstruction:
    """The reconstruction as stored, in memory; ``depth``: with its dense depth, which only judging needs."""
    group = ref.group()
    attributes: dict[str, Any] = group.attrs.asdict()
    parts = {part: {name: read_array(group, f"{part}/{name}") for name in names} for part, names in _ARRAYS.items()}
    maps = [read_array(group, f"depth/{name}") for name in _DEPTH] if depth and "depth" in group else None
    return Reconstruction(
        points=Points(**parts["points"]),
        correspondence=Correspondence(**parts["correspondence"]),
        views=Views(**parts["views"]),
        scale_known=bool(attributes["scale_known"]),
        world_frame=str(attributes["world_frame"]),
        voxel_size=float(attributes["voxel_size"]),
        keyframes=read_array(group, "keyframes") if "keyframes" in group else None,
        distortion=float(attributes["distortion"]),
        depth=None if maps is None else DenseDepth(*maps),
        quality=dict(ref.summary["quality"]),
        notes=tuple(ref.summary["notes"]),
    )


def _save(attempt: Attempt, result: Reconstruction) -> None:
    group = attempt.group()
    group.attrs.update(
        {
            "scale_known": result.scale_known,
            "world_frame": result.world_frame,
            "voxel_size": result.voxel_size,
            "distortion": result.distortion,
        }
    )
    if result.depth is not None:
        for name in _DEPTH:
            write_array(group, f"depth/{name}", getattr(result.depth, name))
    if result.keyframes is not None:
        write_array(group, "keyframes", result.keyframes)
    for part, names in _ARRAYS.items():
        for name in names:
            write_array(group, f"{part}/{name}", getattr(getattr(result, part), name))
