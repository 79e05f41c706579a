"""The engine "sam3": all instances of each phrase by SAM 3's concept segmentation, through ``transformers``."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.nn import functional

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float16, UInt8
from ovseg3r_model.segmentation.detections import Detections, Features, Mask
from ovseg3r_model.segmentation.in_network import Network, in_halves, inference
from ovseg3r_model.segmentation.learned import Finish, Learned
from ovseg3r_model.segmentation.overlaps import thin_boxes, view_masks
from ovseg3r_model.segmentation.pretrained import check_type, load_network, load_part
from ovseg3r_model.settings import SegmentSettings
from ovseg3r_model.weights import find

TYPES = ("sam3", "sam3_video")
_INSIDE = 0.5  # the library's own threshold of mask probabilities
_TEXTS: MutableMapping[Any, dict[tuple[str, str], "_Text"]] = WeakKeyDictionary()  # by network, phrase and precision


class Sam3(Learned):
    """The engine. Each phrase is looked for by itself, so phrases do not influence each other.

    METHOD 1.2's X is here the map that the detector itself attends to (a cell every 14 pixels of what the network sees;
    the finer ones only serve mask edges), R the decoder's last hidden state of the instance's query.
    """

    name = "sam3"

    def __init__(self, settings: SegmentSettings, features: bool) -> None:
        """Raises InputError: the weights or the vocabulary are not there, or no such device."""
        super().__init__(settings, features)
        self._folder = find(settings.sam3.weights)
        check_type(self._folder, TYPES, "SAM 3", text=True)

    def build(self) -> Network[Finish]:
        return Sam3Network(self._folder, self.phrases, self.settings, self.device, self.features)


@dataclass(frozen=True)
class _Text:
    """P phrases as the network takes them: pooler_output (P,L,d) the projected states of their tokens, mask (P,L)."""

    pooler_output: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class Found:
    """Of one frame: all sure instances, phrase by phrase; their masks as probabilities (h,w), of the network's
    resolution; the features where they are asked for.
    """

    detections: Detections
    probability: list[torch.Tensor]
    features: Features | None


class Sam3Network:
    """The network with one vocabulary."""

    def __init__(
        self, folder: Path, phrases: Sequence[str], settings: SegmentSettings, device: torch.device, features: bool
    ) -> None:
        """Raises InputError: the weights cannot be read, or a phrase is too long for the text encoder."""
        from ovseg3r_model.segmentation.square_pictures import square_pictures

        self._network = load_network(folder, device)
        self._settings, self._device, self._features, self._phrases = settings, device, features, phrases
        side = self._network.config.vision_config.image_size
        self._pictures = square_pictures(folder, side, [0.5] * 3, [0.5] * 3)
        with inference(device, settings.precision):
            self._text = self._encoded(folder)

    def _encoded(self, folder: Path) -> list[_Text]:
        """The phrases' texts, one by one: encoded once for all frames, and for all scenes of the process."""
        from transformers import AutoTokenizer

        known = _TEXTS.setdefault(self._network, {})
        tokenizer = load_part(AutoTokenizer, folder)
        length = self._network.config.text_config.max_position_embeddings
        for phrase in self._phrases:
            if (phrase, self._settings.precision) in known:
                continue
            tokens = tokenizer([phrase], padding="max_length", max_length=length, return_tensors="pt")
            if tokens["input_ids"].shape[1] > length:
                raise InputError(f'The phrase "{phrase}" is too long for the text encoder (over {length - 2} tokens).')
            mask = tokens["attention_mask"].to(self._device)
            found = self._network.get_text_features(tokens["input_ids"].to(self._device), mask, return_dict=True)
            known[phrase, self._settings.precision] = _Text(found.pooler_output, mask)
        return [known[phrase, self._settings.precision] for phrase in self._phrases]

    def __call__(self, frames: Sequence[UInt8]) -> list[Finish]:
        """The masks of B frames (H,W,3) uint8 RGB of one size, to be finished without the network."""
        overlaps, shape = self._settings.overlaps, frames[0].shape[:2]
        finished: list[Finish] = []
        for found in self.find(frames):
            chosen, dropped = thin_boxes(found.detections, overlaps)
            masks = [enlarged(found.probability[k], shape) for k in chosen]
            finished.append(
                partial(
                    view_masks, found.detections[chosen], masks, self._phrases, shape, overlaps,
                    self._settings.min_area, dropped, found.features,
                )
            )  # fmt: skip
        return finished

    def find(self, frames: Sequence[UInt8]) -> list[Found]:
        """What is in B frames of one size."""
        with inference(self._device, self._settings.precision):
            pixels = self._pictures(images=list(frames), return_tensors="pt")["pixel_values"].to(self._device)
            vision = self._network.get_vision_features(pixels)
            return [self._of_frame(vision, b, frames[b].shape[1::-1]) for b in range(len(frames))]

    def _of_frame(self, vision: Any, b: int, size: tuple[int, int]) -> Found:
        parts, masks = [], []
        for start in range(0, len(self._text), self._settings.sam3.phrases):
            phrases = range(start, min(start + self._settings.sam3.phrases, len(self._text)))
            for found, probability in in_halves(lambda some: self._detected(vision, b, some, size), phrases):
                parts.append(found)
                masks += list(probability)
        return Found(Detections.joined(parts), masks, self._image(vision, b, size) if self._features else None)

    def _detected(
        self, vision: Any, b: int, phrases: Sequence[int], size: tuple[int, int]
    ) -> list[tuple[Detections, torch.Tensor]]:
        """Per phrase the sure instances in frame b, and their mask probabilities (K,h,w)."""
        text = _Text(
            *(torch.cat([getattr(self._text[p], name) for p in phrases]) for name in ("pooler_output", "mask"))
        )
        hidden: list[torch.Tensor] = []
        hook = self._network.detr_decoder.register_forward_hook(
            lambda _module, _inputs, output: hidden.append(output.intermediate_hidden_states[-1])
        )
        try:
            output = self._network(
                vision_embeds=_repeated(vision, b, len(phrases)), text_embeds=text, attention_mask=text.mask
            )
        finally:
            hook.remove()
        score = output.pred_logits.float().sigmoid() * output.presence_logits.float().sigmoid()  # (P,Q)
        span = torch.tensor([*size, *size], dtype=torch.float32)
        found = []
        for k, phrase in enumerate(phrases):
            sure = score[k] > self._settings.sam3.threshold
            box = (output.pred_boxes[k, sure].float().cpu() * span).clamp(torch.zeros(4), span).numpy()
            feature = hidden[0][k, sure].float().cpu().numpy()
            names = np.full(len(box), phrase, np.int64)
            things = Detections(box, score[k, sure].cpu().numpy(), names, feature if self._features else feature[:, :0])
            found.append((things, output.pred_masks[k, sure].float().sigmoid()))
        return found

    def _image(self, vision: Any, b: int, size: tuple[int, int]) -> Features:
        level = vision.fpn_hidden_states[-2][b]  # (C,h,w); the last level is not used by the detector
        image: Float16 = level.permute(1, 2, 0).to(torch.float16).cpu().numpy()
        return image, (image.shape[1] / size[0], image.shape[0] / size[1])


def enlarged(probability: torch.Tensor, shape: tuple[int, int]) -> Mask:
    """The mask in a frame of ``shape`` (H,W), as the library's own post-processing enlarges it."""
    with torch.inference_mode():
        whole = functional.interpolate(probability[None, None], shape, mode="bilinear", align_corners=False)
        return Mask.of((whole[0, 0] > _INSIDE).cpu().numpy())


def _repeated(vision: Any, b: int, times: int) -> Any:
    """The vision embeddings of frame b alone, for so many phrases."""
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

    def of_frame(levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(level[b : b + 1].expand(times, *level.shape[1:]) for level in levels)

    return Sam3VisionEncoderOutput(
        fpn_hidden_states=of_frame(vision.fpn_hidden_states),
        fpn_position_encoding=tuple(
            level[:1].expand(times, *level.shape[1:]) for level in vision.fpn_position_encoding
        ),
    )
