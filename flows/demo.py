"""The demo: a synthetic room, filmed, labelled from the video through the real flow, scored against its exact truth."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flows.generate_labels import run
from flows.settings import LabelParameters
from ovseg3r_model import pictures
from ovseg3r_model.errors import InputError
from ovseg3r_model.label_quality import lift_quality, superpoint_quality
from ovseg3r_model.reconstruction.judge import align_cameras, judge_trajectory
from ovseg3r_model.records import Float64, Int32, LabelledScene
from ovseg3r_model.rooms import Room, make_room, write_room
from ovseg3r_model.settings import (
    IngestSettings,
    PipelineSettings,
    SegmentSettings,
    SimulatedSettings,
    SuperpointSettings,
)
from ovseg3r_model.sources import open_recording
from ovseg3r_model.superpoints import geometry_superpoints, instance_superpoints, knn_edges
from storage.catalog_rows import CatalogRow
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.progress import announce, of_scene

MASK_ERRORS = SimulatedSettings().errors
"""About what a good open-vocabulary 2D model gets wrong."""

VIDEO, RGBD = "from the video alone", "with true depth and poses"
"""The two ways that the same film is labelled."""


def run_demo(folder: Path, seed: int, views: int) -> dict[str, Any]:
    """Makes and films room ``seed``, labels it from the video alone and, for comparison, with the true depth and poses,
    and scores both; the report as JSON values. What is there already is not made again.

    Raises:
        InputError: the folder cannot be written, or the labelling fails for a reason the user can mend.
    """
    start = time.perf_counter()
    room = make_room(seed)
    files = _film(room, folder / f"film-{seed}-{views}", views)
    filming = time.perf_counter() - start
    store = folder / "store"
    segment = SegmentSettings(engine="imported", masks=str(files / "masks.json"))
    pipeline = PipelineSettings(ingest=IngestSettings(max_views=views), segment=segment, seed=seed)
    scene_id = f"demo-room-{seed}"
    poses = open_recording(files / "recording").world_from_camera
    if poses is None:
        raise ValueError(f"{files}: the room's recording lost its poses")
    report: dict[str, Any] = {
        "seed": seed,
        "objects": len(room.instances),
        "flat_objects": sum(i.flat for i in room.instances),
        "filming": filming,
        "store": str(store),
        "scores": {},
    }
    drawn = []
    for way, source, name in ((VIDEO, "video.mp4", scene_id), (RGBD, "recording", f"{scene_id}-rgbd")):
        row = _labelled(files / source, name, store, pipeline)
        scene = SceneStore(Store.open(store)).read(name, row.digest).scene
        truth, geometry = _against(room, scene, poses)
        report["scores"][way] = {
            "scene": {n: getattr(row, n) for n in ("scene_id", "views", "points", "instances", "superpoints")},
            "timings": row.timings,
            "geometry": geometry,
            **_score(room, scene, truth, pipeline.superpoints),
        }
        if way == VIDEO:
            drawn = _draw(scene, truth, pipeline.superpoints, store, name, row.digest, folder)
    report["pictures"] = drawn
    report["seconds"] = time.perf_counter() - start
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def _labelled(source: Path, scene_id: str, store: Path, pipeline: PipelineSettings) -> CatalogRow:
    (result,) = run(LabelParameters(sources=(str(source),), store=str(store), scene_id=scene_id, pipeline=pipeline))
    if result.row is None:
        raise (
            InputError(f"The demo's scene was not published: {result.message}")
            if result.status == "bad-input"
            else RuntimeError(result.message)
        )
    return result.row


def _film(room: Room, folder: Path, views: int) -> Path:
    """The folder with the room's recording, video and masks; one that a killed run left unfinished is made anew."""
    done = folder / "done"
    if not done.exists():
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with of_scene(folder.name):
                write_room(
                    room, folder, "7scenes", views, room.seed, MASK_ERRORS, video=True, jpeg=True,
                    progress=lambda n, of: announce("film", n, of),
                )  # fmt: skip
            done.touch()
        except OSError as error:
            raise InputError(
                f"{folder}: the room cannot be written ({error.strerror}); name another --folder."
            ) from error
    return folder


def _against(room: Room, scene: LabelledScene, poses: Float64) -> tuple[Int32, dict[str, float]]:
    """The true instance (N,) of each point, and how far the reconstruction is off, once the best similarity has carried
    its cameras to the true ones (F,4,4)."""
    rec = scene.reconstruction
    found, true = rec.views.world_from_camera, poses[rec.views.frame]
    error, alignment = judge_trajectory(found, true), align_cameras(found, true)
    xyz = alignment.points(rec.points.xyz.astype(np.float64))
    away = room.distance(xyz)
    return room.label_points(xyz), {
        "registered_share": len(rec.views) / len(poses),
        "ate_m": error.ate_rmse,
        "rotation_deg": error.rotation_median,
        "point_error_median_m": float(np.median(away)),
        "point_error_p95_m": float(np.percentile(away, 95)),
        "voxel_m": error.scale * rec.voxel_size,
    }


def _score(room: Room, scene: LabelledScene, truth: Int32, settings: SuperpointSettings) -> dict[str, Any]:
    points, correspondence = scene.reconstruction.points, scene.reconstruction.correspondence
    edges = knn_edges(points.xyz, settings.neighbours)
    flat = [i.id for i in room.instances if i.flat]
    names = [scene.instances.label_names[k] for k in scene.instances.label]
    true_names = {i.id: (i.name, *i.synonyms) for i in room.instances}
    rec = scene.reconstruction
    majority = settings.model_copy(update={"cut": "majority"})
    grouped = {
        f"IBSp, {settings.cut}": scene.superpoint,
        "IBSp, majority": instance_superpoints(
            points, correspondence, scene.observation, rec.views, scene.mask_ids, majority
        ),
        "geometry only": geometry_superpoints(points, settings),
    }
    return {
        "superpoints": {name: asdict(superpoint_quality(ids, truth, edges, flat)) for name, ids in grouped.items()},
        "lifted": asdict(lift_quality(correspondence, scene.observation, truth, names, true_names)),
    }


def _draw(
    scene: LabelledScene,
    truth: Int32,
    settings: SuperpointSettings,
    store: Path,
    scene_id: str,
    digest: str,
    folder: Path,
) -> list[str]:
    rec = scene.reconstruction

    def cloud(ids: Int32) -> bytes:
        colors = pictures.shaded(rec.points, pictures.id_colors(ids))
        return pictures.png(pictures.cloud(rec.points, colors, rec.views, rec.voxel_size))

    drawn = SceneStore(Store.open(store)).pictures(scene_id, digest)
    drawn["superpoints-geometry-only.png"] = cloud(geometry_superpoints(rec.points, settings) + 1)
    drawn["truth.png"] = cloud(truth)
    target = folder / "pictures"
    target.mkdir(exist_ok=True)
    for name, data in drawn.items():
        (target / name).write_bytes(data)
    return [str(target / name) for name in sorted(drawn)]
