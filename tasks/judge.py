"""Not a stage of the line: a stored reconstruction judged by a reference recording. Nothing is stored."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task

from ovseg3r_model.errors import InputError
from ovseg3r_model.pictures import png
from ovseg3r_model.reconstruction.judge import DepthError, calibration_error
from ovseg3r_model.reconstruction.judge_pictures import cloud_picture, fused_reference, judged_pictures
from ovseg3r_model.reconstruction.reference import Comparison, compare, match_frames, poses_of
from ovseg3r_model.reconstruction.registration import with_intrinsics
from ovseg3r_model.records import Recording
from ovseg3r_model.settings import ReferenceSettings
from ovseg3r_model.sources import open_recording
from storage.stages import StageRef
from tasks.ingest import load_recording
from tasks.progress import announce
from tasks.reconstruct import load_reconstruction
from tasks.retrying import STAGE_OPTIONS

_CALIBRATION = ("confidence", "within_2_percent", "median_error", "pixels")


@dataclass(frozen=True)
class Judgement:
    """figures: as JSON values. notes: for the user, a sentence each. pictures: PNG bytes by file name."""

    figures: dict[str, Any]
    notes: tuple[str, ...]
    pictures: dict[str, bytes]


@task(name="judge", **STAGE_OPTIONS)
def judge(keyframes: StageRef, reconstruction: StageRef, against: ReferenceSettings) -> Judgement:
    """Judges cameras, and depth where both sides have it. Raises InputError for a reference that does not serve."""
    recording, result, reference = (
        load_recording(keyframes),
        load_reconstruction(reconstruction, depth=True),
        _opened(against),
    )
    try:
        found = compare(result, recording, reference, lambda done, total: announce("judge", done, total + 1))
    except InputError as error:
        raise InputError(_of_reference(against, str(error))) from error
    fused = fused_reference(reference, found)
    drawn = judged_pictures(result, recording, reference, found, fused)
    announce("judge", 1, 1)
    notes = found.notes if fused is None else (*found.notes, *(_of_reference(against, note) for note in fused.notes))
    return Judgement(_figures(found), notes, {f"{name}.png": png(rgb) for name, rgb in drawn.items()})


def check_reference(against: ReferenceSettings, keyframes: StageRef | None = None) -> None:
    """Before any costly work: whether the reference can be read and, once there are keyframes, has some of them.

    Raises:
        InputError: it cannot, or has none.
    """
    reference = _opened(against)
    try:
        if keyframes is not None:
            match_frames(load_recording(keyframes), reference)
    except InputError as error:
        raise InputError(_of_reference(against, str(error))) from error


def cloud_alone(reconstruction: StageRef) -> dict[str, bytes]:
    """The picture of the stored cloud: PNG bytes by file name."""
    return {"cloud.png": png(cloud_picture(load_reconstruction(reconstruction)))}


def _opened(against: ReferenceSettings) -> Recording:
    try:
        recording = open_recording(Path(against.source), against.source_format)
        poses_of(recording)
        return with_intrinsics(recording, against.color_intrinsics, against.depth_intrinsics)
    except InputError as error:
        raise InputError(_of_reference(against, str(error))) from error


def _of_reference(against: ReferenceSettings, sentence: str) -> str:
    """What the readers say of a source, said of the reference: with its path and under its options' names."""
    for name in ("--color-intrinsics", "--depth-intrinsics"):
        sentence = sentence.replace(name, name.replace("--", "--against-"))
    return sentence if against.source in sentence else f"{against.source}: {sentence}"


def _figures(found: Comparison) -> dict[str, Any]:
    error = found.trajectory
    return {
        "matched_by": found.matches.by,
        "matched": len(found.matches),
        "judged_views": len(found.view),
        "ate_rmse": error.ate_rmse,
        "ate_max": error.ate_max,
        "rotation_median_degrees": error.rotation_median,
        "scale": error.scale,
        "scale_error": found.scale_error,
        "depth": None if found.depth is None else _depth_figures(found.depth),
    }


def _depth_figures(depth: DepthError) -> dict[str, Any]:
    table = [dict(zip(_CALIBRATION, row, strict=True)) for row in depth.calibration.tolist()]
    figures = {name: value for name, value in asdict(depth).items() if name != "calibration"}
    return figures | {"calibration_error": calibration_error(depth.calibration), "calibration": table}
