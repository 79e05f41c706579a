"""Stage ``superpoints``: IBSp (METHOD 1.5)."""

from typing import Any

from prefect import task

from ovseg3r_model.records import Int32
from ovseg3r_model.settings import SuperpointSettings
from ovseg3r_model.superpoints import instance_superpoints
from storage.arrays import read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.lift import load_lifted
from tasks.progress import announce
from tasks.reconstruct import load_reconstruction
from tasks.retrying import STAGE_OPTIONS
from tasks.segment import load_masks
from tasks.stage import run_stage


@task(name="superpoints", **STAGE_OPTIONS)
def superpoints(
    store_url: str,
    digest: str,
    reconstruction: StageRef,
    masks: StageRef,
    lifted: StageRef,
    settings: SuperpointSettings,
) -> StageRef:
    """Computes the instance-boundary-aware superpoints of a scene."""

    def work(_: Stages, attempt: Attempt) -> dict[str, Any]:
        scene = load_reconstruction(reconstruction)
        observation, _positions = load_lifted(lifted)
        mask_ids, _instances = load_masks(masks, scene)
        ids = instance_superpoints(scene.points, scene.correspondence, observation, scene.views, mask_ids, settings)
        write_array(attempt.group(), "id", ids)
        announce("superpoints", 1, 1)
        return {"superpoints": int(ids.max()) + 1}

    return run_stage(store_url, "superpoints", digest, work)


def load_superpoints(ref: StageRef) -> Int32:
    """(N,) int32."""
    ids: Int32 = read_array(ref.group(), "id")
    return ids
