"""Stage ``lift``: masks through the correspondences onto the points (METHOD 1.3)."""

from typing import Any

from prefect import task

from ovseg3r_model.lifting import lift as lift_masks
from ovseg3r_model.lifting import locate
from ovseg3r_model.records import Float32, UInt32
from storage.arrays import read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.progress import announce
from tasks.reconstruct import load_reconstruction
from tasks.retrying import STAGE_OPTIONS
from tasks.segment import load_masks
from tasks.stage import run_stage


@task(name="lift", **STAGE_OPTIONS)
def lift(store_url: str, digest: str, reconstruction: StageRef, masks: StageRef) -> StageRef:
    """Lifts the masks. Raises InputError where they do not fit the frames."""

    def work(_: Stages, attempt: Attempt) -> dict[str, Any]:
        scene = load_reconstruction(reconstruction)
        mask_ids, instances = load_masks(masks, scene)
        observation = lift_masks(mask_ids, scene.correspondence)
        group = attempt.group()
        write_array(group, "observation", observation)
        write_array(group, "position", locate(instances, observation, scene.correspondence, scene.points))
        announce("lift", 1, 1)
        return {"labelled_observations": int((observation > 0).sum())}

    return run_stage(store_url, "lift", digest, work)


def load_lifted(ref: StageRef) -> tuple[UInt32, Float32]:
    """(M,) instance of each observation and (O,3) positions of the instances."""
    group = ref.group()
    return read_array(group, "observation"), read_array(group, "position")
