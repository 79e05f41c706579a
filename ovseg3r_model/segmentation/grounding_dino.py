"""Boxes from text by Grounding DINO and MM Grounding DINO, through ``transformers``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovseg3r_model.records import UInt8
from ovseg3r_model.segmentation.detections import Detections, Features
from ovseg3r_model.segmentation.in_network import inference
from ovseg3r_model.segmentation.pretrained import load_network, load_part
from ovseg3r_model.segmentation.text_passes import TextPass, text_passes

TYPES = ("grounding-dino", "mm-grounding-dino")


@dataclass(frozen=True)
class Found:
    """Of one frame: the detections of all passes, not yet thinned; the features where they are asked for."""

    detections: Detections
    features: Features | None


class GroundingDino:
    """One detector with one vocabulary; frames of one size at a time."""

    def __init__(
        self,
        folder: Path,
        phrases: Sequence[str],
        threshold: float,
        device: torch.device,
        precision: str,
        features: bool,
    ) -> None:
        """Raises InputError: the weights cannot be read, or the vocabulary does not suit the text encoder."""
        from transformers import AutoTokenizer, GroundingDinoImageProcessorPil

        self._network = load_network(folder, device)
        model = self._network.model
        if not isinstance(model.backbone, _BackboneOnce):  # the network is shared
            model.backbone = _BackboneOnce(model.backbone)
        self._backbone = model.backbone
        self._device, self._precision, self._threshold, self._features = device, precision, threshold, features
        # the Pillow one also where torchvision is there, whose resizing gives other pixels
        self._pictures = load_part(GroundingDinoImageProcessorPil, folder)
        tokenizer = load_part(AutoTokenizer, folder)
        self._passes = text_passes(phrases, tokenizer, self._network.config.max_text_len)

    def __call__(self, frames: Sequence[UInt8]) -> list[Found]:
        """What it finds in B frames (H,W,3) uint8 RGB of one size."""
        height, width = frames[0].shape[:2]
        inputs = self._pictures(images=list(frames), return_tensors="pt").to(self._device)
        parts: list[list[Detections]] = [[] for _ in frames]
        features: list[Any] = [None] * len(frames)
        with inference(self._device, self._precision):
            try:
                for text in self._passes:
                    for part, found in zip(parts, self._detect(inputs, text, (width, height)), strict=True):
                        part.append(found)
                if self._features:
                    finest = self._network.model.input_proj_vision[0](self._backbone.finest())
                    scale = _cells_a_pixel(inputs["pixel_values"], finest, (width, height))
                    features = [(x, scale) for x in finest.permute(0, 2, 3, 1).to(torch.float16).cpu().numpy()]
            finally:
                self._backbone.forget()
        return [Found(Detections.joined(part), feature) for part, feature in zip(parts, features, strict=True)]

    def _detect(self, inputs: Any, text: TextPass, size: tuple[int, int]) -> list[Detections]:
        """Per frame the queries for which some phrase's token scores above the threshold."""
        tokens = torch.tensor([text.tokens] * len(inputs["pixel_values"]), device=self._device)
        output = self._network(
            pixel_values=inputs["pixel_values"], pixel_mask=inputs.get("pixel_mask"), input_ids=tokens,
            attention_mask=torch.ones_like(tokens), token_type_ids=torch.zeros_like(tokens),
        )  # fmt: skip
        probability = output.logits.float().sigmoid()[..., : len(text.tokens)].cpu().numpy()  # (B,Q,T)
        center = output.pred_boxes.float().cpu().numpy()  # (B,Q,4) middle and extent, as shares of the frame
        hidden = output.last_hidden_state.float().cpu().numpy()  # (B,Q,d)
        frame = np.array([*size, *size], np.float32)
        kept = []
        for b in range(len(probability)):
            phrase, score = text.name(probability[b])
            sure = score > self._threshold
            middle, half = center[b, sure, :2], center[b, sure, 2:] / 2
            box = np.clip(np.concatenate([middle - half, middle + half], axis=1) * frame, 0, frame)
            feature = hidden[b, sure] if self._features else np.zeros((len(box), 0), np.float32)
            kept.append(Detections(box, score[sure], phrase[sure], feature))
        return kept


class _BackboneOnce(torch.nn.Module):
    """The image backbone, which does not see the text and is a good part of the work: it runs once for all passes over
    the same pictures.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self._inner = backbone
        self.position_embedding = backbone.position_embedding
        self._seen: torch.Tensor | None = None
        self._maps: list[Any] = []
        self._positions: list[Any] = []

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor) -> tuple[list[Any], list[Any]]:
        if self._seen is not pixel_values:
            self._maps, self._positions = self._inner(pixel_values, pixel_mask)
            self._seen = pixel_values
        return list(self._maps), list(self._positions)  # copies: the caller adds to them

    def finest(self) -> torch.Tensor:
        """(B,C,h,w): the finest map of the last pictures, before the neck."""
        finest: torch.Tensor = self._maps[0][0]
        return finest

    def forget(self) -> None:
        """Lets go of the last pictures."""
        self._seen, self._maps, self._positions = None, [], []


def _cells_a_pixel(seen: torch.Tensor, image: torch.Tensor, size: tuple[int, int]) -> tuple[float, float]:
    """Cells of the feature maps (B,C,h,w) per pixel of the frames of ``size``, along x and y. ``seen`` (B,3,H,W): what
    the network saw; the maps' last cells reach beyond it, so their number alone does not tell.
    """
    stride = 2 ** round(np.log2(seen.shape[-1] / image.shape[-1]))
    return seen.shape[-1] / size[0] / stride, seen.shape[-2] / size[1] / stride
