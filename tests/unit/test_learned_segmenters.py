"""The learned engines on tiny random-weight models: the same as the library's own steps on the same model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    MMGroundingDinoForObjectDetection,
    Sam2Model,
    Sam3Model,
    Sam3VideoModel,
    SamImageProcessorPil,
    SamModel,
    SamProcessor,
)

from ovseg3r_model.records import UInt8
from ovseg3r_model.segmentation.box_masks import BoxMasks
from ovseg3r_model.segmentation.detections import Mask
from ovseg3r_model.segmentation.grounding_dino import GroundingDino
from ovseg3r_model.segmentation.sam3 import Sam3Network, enlarged
from ovseg3r_model.settings import Sam3Settings, SegmentSettings
from ovseg3r_model.vocabulary import scannet200_classes
from tests.conftest import TinyModels

CPU = torch.device("cpu")
PHRASES = ("chair", "office desk", "mug", "toilet paper dispenser")
SIZES = [(96, 72), (50, 70)]
DETECTORS = {"grounding-dino": GroundingDinoForObjectDetection, "mm-grounding-dino": MMGroundingDinoForObjectDetection}

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def frames(size: tuple[int, int], count: int = 2) -> list[UInt8]:
    """Pictures (H,W,3) of blocks of colour."""
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST)) for picture in small]


def detector(folder: Path, threshold: float, phrases: Sequence[str] = PHRASES, features: bool = True) -> GroundingDino:
    return GroundingDino(folder, phrases, threshold, CPU, "float32", features)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", DETECTORS)
def test_detections_are_the_library_s(tiny_models: TinyModels, family: str, size: tuple[int, int]) -> None:
    folder, pictures = tiny_models(family), frames(size)
    network = DETECTORS[family].from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = GroundingDinoProcessor(GroundingDinoImageProcessorPil.from_pretrained(folder), tokenizer)
    inputs = processor(images=pictures, text=[list(PHRASES)] * len(pictures), return_tensors="pt")
    text = ". ".join(PHRASES) + "."
    spans = _token_spans(tokenizer, text)
    with torch.inference_mode():
        output = network(**inputs)
    named = torch.zeros(output.logits.shape[-1], dtype=torch.bool)
    for start, stop in spans:
        named[start:stop] = True
    output.logits = output.logits.masked_fill(~named, -torch.inf)  # the library's own would count separators as names
    probability = output.logits.sigmoid()
    names = torch.stack([probability[..., a:b].mean(dim=-1) for a, b in spans]).argmax(dim=0)  # (B,Q)
    best = torch.stack([probability[..., a:b].amax(dim=-1) for a, b in spans])  # (P,B,Q)
    score = best.gather(0, names[None])[0]
    threshold = float(score.median())  # half of the random detections pass it
    wanted = processor.post_process_grounded_object_detection(
        output, threshold=0.0, target_sizes=[size[::-1]] * len(pictures)
    )
    found = detector(folder, threshold)(pictures)
    assert any(0 < len(one.detections) < network.config.num_queries for one in found)
    for b, (one, other) in enumerate(zip(found, wanted, strict=True)):
        sure = score[b] > threshold
        np.testing.assert_array_equal(one.detections.score, score[b, sure].numpy())
        np.testing.assert_array_equal(one.detections.box, np.clip(other["boxes"][sure].numpy(), 0, [*size, *size]))
        np.testing.assert_array_equal(one.detections.feature, output.last_hidden_state[b, sure].numpy())
        assert one.detections.phrase.tolist() == names[b, sure].tolist()


@pytest.mark.parametrize("family", DETECTORS)
def test_detections_of_words_of_one_token_are_the_library_s(tiny_models: TinyModels, family: str) -> None:
    """There the library's own scores and names are ours."""
    folder, pictures, phrases = tiny_models(family), frames(SIZES[0]), ("a", "b", "z", "7")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = GroundingDinoProcessor(GroundingDinoImageProcessorPil.from_pretrained(folder), tokenizer)
    inputs = processor(images=pictures, text=[list(phrases)] * len(pictures), return_tensors="pt")
    with torch.inference_mode():
        output = DETECTORS[family].from_pretrained(folder).eval()(**inputs)
    word = torch.isin(torch.arange(256), torch.tensor([1, 3, 5, 7]))  # [CLS] a . b . z . 7 . [SEP]
    output.logits = output.logits.masked_fill(~word, -torch.inf)
    score = output.logits.sigmoid().amax(dim=-1)
    threshold = float(score.median())
    for b, one in enumerate(detector(folder, threshold, phrases)(pictures)):
        results = []
        for q in torch.nonzero(score[b] > threshold)[:, 0].tolist():
            just_below = float(torch.nextafter(score[b, q], torch.tensor(0.0)))  # so that it names the best token alone
            alone = type(output)(logits=output.logits[b, q][None, None], pred_boxes=output.pred_boxes[b, q][None, None])
            results += processor.post_process_grounded_object_detection(
                alone, inputs["input_ids"][b : b + 1], threshold, just_below, [SIZES[0][::-1]]
            )
        assert len(results) > 3
        assert [phrases[k] for k in one.detections.phrase] == [result["text_labels"][0] for result in results]
        np.testing.assert_array_equal(one.detections.score, np.concatenate([r["scores"].numpy() for r in results]))
        boxes = np.concatenate([result["boxes"].numpy() for result in results])
        np.testing.assert_array_equal(one.detections.box, np.clip(boxes, 0, [*SIZES[0], *SIZES[0]]))


def _token_spans(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Where each phrase's tokens are, by where its characters are in the text."""
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    spans = []
    for phrase in PHRASES:
        at = text.index(phrase)
        inside = [k for k, (a, b) in enumerate(offsets) if a < b and at <= a and b <= at + len(phrase)]
        spans.append((inside[0], inside[-1] + 1))
    return spans


@pytest.mark.parametrize("family", DETECTORS)
def test_image_features_are_the_finest_map_after_the_neck(tiny_models: TinyModels, family: str) -> None:
    folder, pictures = tiny_models(family), frames(SIZES[0])
    network = DETECTORS[family].from_pretrained(folder).eval()
    seen: list[torch.Tensor] = []
    network.model.input_proj_vision[0].register_forward_hook(lambda _m, _i, output: seen.append(output))
    inputs = GroundingDinoImageProcessorPil.from_pretrained(folder)(images=pictures, return_tensors="pt")
    tokens = AutoTokenizer.from_pretrained(folder)(["chair."] * len(pictures), return_tensors="pt")
    with torch.inference_mode():
        network(**inputs, **tokens)
    for b, one in enumerate(detector(folder, 0.5)(pictures)):
        assert one.features is not None
        image, scale = one.features
        np.testing.assert_array_equal(image, seen[0][b].permute(1, 2, 0).to(torch.float16).numpy())
        height, width = inputs["pixel_values"].shape[-2:]
        assert scale == pytest.approx((width / 96 / 8, height / 72 / 8))  # Swin's second stage: a cell every 8 pixels
    assert detector(folder, 0.5, features=False)(pictures)[0].features is None


def test_passes_share_the_image_backbone_and_join_their_detections(tiny_models: TinyModels) -> None:
    folder, pictures = tiny_models("grounding-dino"), frames(SIZES[0], 1)
    names = tuple(kind.name for kind in scannet200_classes())
    both = detector(folder, 0.5, names)
    assert len(both._passes) > 2
    calls: list[int] = []
    hook = both._backbone._inner.register_forward_hook(lambda *_: calls.append(1))
    (found,) = both(pictures)
    hook.remove()
    assert len(calls) == 1
    parts = [detector(folder, 0.5, names[t.first : t.first + len(t.spans)]) for t in both._passes]
    singly = [part(pictures)[0].detections for part in parts]
    assert len(found.detections) == sum(map(len, singly))
    np.testing.assert_array_equal(found.detections.score, np.concatenate([one.score for one in singly]))
    shifted = [one.phrase + text.first for one, text in zip(singly, both._passes, strict=True)]
    np.testing.assert_array_equal(found.detections.phrase, np.concatenate(shifted))


def test_every_name_of_scannet200_is_reached_through_the_detector(tiny_models: TinyModels) -> None:
    """A network that plants, pass by pass, each phrase's tokens under a query of its own."""
    names = tuple(kind.name for kind in scannet200_classes())
    under_test = detector(tiny_models("grounding-dino"), 0.5, names)
    under_test._network = _Planted(under_test)
    (found,) = under_test(frames(SIZES[0], 1))
    assert [names[k] for k in found.detections.phrase] == list(names)


class _Planted:
    """Stands where the pretrained network would."""

    def __init__(self, detector: GroundingDino) -> None:
        self._passes = {text.tokens: text for text in detector._passes}
        self.model = detector._network.model

    def __call__(self, *, pixel_values: torch.Tensor, input_ids: torch.Tensor, **_: Any) -> Any:
        text = self._passes[tuple(input_ids[0].tolist())]
        self.model.backbone(pixel_values, torch.ones_like(pixel_values[:, 0], dtype=torch.long))
        logits = torch.full((1, len(text.spans), 256), -4.0)
        for query, (start, stop) in enumerate(text.spans):
            logits[0, query, start:stop] = 2.0
        queries = len(text.spans)
        boxes, hidden = torch.full((1, queries, 4), 0.5), torch.zeros(1, queries, 8)
        return type("Output", (), {"logits": logits, "pred_boxes": boxes, "last_hidden_state": hidden})


BOXES = np.array([[5, 4, 60, 50], [10.5, 20.25, 30, 40], [0, 0, 96, 72], [40, 10, 41, 70]] * 5, np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_masks_of_sam_are_the_library_s(tiny_models: TinyModels, size: tuple[int, int]) -> None:
    folder, pictures = tiny_models("sam"), frames(size)
    boxes = np.clip(BOXES, 0, [*size, *size])
    network = SamModel.from_pretrained(folder).eval()
    processor = SamProcessor(SamImageProcessorPil.from_pretrained(folder))
    inputs = processor(images=pictures, input_boxes=[boxes.tolist()] * 2, return_tensors="pt")
    with torch.inference_mode():
        output = network(pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"], multimask_output=False)
    wanted = processor.post_process_masks(output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    _compare(BoxMasks(folder, CPU, "float32")(pictures, [boxes, boxes[:3]]), wanted, len(boxes))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["sam2", "sam2_video"])
def test_masks_of_sam2_are_the_library_s_steps(tiny_models: TinyModels, family: str, size: tuple[int, int]) -> None:
    """The steps of its processor, which itself asks for torchvision: squeeze, normalise, scale the boxes, enlarge."""
    folder, pictures = tiny_models(family), frames(size)
    boxes = np.clip(BOXES, 0, [*size, *size])
    network = Sam2Model.from_pretrained(folder).eval()
    pixels = torch.stack([_squeezed(picture, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) for picture in pictures])
    scaled = torch.tensor(boxes) * torch.tensor([64 / size[0], 64 / size[1]] * 2)
    with torch.inference_mode():
        output = network(pixel_values=pixels, input_boxes=scaled[None].repeat(2, 1, 1), multimask_output=False)
        whole = [
            torch.nn.functional.interpolate(m, size[::-1], mode="bilinear", align_corners=False)
            for m in output.pred_masks
        ]
    _compare(BoxMasks(folder, CPU, "float32")(pictures, [boxes, boxes[:3]]), [m > 0 for m in whole], len(boxes))


def _squeezed(picture: UInt8, side: int, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(3,side,side) float32: Pillow's bilinear resizing, then the usual normalisation."""
    small = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)).astype(np.float32)
    normal = (small / 255 - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(normal.transpose(2, 0, 1))


def _compare(found: list[list[Mask]], wanted: Sequence[torch.Tensor], count: int) -> None:
    """wanted: per frame (K,1,H,W) bool. The second frame was asked for three boxes only."""
    assert [len(one) for one in found] == [count, 3]
    for one, other in zip(found, wanted, strict=True):
        assert 0 < other.float().mean() < 1
        for k in range(len(one)):
            np.testing.assert_array_equal(_whole(one[k], other.shape[-2:]), other[k, 0].numpy())


def _whole(mask: Mask, shape: tuple[int, int]) -> np.ndarray:
    whole = np.zeros(shape, np.bool_)
    whole[mask.window] = mask.inside
    return whole


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["sam3", "sam3_video"])
def test_instances_of_sam3_are_the_library_s_steps(tiny_models: TinyModels, family: str, size: tuple[int, int]) -> None:
    """Each phrase by itself on each frame, then the steps of ``Sam3ImageProcessor.post_process_instance_segmentation``,
    which asks for torchvision."""
    folder, pictures, threshold = tiny_models(family), frames(size), 0.2
    whole_model = Sam3VideoModel if family == "sam3_video" else Sam3Model
    network = whole_model.from_pretrained(folder).eval()
    network = network.detector_model if family == "sam3_video" else network
    tokenizer = AutoTokenizer.from_pretrained(folder)
    settings = SegmentSettings(sam3=Sam3Settings(threshold=threshold, phrases=3))
    found = Sam3Network(folder, PHRASES, settings, CPU, features=True).find(pictures)
    for picture, one in zip(pictures, found, strict=True):
        things, features = one.detections, one.features
        pixels = _squeezed(picture, 56, [0.5] * 3, [0.5] * 3)[None]
        number = 0
        for p, phrase in enumerate(PHRASES):
            text = tokenizer([phrase], padding="max_length", max_length=32, return_tensors="pt")
            with torch.inference_mode():
                output = network(pixel_values=pixels, **text, output_hidden_states=True)
            score = (output.pred_logits.sigmoid() * output.presence_logits.sigmoid())[0]
            sure = score > threshold
            mine = things.phrase == p
            assert mine.sum() == sure.sum()
            np.testing.assert_allclose(things.score[mine], score[sure].numpy(), atol=1e-6)
            box = output.pred_boxes[0, sure].numpy() * [*size, *size]
            np.testing.assert_allclose(things.box[mine], np.clip(box, 0, [*size, *size]), atol=1e-3)
            probability = output.pred_masks[0, sure].sigmoid()[None]
            whole = torch.nn.functional.interpolate(probability, size[::-1], mode="bilinear", align_corners=False)[0]
            for k in range(int(sure.sum())):
                mine_whole = _whole(enlarged(one.probability[number + k], size[::-1]), size[::-1])
                differing = mine_whole != (whole[k] > 0.5).numpy()
                assert (np.abs(whole[k].numpy()[differing] - 0.5) < 1e-5).all()  # rounding, on the very edge
            number += int(sure.sum())
        assert 0 < number == len(things) < len(PHRASES) * 12
        assert features is not None
        image, scale = features
        assert image.shape == (4, 4, 32)
        assert scale == (4 / size[0], 4 / size[1])
        assert things.feature.shape == (number, 32)


def test_sam3_gives_the_same_however_many_phrases_are_together(tiny_models: TinyModels) -> None:
    folder, pictures = tiny_models("sam3"), frames(SIZES[0], 1)
    runs = []
    for phrases in (1, 4):
        settings = SegmentSettings(sam3=Sam3Settings(threshold=0.2, phrases=phrases))
        (one,) = Sam3Network(folder, PHRASES, settings, CPU, features=True).find(pictures)
        runs.append(one.detections)
    np.testing.assert_array_equal(runs[0].phrase, runs[1].phrase)
    np.testing.assert_allclose(runs[0].score, runs[1].score, atol=1e-6)
    np.testing.assert_allclose(runs[0].feature, runs[1].feature, atol=1e-4)


def test_features_of_sam3_are_the_decoder_s_last_states(tiny_models: TinyModels) -> None:
    folder, pictures = tiny_models("sam3"), frames(SIZES[0], 1)
    settings = SegmentSettings(sam3=Sam3Settings(threshold=0.2, phrases=1))
    under_test = Sam3Network(folder, PHRASES[:1], settings, CPU, features=True)
    last: list[torch.Tensor] = []
    scoring = under_test._network.dot_product_scoring
    hook = scoring.register_forward_pre_hook(
        lambda _m, _a, kwargs: last.append(kwargs["decoder_hidden_states"][-1]), with_kwargs=True
    )
    (one,) = under_test.find(pictures)
    things = one.detections
    hook.remove()
    assert len(things) > 2
    sure = {tuple(row) for row in last[0][0].numpy().round(5).tolist()}
    assert {tuple(row) for row in things.feature.round(5).tolist()} <= sure  # what the score was computed from


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_network_runs_in_every_precision(tiny_models: TinyModels, precision: str) -> None:
    """bfloat16 is what CUDA gets; here it runs on the CPU's autocast."""
    pictures = frames(SIZES[0])
    for family in DETECTORS:
        found = GroundingDino(tiny_models(family), PHRASES, 0.0, CPU, precision, True)(pictures)
        assert all(np.isfinite(one.detections.box).all() for one in found)
        assert all(one.detections.box.dtype == one.detections.score.dtype == np.float32 for one in found)
    for family in ("sam", "sam2"):
        assert len(BoxMasks(tiny_models(family), CPU, precision)(pictures, [BOXES[:2]] * 2)) == 2
    settings = SegmentSettings(precision=precision, sam3=Sam3Settings(threshold=0.0))
    for one in Sam3Network(tiny_models("sam3"), PHRASES, settings, CPU, features=True).find(pictures):
        assert len(one.detections) == len(one.probability) == len(PHRASES) * 12
        assert np.isfinite(one.detections.feature).all()


def test_masks_of_sam2_are_its_processor_s(tiny_models: TinyModels) -> None:
    """Where torchvision is there, which the library's processors of SAM 2 and 3 ask for."""
    pytest.importorskip("torchvision")
    from transformers import Sam2ImageProcessor, Sam2Processor

    folder, size = tiny_models("sam2"), SIZES[0]
    pictures, under_test = frames(size), BoxMasks(folder, CPU, "float32")
    processor = Sam2Processor(Sam2ImageProcessor.from_pretrained(folder))
    inputs = processor(images=pictures, input_boxes=[BOXES.tolist()] * 2, return_tensors="pt")
    seen = under_test._pictures.pixels(pictures)
    assert (seen - inputs["pixel_values"]).abs().max() < 1.5 / 255 / 0.224  # Pillow and torchvision round otherwise
    with torch.inference_mode():
        output = Sam2Model.from_pretrained(folder).eval()(
            pixel_values=seen, input_boxes=inputs["input_boxes"], multimask_output=False
        )
    wanted = processor.post_process_masks(output.pred_masks, inputs["original_sizes"])
    _compare(under_test(pictures, [BOXES, BOXES[:3]]), wanted, len(BOXES))


def test_instances_of_sam3_are_its_processor_s(tiny_models: TinyModels) -> None:
    pytest.importorskip("torchvision")
    from transformers import Sam3ImageProcessor, Sam3Processor

    folder, size = tiny_models("sam3"), SIZES[0]
    (picture,) = frames(size, 1)
    settings = SegmentSettings(sam3=Sam3Settings(threshold=0.2, phrases=1))
    under_test = Sam3Network(folder, PHRASES, settings, CPU, features=False)
    processor = Sam3Processor(Sam3ImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    network = Sam3Model.from_pretrained(folder).eval()
    seen = under_test._pictures(images=[picture], return_tensors="pt")["pixel_values"]
    (one,) = under_test.find([picture])
    things, number = one.detections, 0
    for p, phrase in enumerate(PHRASES):
        inputs = processor(images=picture, text=phrase, return_tensors="pt")
        assert (seen - inputs["pixel_values"]).abs().max() < 1.5 / 255 / 0.5
        with torch.inference_mode():
            output = network(pixel_values=seen, input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        (wanted,) = processor.post_process_instance_segmentation(output, 0.2, 0.5, target_sizes=[size[::-1]])
        mine = things.phrase == p
        np.testing.assert_allclose(things.score[mine], wanted["scores"].numpy(), atol=1e-6)
        np.testing.assert_allclose(things.box[mine], np.clip(wanted["boxes"], 0, [*size, *size]), atol=1e-3)
        for mask in wanted["masks"]:
            mine_whole = _whole(enlarged(one.probability[number], size[::-1]), size[::-1])
            assert (mine_whole != mask.bool().numpy()).mean() < 1e-3  # rounding, on the very edge
            number += 1
    assert number == len(things) > 0
