"""What SAM 2 and SAM 3 see: the picture squeezed to a square. The library's own classes for it ask for torchvision; its
Pillow backend does the same with the settings beside the weights.
"""

from pathlib import Path
from typing import Any, cast

from transformers.image_processing_backends import PilBackend


class SquarePictures(PilBackend):  # type: ignore[misc]
    """Pictures to pixel values, by a folder's preprocessor_config.json."""

    model_input_names = ("pixel_values",)
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    resample = 2  # bilinear
    rescale_factor = 1 / 255


def square_pictures(folder: Path, side: int, mean: float | list[float], std: float | list[float]) -> Any:
    """The folder's; side (pixels), mean and std are the architecture's own, for folders that do not say them."""
    defaults = {"size": {"height": side, "width": side}, "image_mean": mean, "image_std": std}
    try:
        return cast(Any, SquarePictures.from_pretrained(folder, local_files_only=True))
    except OSError:
        return SquarePictures(**defaults)
