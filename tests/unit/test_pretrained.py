"""Weights that are not what they should be, told before any work; each network loaded once."""

import json
import logging
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import ViewMasks
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.segmentation.pretrained import load_network
from ovseg3r_model.settings import GroundedSamSettings, Sam3Settings, SegmentSettings
from tests.conftest import TinyModels
from tests.contracts.segmenter_contract import assert_same, small_recording

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def folder(tiny_models: TinyModels, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a tiny model, to spoil."""
    return lambda family: Path(shutil.copytree(tiny_models(family), tmp_path / family))


def grounded(detector: Path | str, sam: Path | str, **more: Any) -> SegmentSettings:
    weights = GroundedSamSettings(detector=str(detector), sam=str(sam), threshold=0.0)
    return SegmentSettings(engine="grounded-sam", grounded_sam=weights, **more)


def test_pickled_weights_are_refused_before_anything_is_read(folder: Callable[[str], Path]) -> None:
    sam = folder("sam")
    torch.save({}, sam / "pytorch_model.bin")
    (sam / "model.safetensors").unlink()
    with pytest.raises(InputError, match="safetensors"):
        build_segmenter(grounded(folder("grounding-dino"), sam))


def test_weights_that_lack_are_told_with_the_command(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OVSEG3R_WEIGHTS", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="ovseg3r weights fetch sam-vit-huge"):
        build_segmenter(grounded(folder("grounding-dino"), "sam-vit-huge"))
    with pytest.raises(InputError, match="ovseg3r weights fetch sam3"):
        build_segmenter(SegmentSettings(engine="sam3"))
    with pytest.raises(InputError, match="ovseg3r weights fetch grounding-dino-tiny sam-vit-base"):
        build_segmenter(SegmentSettings())


def test_weights_of_another_kind_are_refused(tiny_models: TinyModels) -> None:
    with pytest.raises(InputError, match="type sam, not Grounding DINO"):
        build_segmenter(grounded(tiny_models("sam"), tiny_models("sam")))
    with pytest.raises(InputError, match="type grounding-dino, not SAM or SAM 2"):
        build_segmenter(grounded(tiny_models("grounding-dino"), tiny_models("grounding-dino")))
    with pytest.raises(InputError, match="not SAM 3"):
        build_segmenter(SegmentSettings(engine="sam3", sam3=Sam3Settings(weights=str(tiny_models("sam2")))))


def _without_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["mask_decoder.iou_token.weight"]


def _of_another_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["mask_decoder.iou_token.weight"] = torch.zeros(1, 99)


@pytest.mark.parametrize("spoil", [_without_one, _of_another_shape])
def test_weights_that_do_not_fill_the_network_are_refused(
    folder: Callable[[str], Path], spoil: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    sam = folder("sam")
    tensors = load_file(sam / "model.safetensors")
    spoil(tensors)
    save_file(tensors, sam / "model.safetensors", metadata={"format": "pt"})
    engine = build_segmenter(grounded(folder("grounding-dino"), sam))
    with pytest.raises(InputError, match=r"mask_decoder\.iou_token\.weight"):
        engine.prepare(small_recording())


def test_damaged_files_are_told(folder: Callable[[str], Path]) -> None:
    sam = folder("sam")
    weights = sam / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"sam: the weights cannot be read .*weights verify"):
        load_network(sam, torch.device("cpu"))
    (sam / "config.json").write_text(json.dumps({"architectures": []}))
    with pytest.raises(InputError, match=r"config\.json does not say what model"):
        build_segmenter(grounded(folder("grounding-dino"), sam))


def test_a_network_is_loaded_once_however_many_scenes(
    tiny_models: TinyModels, folder: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    detector, sam = folder("mm-grounding-dino"), folder("sam2")
    with caplog.at_level(logging.INFO, "ovseg3r.segmentation"):
        for prompt in ("chair", "chair. mug", "desk"):
            engine = build_segmenter(grounded(detector, sam, prompt=prompt))
            engine.prepare(small_recording())
            assert len(list(engine.segment(small_recording(), [0, 1]))) == 2
    loaded = [record.getMessage() for record in caplog.records if "loaded" in record.getMessage()]
    assert loaded == ["mm-grounding-dino loaded on cpu", "sam2 loaded on cpu"]


def test_scenes_at_the_same_time_share_a_network_and_do_not_mix(tiny_models: TinyModels) -> None:
    recording, prompts = small_recording(), ("chair", "mug. desk", "lamp. rug. door")
    weights = tiny_models("mm-grounding-dino"), tiny_models("sam2")

    def masks(prompt: str) -> list[ViewMasks]:
        engine = build_segmenter(grounded(*weights, prompt=prompt), features=True)
        return list(engine.segment(recording, range(len(recording))))

    singly = [masks(prompt) for prompt in prompts]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(masks, prompts))
    for one, other in zip(singly, together, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(("family", "name"), [
    ("grounding-dino", "tokenizer"), ("sam3", "tokenizer"),
    ("grounding-dino", "preprocessor_config.json"), ("sam", "preprocessor_config.json"),
])  # fmt: skip
def test_what_an_own_folder_lacks_is_told_before_any_work(
    folder: Callable[[str], Path], family: str, name: str
) -> None:
    """Without its tokenizer's files the library would make an empty one, to which all words are alike."""
    spoilt = folder(family)
    removed = [path for path in spoilt.iterdir() if path.name.startswith((name, "vocab", "merges"))]
    for path in removed if name == "tokenizer" else [spoilt / name]:
        path.unlink()
    if family == "sam3":
        settings = SegmentSettings(engine="sam3", sam3=Sam3Settings(weights=str(spoilt)))
    else:
        detector, sam = (
            (spoilt, folder("sam2")) if family == "grounding-dino" else (folder("mm-grounding-dino"), spoilt)
        )
        settings = grounded(detector, sam)
    with pytest.raises(InputError, match=f"{name}.* missing"):
        build_segmenter(settings)


def test_settings_that_cannot_be_read_are_told(folder: Callable[[str], Path]) -> None:
    sam, sam2 = folder("sam"), folder("sam2")
    for spoilt in (sam, sam2):
        (spoilt / "preprocessor_config.json").write_text("{not json")
        engine = build_segmenter(grounded(folder("mm-grounding-dino").rename(spoilt / "detector"), spoilt))
        with pytest.raises(InputError, match=str(spoilt)):
            engine.prepare(small_recording())


def test_words_are_encoded_once_for_all_scenes(folder: Callable[[str], Path]) -> None:
    settings = SegmentSettings(engine="sam3", prompt="chair. mug", sam3=Sam3Settings(weights=str(folder("sam3"))))
    encoder = load_network(Path(settings.sam3.weights), torch.device("cpu")).text_encoder
    calls: list[int] = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    for prompt in ("chair. mug", "mug. chair", "mug. desk"):
        build_segmenter(settings.model_copy(update={"prompt": prompt})).prepare(small_recording())
    assert len(calls) == 3


def test_sam_does_not_look_at_frames_without_a_box(folder: Callable[[str], Path]) -> None:
    sam = folder("sam")
    settings = grounded(folder("mm-grounding-dino"), sam, prompt="chair", batch=2)
    blind = settings.model_copy(update={"grounded_sam": settings.grounded_sam.model_copy(update={"threshold": 0.99})})
    seen: list[int] = []
    vision = load_network(sam, torch.device("cpu")).vision_encoder
    vision.register_forward_pre_hook(lambda _m, inputs: seen.append(len(inputs[0])))
    recording = small_recording()
    empty = list(build_segmenter(blind).segment(recording, range(len(recording))))
    assert [masks.labels for masks in empty] == [()] * len(recording)
    assert seen == []
    list(build_segmenter(settings).segment(recording, range(len(recording))))
    assert sum(seen) == len(recording)


def test_changed_weights_are_loaded_anew(folder: Callable[[str], Path]) -> None:
    sam = folder("sam")
    first = load_network(sam, torch.device("cpu"))
    tensors = load_file(sam / "model.safetensors")
    tensors["mask_decoder.iou_token.weight"] += 1
    save_file(tensors, sam / "model.safetensors", metadata={"format": "pt"})
    second = load_network(sam, torch.device("cpu"))
    difference = second.mask_decoder.iou_token.weight - first.mask_decoder.iou_token.weight
    torch.testing.assert_close(difference, torch.ones_like(difference))


def test_nothing_is_asked_of_the_network(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    for settings in (
        grounded(tiny_models("grounding-dino"), tiny_models("sam"), prompt="chair"),
        SegmentSettings(engine="sam3", prompt="chair", sam3=Sam3Settings(weights=str(tiny_models("sam3")))),
    ):
        engine = build_segmenter(settings)
        engine.prepare(small_recording())
        assert len(list(engine.segment(small_recording(), [0]))) == 1
