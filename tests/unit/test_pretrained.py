"""Weights that are not what they should be, told before any work; each network loaded once."""

import json
import logging
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovseg3r_model.errors import InputError
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.segmentation.pretrained import load_network
from ovseg3r_model.settings import GroundedSamSettings, Sam3Settings, SegmentSettings
from tests.conftest import TinyModels
from tests.contracts.segmenter_contract import small_recording

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
