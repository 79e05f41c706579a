"""Cameras and depth from nerfstudio's transforms.json: the reader of that source, under another recording's frames."""

from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.imported.given import (
    GivenDepth,
    GivenViews,
    camera_of_picture,
    density_of,
    match_views,
    require_same_shape,
    whole,
)
from ovseg3r_model.records import Recording
from ovseg3r_model.sources import nerfstudio

INDEX = "transforms.json"


def files(folder: Path) -> list[Path]:
    """Every file that :func:`read` uses."""
    return nerfstudio.files(folder)


def read(folder: Path, recording: Recording) -> GivenViews:
    """The frames that are the recording's, by name. depth_unit_scale_factor says what a metre is: lengths are metres.

    Raises:
        InputError: as :func:`ovseg3r_model.sources.nerfstudio.read`; no depth; no frame is named like the recording's.
    """
    given = nerfstudio.read(folder)
    if given.depth is None or given.intrinsics is None or given.world_from_camera is None:
        raise InputError(
            f"{folder / INDEX}: has cameras but no depth; add depth_file_path to every frame, or give the COLMAP model "
            "that it was made from, for which depth is computed."
        )
    require_same_shape(given.size, recording.size, str(folder / INDEX), "give the reconstruction of these pictures")
    match = match_views(recording, given.names, str(folder / INDEX), what="cameras")
    keyframes = [k for k, entry in enumerate(match.entry) if entry is not None]
    chosen = [entry for entry in match.entry if entry is not None]
    depth, box = given.depth, whole(recording.size)
    return GivenViews(
        path=str(folder),
        keyframes=np.array(keyframes, np.int64),
        world_from_camera=given.world_from_camera[chosen],
        intrinsics=tuple(camera_of_picture(given.intrinsics[entry], given.size, box) for entry in chosen),
        read=lambda v: GivenDepth(depth[chosen[v]].astype(np.float32), None, box),
        density=density_of(given.size, box),
        metric=True,
        metric_assumed=True,  # ns-process-data --use-sfm-depth writes the unit of structure from motion
        gravity_aligned=False,
        notes=match.notes,
    )
