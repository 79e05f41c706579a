"""What SAM 2 and SAM 3 see: the picture squeezed to a square. The library's own classes for it ask for torchvision; its
Pillow backend does the same with the settings beside the weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.image_processing_backends import PilBackend

from ovseg3r_model.errors import InputError

_SETTINGS = (
    "size", "image_mean", "image_std", "resample", "rescale_factor", "do_resize", "do_rescale", "do_normalize",
)  # fmt: skip


class SquarePictures(PilBackend):  # type: ignore[misc]
    """Pictures to pixel values, by a folder's preprocessor_config.json."""

    model_input_names = ("pixel_values",)
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    resample = 2  # bilinear
    rescale_factor = 1 / 255


def square_pictures(folder: Path, side: int, mean: Sequence[float], std: Sequence[float]) -> Any:
    """By the folder's settings; side (pixels), mean and std are the architecture's own, for what they do not say.

    Raises:
        InputError: the settings cannot be read.
    """
    try:
        found, _ = SquarePictures.get_image_processor_dict(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{folder}: the picture processor's settings cannot be read ({first}).") from error
    own = {"size": {"height": side, "width": side}, "image_mean": list(mean), "image_std": list(std)}
    said = {name: found[name] for name in _SETTINGS if found.get(name) is not None}
    return SquarePictures(**(own | said))
