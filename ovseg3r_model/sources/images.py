"""A folder of pictures and nothing else."""

from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Recording
from ovseg3r_model.sources.files import PICTURE_SUFFIXES, frame_names, list_files
from ovseg3r_model.sources.pictures import color_files, common_focal, is_turned


def recognises(folder: Path) -> bool:
    return bool(files(folder))


def files(folder: Path) -> list[Path]:
    """The pictures directly in the folder, in natural order: what is read."""
    return list_files(folder, PICTURE_SUFFIXES)


def read(folder: Path) -> Recording:
    """Pictures in natural name order, turned upright by their EXIF orientation; the focal length as EXIF states it, no
    cameras, no clock. Hidden and other files and sub-folders are ignored. Raises InputError: no pictures, unreadable
    headers, different sizes."""
    paths = files(folder)
    if not paths:
        raise InputError(f"{folder}: holds no pictures (jpg, png, webp, bmp, tif); give the folder that does.")
    color = color_files(paths, upright=True)
    return Recording(
        source_format="images",
        names=frame_names(paths, folder),
        frame=np.arange(len(paths), dtype=np.int64),
        time=np.full(len(paths), np.nan),
        color=color,
        size=color.size,
        focal_guess=common_focal(paths, color.size),
        turned=any(is_turned(path) for path in paths),
    )
