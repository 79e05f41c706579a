"""Stage ``features``: the 2D model's features on points and instances (METHOD 1.4)."""

from typing import Any

from prefect import task

from ovseg3r_model.point_features import reduced, sample_features
from ovseg3r_model.records import Reduction, SceneFeatures
from ovseg3r_model.settings import FeatureSettings
from storage.arrays import read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.progress import announce
from tasks.reconstruct import load_reconstruction
from tasks.retrying import STAGE_OPTIONS
from tasks.segment import load_view_features
from tasks.stage import run_stage

_KINDS = ("point", "object")


@task(name="features", **STAGE_OPTIONS)
def features(
    store_url: str, digest: str, reconstruction: StageRef, masks: StageRef, settings: FeatureSettings
) -> StageRef:
    """Samples the image features at the points, and takes those of the instances; reduces both where that is asked."""

    def work(_: Stages, attempt: Attempt) -> dict[str, Any]:
        scene = load_reconstruction(reconstruction)
        images, scale, objects = load_view_features(masks, scene)
        points = sample_features(images, scale, scene, lambda done, total: announce("features", done, total))
        group = attempt.group()
        channels = {"point_channels": points.shape[1], "object_channels": objects.shape[1]}
        for kind, whole in zip(_KINDS, (points, objects), strict=True):
            kept, reduction = (whole, None) if settings.size is None else reduced(whole, settings.size)
            write_array(group, kind, kept)
            if reduction is not None:
                write_array(group, f"{kind}_mean", reduction.mean)
                write_array(group, f"{kind}_basis", reduction.basis)
        announce("features", 1, 1)
        return {"model": masks.summary["engine"], **channels}

    return run_stage(store_url, "features", digest, work)


def load_features(ref: StageRef) -> SceneFeatures:
    """The features as stored."""
    group = ref.group()

    def reduction(kind: str) -> Reduction | None:
        if f"{kind}_basis" not in group:
            return None
        return Reduction(read_array(group, f"{kind}_mean"), read_array(group, f"{kind}_basis"))

    points, objects = (read_array(group, kind) for kind in _KINDS)
    return SceneFeatures(points, objects, ref.summary["model"], *map(reduction, _KINDS))
