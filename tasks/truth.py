"""Stage ``truth``: what the points of a synthetic room belong to, where its truth is known."""

from pathlib import Path
from typing import Any

from prefect import task

from ovseg3r_model.annotated.rooms import truth_of_points
from ovseg3r_model.records import SceneTruth
from ovseg3r_model.rooms.truth import read_truth
from storage.arrays import read_array, write_array
from storage.stages import Attempt, StageRef, Stages
from tasks.progress import announce
from tasks.reconstruct import load_reconstruction
from tasks.retrying import STAGE_OPTIONS
from tasks.stage import run_stage


@task(name="truth", **STAGE_OPTIONS)
def truth(store_url: str, digest: str, reconstruction: StageRef, room: str) -> StageRef:
    """Asks the truth in the folder that a room was written to. Raises InputError where it is of other frames."""

    def work(_: Stages, attempt: Attempt) -> dict[str, Any]:
        known = read_truth(Path(room).expanduser())
        found = truth_of_points(known, load_reconstruction(reconstruction))
        write_array(attempt.group(), "instance", found.instance)
        announce("truth", 1, 1)
        return {"names": list(found.names)}

    return run_stage(store_url, "truth", digest, work)


def load_truth(ref: StageRef) -> SceneTruth:
    """The truth as stored."""
    return SceneTruth(read_array(ref.group(), "instance"), tuple(ref.summary["names"]))
