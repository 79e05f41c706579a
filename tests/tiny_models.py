"""Tiny random-weight models of the learned engines' architectures, saved as a user's weights are: config, preprocessor,
tokenizer and safetensors in a folder. They find nothing that makes sense; they run through the very code that the real
ones do.
"""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Sam2Config,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam3Config,
    Sam3Model,
    Sam3VideoConfig,
    Sam3VideoModel,
    SamConfig,
    SamImageProcessorPil,
    SamModel,
    SwinConfig,
)

DETECTORS = ("grounding-dino", "mm-grounding-dino")
MASKERS = ("sam", "sam2")
SIDE, SAM3_SIDE = 64, 56  # pixels that the networks see
_IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_GAIN = {"grounding-dino": 1.5, "mm-grounding-dino": 6.0, "sam": 6.0, "sam2": 6.0, "sam3": 6.0, "clip": 6.0}
"""Random weights see everything alike; larger ones make their answers differ from place to place."""


def save_tiny(family: str, folder: Path) -> Path:
    """The folder with a tiny model of a family; the same bytes every time."""
    makers: dict[str, Callable[[Path], None]] = {
        "grounding-dino": _grounding_dino,
        "mm-grounding-dino": _mm_grounding_dino,
        "sam": _sam,
        "sam2": _sam2,
        "sam3": _sam3,
        "sam2_video": _sam2_video,
        "sam3_video": _sam3_video,
        "clip": _clip,
        "clip_text_model": _clip_text,
    }
    torch.manual_seed(7)
    folder.mkdir(parents=True)
    makers[family](folder)
    return folder


def _detector(config: Any, build: Any, folder: Path) -> None:
    model = build(config)
    _shake(model, config.model_type)
    model.save_pretrained(folder)
    GroundingDinoImageProcessorPil(size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE}).save_pretrained(folder)
    save_bert_tokenizer(folder)


def _shake(model: torch.nn.Module, family: str) -> None:
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "backbone" not in name and "encoder" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02 * _GAIN[family])


def _detector_parts() -> dict[str, Any]:
    return {
        "backbone_config": SwinConfig(
            image_size=SIDE, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
            out_indices=[2, 3, 4],
        ),
        "text_config": {
            "model_type": "bert", "vocab_size": 1100, "hidden_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 64,
        },
        "d_model": 64, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 20,
    }  # fmt: skip


def _grounding_dino(folder: Path) -> None:
    _detector(GroundingDinoConfig(**_detector_parts()), GroundingDinoForObjectDetection, folder)


def _mm_grounding_dino(folder: Path) -> None:
    _detector(MMGroundingDinoConfig(**_detector_parts()), MMGroundingDinoForObjectDetection, folder)


def save_bert_tokenizer(folder: Path) -> None:
    """Characters as word pieces; the special tokens where BERT's own vocabulary has them, as Grounding DINO expects."""
    named = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    letters = [*string.ascii_lowercase, *string.digits, "'", "-", "/", "&", "(", ")"]
    named |= {piece: 200 + k for k, piece in enumerate([*letters, *(f"##{letter}" for letter in letters)])}
    taken = {number: piece for piece, number in named.items()}
    tokens = {taken.get(number, f"[unused{number}]"): number for number in range(1100)}
    BertTokenizer(tokens, do_lower_case=True).save_pretrained(folder)


def _sam(folder: Path) -> None:
    config = SamConfig(
        vision_config={
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8,
            "mlp_dim": 64, "output_channels": 32, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 16,
        },
        prompt_encoder_config={
            "hidden_size": 32, "image_size": SIDE, "patch_size": 8, "mask_input_channels": 4,
            "image_embedding_size": SIDE // 8,
        },
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    )  # fmt: skip
    model = SamModel(config)
    _shake(model, "sam")
    model.save_pretrained(folder)
    size, pad = {"longest_edge": SIDE}, {"height": SIDE, "width": SIDE}
    SamImageProcessorPil(size=size, pad_size=pad).save_pretrained(folder)


def _sam2_parts() -> dict[str, Any]:
    return {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model", "hidden_size": 16, "num_attention_heads": 1,
                "image_size": [SIDE, SIDE], "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [4, 4, 4, 4],
                "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
            "fpn_hidden_size": 32,
        },
        "prompt_encoder_config": {
            "hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4,
        },
        "mask_decoder_config": {
            "hidden_size": 32, "mlp_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    }  # fmt: skip


def _sam2(folder: Path) -> None:
    model = Sam2Model(Sam2Config(**_sam2_parts()))
    _shake(model, "sam2")
    model.save_pretrained(folder)
    save_square_preprocessor(folder, SIDE, *_IMAGENET)


def _sam2_video(folder: Path) -> None:
    """As the hub has SAM 2.1: with the parts for video, and settings that leave things to be filled in."""
    memory = {
        "memory_attention_hidden_size": 32, "memory_attention_num_layers": 1, "memory_encoder_hidden_size": 32,
        "memory_attention_feed_forward_hidden_size": 32, "memory_encoder_output_channels": 16,
        "memory_fuser_embed_dim": 32, "mask_downsampler_embed_dim": 32, "memory_fuser_intermediate_dim": 32,
        "memory_attention_num_attention_heads": 1,
    }  # fmt: skip
    model = Sam2VideoModel(Sam2VideoConfig(**_sam2_parts(), **memory))
    _shake(model, "sam2")
    model.save_pretrained(folder)
    save_square_preprocessor(folder, SIDE, *_IMAGENET)
    path = folder / "preprocessor_config.json"
    said = json.loads(path.read_text())
    said |= {"image_mean": None, "do_pad": None, "image_processor_type": "Sam2ImageProcessorFast", "device": None}
    path.write_text(json.dumps(said | {"mask_size": {"height": 16, "width": 16}}))


def _sam3_config() -> Sam3Config:
    side = SAM3_SIDE
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 2, "image_size": side, "patch_size": 14, "window_size": 2,
                "global_attn_indexes": [1], "pretrain_image_size": 28,
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "vocab_size": 600, "hidden_size": 32, "intermediate_size": 64, "projection_dim": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32, "bos_token_id": 598, "eos_token_id": 599,
        },
        geometry_encoder_config={"hidden_size": 32, "num_layers": 1, "num_attention_heads": 4, "intermediate_size": 64},
        detr_encoder_config={"hidden_size": 32, "num_layers": 1, "num_attention_heads": 4, "intermediate_size": 64},
        detr_decoder_config={
            "hidden_size": 32, "num_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "num_queries": 12,
        },
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 4},
    )  # fmt: skip


def _sam3(folder: Path) -> None:
    model = Sam3Model(_sam3_config())
    _shake(model, "sam3")
    model.save_pretrained(folder)
    save_square_preprocessor(folder, SAM3_SIDE, [0.5] * 3, [0.5] * 3)
    save_clip_tokenizer(folder, 598, 599)


def _sam3_video(folder: Path) -> None:
    """As the hub has SAM 3: its detector inside of a model for video, and the pictures' settings inside of others."""
    config = Sam3VideoConfig(detector_config=_sam3_config().to_dict())
    config.tracker_config.memory_attention_num_layers = 1
    model = Sam3VideoModel(config)
    _shake(model.detector_model, "sam3")
    model.save_pretrained(folder)
    save_square_preprocessor(folder, SAM3_SIDE, [0.5] * 3, [0.5] * 3)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings, "target_size": SAM3_SIDE}))
    (folder / "preprocessor_config.json").unlink()
    save_clip_tokenizer(folder, 598, 599)


def _clip_text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, projection_dim=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=32, bos_token_id=598, eos_token_id=599,
    )  # fmt: skip


def _clip(folder: Path) -> None:
    """The whole of CLIP, as the hub has it."""
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, projection_dim=24, num_hidden_layers=1, num_attention_heads=2,
        image_size=SIDE, patch_size=16,
    )  # fmt: skip
    config = CLIPConfig(text_config=_clip_text_config(), vision_config=vision, projection_dim=24)
    _save_clip(CLIPModel(config), folder)


def _clip_text(folder: Path) -> None:
    """Its text encoder alone."""
    _save_clip(CLIPTextModelWithProjection(_clip_text_config()), folder)


def _save_clip(model: Any, folder: Path) -> None:
    _shake(model, "clip")
    model.save_pretrained(folder)
    save_clip_tokenizer(folder, 598, 599)


def save_square_preprocessor(folder: Path, side: int, mean: list[float], std: list[float]) -> None:
    """As the hub's preprocessor_config.json of SAM 2 and 3, whose class needs torchvision to be made."""
    values = {
        "do_resize": True, "size": {"height": side, "width": side}, "resample": 2, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": mean, "image_std": std,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(values, indent=1))


def save_clip_tokenizer(folder: Path, start: int, end: int) -> None:
    """Characters as tokens; ``start`` and ``end`` of text at the ids that the network expects."""
    letters = [*string.ascii_lowercase, *string.digits, "'", "-", "/", "&", "(", ")", "."]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: k for k, token in enumerate(tokens)} | {"<|startoftext|>": start, "<|endoftext|>": end}
    CLIPTokenizer(vocabulary, []).save_pretrained(folder)
