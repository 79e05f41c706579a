"""The demo: a synthetic room, filmed, labelled through the real flow, scored against its exact truth."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.generate_labels import run
from flows.settings import LabelParameters
from ovseg3r_model import pictures
from ovseg3r_model.errors import InputError
from ovseg3r_model.evaluation import lift_quality, superpoint_quality
from ovseg3r_model.records import Int32, LabelledScene
from ovseg3r_model.rooms import MaskErrors, Room, make_room, write_room
from ovseg3r_model.settings import IngestSettings, PipelineSettings, SegmentSettings, SuperpointSettings
from ovseg3r_model.superpoints import geometry_superpoints, instance_superpoints, knn_edges
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.progress import announce, of_scene

DEPTH_NOISE = 0.0015
"""Of the room's depth camera: sigma in metres at one metre, growing with the square of the distance, as a Kinect's."""

MASK_ERRORS = MaskErrors(
    dilate=0.25, dilate_px=2, erode=0.25, erode_px=2, miss=0.1, split=0.04, merge=0.04, wrong_name=0.06
)
"""About what a good open-vocabulary 2D model gets wrong."""


def run_demo(folder: Path, seed: int, views: int) -> dict[str, Any]:
    """Makes, films, labels and scores room ``seed``; the report as JSON values. What is there already is not made
    again.

    Raises:
        InputError: the folder cannot be written, or the labelling fails for a reason the user can mend.
    """
    start = time.perf_counter()
    room = make_room(seed)
    files = _film(room, folder / f"room-{seed}-{views}", views)
    filming = time.perf_counter() - start
    store = folder / "store"
    segment = SegmentSettings(engine="imported", masks=str(files / "masks.json"))
    pipeline = PipelineSettings(ingest=IngestSettings(max_views=views), segment=segment, seed=seed)
    scene_id = f"demo-room-{seed}"
    (result,) = run(
        LabelParameters(sources=(str(files / "recording"),), store=str(store), scene_id=scene_id, pipeline=pipeline)
    )
    if result.row is None:
        raise (
            InputError(f"The demo's scene was not published: {result.message}")
            if result.status == "bad-input"
            else RuntimeError(result.message)
        )
    scene = SceneStore(Store.open(store)).read(scene_id, result.row.digest).scene
    report = {
        "seed": seed,
        "objects": len(room.instances),
        "flat_objects": sum(i.flat for i in room.instances),
        "scene": {n: getattr(result.row, n) for n in ("scene_id", "views", "points", "instances", "superpoints")},
        "timings": {"room": filming, **result.row.timings},
        "store": str(store),
    }
    report |= _score(room, scene, pipeline.superpoints)
    report["pictures"] = _draw(room, scene, pipeline.superpoints, store, scene_id, result.row.digest, folder)
    report["seconds"] = time.perf_counter() - start
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def _film(room: Room, folder: Path, views: int) -> Path:
    """The folder with the room's recording and masks; one that a killed run left unfinished is made anew."""
    done = folder / "done"
    if not done.exists():
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with of_scene(folder.name):
                write_room(
                    room, folder, "7scenes", views, room.seed, MASK_ERRORS, DEPTH_NOISE, jpeg=True,
                    progress=lambda n, of: announce("film", n, of),
                )  # fmt: skip
            done.touch()
        except OSError as error:
            raise InputError(
                f"{folder}: the room cannot be written ({error.strerror}); name another --folder."
            ) from error
    return folder


def _score(room: Room, scene: LabelledScene, settings: SuperpointSettings) -> dict[str, Any]:
    points, correspondence = scene.reconstruction.points, scene.reconstruction.correspondence
    truth = room.label_points(points.xyz)
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
    room: Room,
    scene: LabelledScene,
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
    drawn["truth.png"] = cloud(room.label_points(rec.points.xyz))
    target = folder / "pictures"
    target.mkdir(exist_ok=True)
    for name, data in drawn.items():
        (target / name).write_bytes(data)
    return [str(target / name) for name in sorted(drawn)]
