"""Stage ``publish``: all parts together, validated, written, listed."""

import time
from collections.abc import Sequence

import numpy as np
from prefect import task

from ovseg3r_model import pictures
from ovseg3r_model.reconstruction.lens import pictures_of_views
from ovseg3r_model.records import Annotation, Instances, LabelledScene, Recording
from storage.catalog_rows import CatalogRow
from storage.stages import StageRef
from storage.store import Store
from tasks.features import load_features
from tasks.ingest import load_recording
from tasks.lift import load_lifted
from tasks.listing import Origin, publish_and_list
from tasks.plan import Plan
from tasks.progress import announce
from tasks.reconstruct import load_reconstruction
from tasks.retrying import STAGE_OPTIONS
from tasks.segment import load_masks
from tasks.superpoints import load_superpoints
from tasks.truth import load_truth


@task(name="publish", **STAGE_OPTIONS)
def publish(
    store_url: str, plan: Plan, scene_id: str, source: str, stages: dict[str, StageRef], tags: Sequence[str] = ()
) -> CatalogRow:
    """Publishes a scene and lists it. What is complete already is only listed; the row's seconds are those of the
    stages as they were run.

    Raises InputError (SceneRefused) for a scene that breaks a rule: it is not visible then.
    """
    start = time.perf_counter()
    scene = assemble(stages, plan.configs["publish"]["annotation"])
    origin = Origin(
        source=source,
        engines={name: stages[name].summary["engine"] for name in ("reconstruct", "segment")},
        notes=[note for name in ("ingest", "segment") for note in stages[name].summary["notes"]],
        seconds={name: ref.seconds for name, ref in stages.items()},
        started=start,
        tags=tags,
    )
    drawn = draw(scene, load_recording(stages["ingest"]))
    row = publish_and_list(Store.open(store_url), plan, scene_id, scene, drawn, origin)
    announce("publish", 1, 1)
    return row


def assemble(stages: dict[str, StageRef], annotation: Annotation) -> LabelledScene:
    """The scene that the stages' outputs make."""
    reconstruction = load_reconstruction(stages["reconstruct"])
    mask_ids, instances = load_masks(stages["segment"], reconstruction)
    observation, position = load_lifted(stages["lift"])
    return LabelledScene(
        reconstruction=reconstruction,
        mask_ids=mask_ids,
        instances=Instances(
            instances.label_names, instances.view, instances.label, instances.score, instances.box, position
        ),
        observation=observation,
        superpoint=load_superpoints(stages["superpoints"]),
        features=load_features(stages["features"]) if "features" in stages else None,
        truth=load_truth(stages["truth"]) if "truth" in stages else None,
        annotation=annotation,
    )


def draw(scene: LabelledScene, recording: Recording) -> dict[str, bytes]:
    """PNG bytes by file name: a frame with its masks, the cloud in its colours, by superpoints, by instances
    and, where it has them, by features and by the truth."""
    rec = scene.reconstruction
    color = pictures_of_views(recording.color, rec)
    names = scene.instances.label_names
    busiest = int(np.bincount(scene.instances.view, minlength=len(rec.views)).argmax()) if len(scene.instances) else 0
    labels = {k + 1: names[label] for k, label in enumerate(scene.instances.label)}
    of_point = pictures.point_instances(rec.correspondence, scene.observation, len(rec.points))
    colors = {
        "cloud": rec.points.rgb,
        "superpoints": pictures.shaded(rec.points, pictures.superpoint_colors(scene.superpoint)),
        "instances": pictures.shaded(rec.points, pictures.id_colors(of_point)),
    }
    if scene.features is not None:
        colors["features"] = pictures.feature_colors(scene.features.points)
    if scene.truth is not None:
        colors["truth"] = pictures.shaded(rec.points, pictures.id_colors(scene.truth.instance))
    drawn = {
        f"{name}.png": pictures.png(pictures.cloud(rec.points, rgb, rec.views, rec.voxel_size))
        for name, rgb in colors.items()
    }
    drawn["masks.png"] = pictures.png(pictures.overlay(color[busiest], scene.mask_ids[busiest], labels))
    return drawn
