"""Masks of boxes by SAM and SAM 2.1, through ``transformers``."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ovseg3r_model.records import Float32, UInt8
from ovseg3r_model.segmentation.detections import Mask
from ovseg3r_model.segmentation.in_network import in_halves, inference
from ovseg3r_model.segmentation.pretrained import load_network, load_part, model_type

_SAM = ("sam",)
TYPES = (*_SAM, "sam2", "sam2_video")
_BOXES = 16  # in the mask decoder at a time


class _Pictures(ABC):
    """How one generation of SAM sees pictures and boxes, and what its masks mean."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def pixels(self, frames: Sequence[UInt8]) -> torch.Tensor:
        """(B,3,S,S): what the network sees of B frames."""
        pixels: torch.Tensor = self._processor(images=list(frames), return_tensors="pt")["pixel_values"]
        return pixels

    @abstractmethod
    def boxes(self, boxes: Float32, size: tuple[int, int]) -> torch.Tensor:
        """(K,4): boxes in a frame of that (width, height) where the network sees them."""

    @abstractmethod
    def masks(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(K,1,H,W) bool: what logits (K,1,h,w) are in the frame."""


class BoxMasks:
    """A mask for each box. A picture is embedded once, whatever the number of its boxes."""

    def __init__(self, folder: Path, device: torch.device, precision: str) -> None:
        """Raises InputError: the weights cannot be read."""
        self._network = load_network(folder, device)
        self._device, self._precision = device, precision
        self._pictures: _Pictures = _SamPictures(folder) if model_type(folder) in _SAM else _Sam2Pictures(folder)

    def __call__(self, frames: Sequence[UInt8], boxes: Sequence[Float32]) -> list[list[Mask]]:
        """Of B frames (H,W,3) uint8 of one size, the masks of the boxes (K,4) that each has; x0, y0, x1, y1 in pixels.
        Frames without a box are not looked at."""
        height, width = frames[0].shape[:2]
        masks: list[list[Mask]] = [[] for _ in frames]
        seen = [b for b, box in enumerate(boxes) if len(box)]
        if not seen:
            return masks
        with inference(self._device, self._precision):
            pixels = self._pictures.pixels([frames[b] for b in seen]).to(self._device)
            embedded = self._network.get_image_embeddings(pixels)
            levels = embedded if isinstance(embedded, list) else [embedded]
            for k, b in enumerate(seen):
                masks[b] = self._of_frame([level[k : k + 1] for level in levels], boxes[b], (width, height))
        return masks

    def _of_frame(self, levels: list[torch.Tensor], boxes: Float32, size: tuple[int, int]) -> list[Mask]:
        masks: list[Mask] = []
        for start in range(0, len(boxes), _BOXES):
            part = list(boxes[start : start + _BOXES])
            masks += in_halves(lambda some: self._decoded(levels, np.stack(some), size), part)
        return masks

    def _decoded(self, levels: list[torch.Tensor], boxes: Float32, size: tuple[int, int]) -> list[Mask]:
        output = self._network(
            image_embeddings=levels if len(levels) > 1 else levels[0],
            input_boxes=self._pictures.boxes(boxes, size)[None].to(self._device),
            multimask_output=False,  # a box says which of the nested things is meant
        )
        masks = self._pictures.masks(output.pred_masks[0].float(), size)  # (K,1,H,W)
        return [Mask.of(mask) for mask in masks[:, 0].cpu().numpy()]


class _SamPictures(_Pictures):
    """SAM: the picture's longer side resized to a square's, the rest padded."""

    def __init__(self, folder: Path) -> None:
        from transformers import SamImageProcessorPil

        super().__init__(load_part(SamImageProcessorPil, folder))

    def boxes(self, boxes: Float32, size: tuple[int, int]) -> torch.Tensor:
        seen = self._seen(size)
        scale = np.array([seen[1] / size[0], seen[0] / size[1]] * 2)
        return torch.from_numpy(boxes.astype(np.float64) * scale)

    def masks(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        (masks,) = self._processor.post_process_masks([logits], [size[::-1]], [self._seen(size)])
        found: torch.Tensor = masks
        return found

    def _seen(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the picture as the network sees it, without the padding."""
        longest = self._processor.size["longest_edge"]
        height, width = self._processor._get_preprocess_shape(size[::-1], longest_edge=longest)
        return height, width


class _Sam2Pictures(_Pictures):
    """SAM 2: the picture squeezed to a square."""

    def __init__(self, folder: Path) -> None:
        from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        from ovseg3r_model.segmentation.square_pictures import square_pictures

        super().__init__(square_pictures(folder, 1024, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))

    def boxes(self, boxes: Float32, size: tuple[int, int]) -> torch.Tensor:
        side = self._processor.size
        scale = torch.tensor([side["width"] / size[0], side["height"] / size[1]] * 2)
        return torch.from_numpy(boxes) * scale

    def masks(self, logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return functional.interpolate(logits, size[::-1], mode="bilinear", align_corners=False) > 0
