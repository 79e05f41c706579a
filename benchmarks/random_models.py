"""The learned engines' architectures with random weights, in their published sizes: as fast and as large as the real
ones, and they find nothing that makes sense."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.tiny_models import save_bert_tokenizer, save_clip_tokenizer, save_square_preprocessor

_SWIN = {
    "tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7, "image_size": 224},
    "base": {
        "embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12, "image_size": 384,
    },
}  # fmt: skip
_VIT = {
    "base": (768, 12, 12, [2, 5, 8, 11]),
    "large": (1024, 24, 16, [5, 11, 17, 23]),
    "huge": (1280, 32, 16, [7, 15, 23, 31]),
}
_HIERA = {
    "tiny": (96, 1, [1, 2, 7, 2], [5, 7, 9], [7, 7], [8, 4, 14, 7]),
    "small": (96, 1, [1, 2, 11, 2], [7, 10, 13], [7, 7], [8, 4, 14, 7]),
    "base-plus": (112, 2, [2, 3, 16, 3], [12, 16, 20], [14, 14], [8, 4, 14, 7]),
    "large": (144, 2, [2, 6, 36, 4], [23, 33, 43], [7, 7], [8, 4, 16, 8]),
}


@dataclass(frozen=True)
class Architecture:
    """name: as in `ovseg3r weights list`. kind: "boxes", "masks" or "concepts"."""

    name: str
    kind: str
    save: Callable[[Path], None]


def architectures() -> tuple[Architecture, ...]:
    """All that the engines take, in the order of `ovseg3r weights list`."""
    families = (("grounding-dino", "GroundingDino"), ("mm-grounding-dino", "MMGroundingDino"))
    found = [
        Architecture(f"{family}-{size}", "boxes", _saver(_detector, kind, size))
        for family, kind in families
        for size in _SWIN
    ]
    found += [Architecture(f"sam-vit-{size}", "masks", _saver(_sam, size)) for size in _VIT]
    found += [Architecture(f"sam2.1-hiera-{size}", "masks", _saver(_sam2, size)) for size in _HIERA]
    return (*found, Architecture("sam3", "concepts", _sam3))


def _saver(make: Callable[..., None], *arguments: str) -> Callable[[Path], None]:
    return lambda folder: make(folder, *arguments)


def _saved(folder: Path, model: Any) -> None:
    """With weights of a usual size: some of these are made so small that what comes of them is denormal, and slow."""
    transformers.utils.logging.disable_progress_bar()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
    model.save_pretrained(folder)


def _detector(folder: Path, kind: str, size: str) -> None:
    torch.manual_seed(0)
    backbone = transformers.SwinConfig(out_indices=[2, 3, 4], **_SWIN[size])
    config = getattr(transformers, f"{kind}Config")(backbone_config=backbone)
    _saved(folder, getattr(transformers, f"{kind}ForObjectDetection")(config))
    transformers.GroundingDinoImageProcessorPil().save_pretrained(folder)
    save_bert_tokenizer(folder)


def _sam(folder: Path, size: str) -> None:
    torch.manual_seed(0)
    hidden, layers, heads, everywhere = _VIT[size]
    vision = {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "global_attn_indexes": everywhere,
    }  # fmt: skip
    _saved(folder, transformers.SamModel(transformers.SamConfig(vision_config=vision)))
    transformers.SamImageProcessorPil().save_pretrained(folder)


def _sam2(folder: Path, size: str) -> None:
    torch.manual_seed(0)
    width, heads, blocks, everywhere, background, window = _HIERA[size]
    widths = [width * 2**k for k in range(4)]
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": width, "num_attention_heads": heads,
        "blocks_per_stage": blocks, "embed_dim_per_stage": widths, "global_attention_blocks": everywhere,
        "num_attention_heads_per_stage": [heads * 2**k for k in range(4)], "window_size_per_stage": window,
        "window_positional_embedding_background_size": background,
    }  # fmt: skip
    vision = {"backbone_config": backbone, "backbone_channel_list": widths[::-1]}
    _saved(folder, transformers.Sam2Model(transformers.Sam2Config(vision_config=vision)))
    save_square_preprocessor(folder, 1024, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def _sam3(folder: Path) -> None:
    torch.manual_seed(0)
    _saved(folder, transformers.Sam3Model(transformers.Sam3Config()))
    save_square_preprocessor(folder, 1008, [0.5] * 3, [0.5] * 3)
    save_clip_tokenizer(folder, 49406, 49407)
