"""Every 2D segmentation engine under the one contract. A new engine is three lines here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovseg3r_model.records import Recording
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.segmentation.protocol import Segmenter
from ovseg3r_model.settings import SegmentSettings, SimulatedSettings
from ovseg3r_model.sources import open_recording
from tests.conftest import TinyModels
from tests.contracts.segmenter_contract import FRAMES, HEIGHT, WIDTH, SegmenterContract, small_recording


class TestRegions(SegmenterContract):
    def build(self, folder: Path) -> Segmenter:
        return build_segmenter(SegmentSettings(engine="regions"))


class TestRegionsWithoutDepth(TestRegions):
    def recording(self) -> Recording:
        return small_recording(depth=False)


class TestCoco(SegmenterContract):
    def build(self, folder: Path) -> Segmenter:
        return build_segmenter(SegmentSettings(masks=str(coco_file(folder))))


class TestIdMaps(SegmenterContract):
    def build(self, folder: Path) -> Segmenter:
        return build_segmenter(SegmentSettings(masks=str(id_maps(folder))))


class Learned(SegmenterContract):
    """An engine on tiny random-weight models, with features."""

    batch = 1

    @pytest.fixture(autouse=True)
    def _weights(self, tiny_models: TinyModels, one_torch_thread: None) -> None:
        self.weights = tiny_models

    def settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def build(self, folder: Path) -> Segmenter:
        common = {"prompt": "chair. office desk. mug", "batch": self.batch, "overlaps": {"max_crumb": 4, "max_hole": 4}}
        return build_segmenter(SegmentSettings.model_validate(common | self.settings()), features=True)


class TestGroundedSam(Learned):
    detector, sam = "grounding-dino", "sam"

    def settings(self) -> dict[str, Any]:
        weights = {"detector": str(self.weights(self.detector)), "sam": str(self.weights(self.sam)), "threshold": 0.05}
        return {"engine": "grounded-sam", "grounded_sam": weights}


class TestMMGroundedSam2InBatches(TestGroundedSam):
    detector, sam, batch = "mm-grounding-dino", "sam2", 2


class TestSam3(Learned):
    def settings(self) -> dict[str, Any]:
        return {"engine": "sam3", "sam3": {"weights": str(self.weights("sam3")), "threshold": 0.2, "phrases": 2}}


class TestSimulated(SegmenterContract):
    @pytest.fixture(autouse=True)
    def _room(self, small_rooms: dict[str, Path]) -> None:
        self.room = small_rooms["7scenes"]

    def recording(self) -> Recording:
        return open_recording(self.room)

    def build(self, folder: Path) -> Segmenter:
        settings = SimulatedSettings(truth=str(self.room.parent))
        return build_segmenter(SegmentSettings(engine="simulated", simulated=settings), features=True)


def coco_file(folder: Path) -> Path:
    """Two overlapping boxes in all frames but the last, and one too small to keep."""
    images = [
        {"id": 7 + k, "file_name": f"rgb/frame-{10 * k:06d}.jpg", "width": WIDTH, "height": HEIGHT} for k in range(4)
    ]
    annotations: list[dict[str, Any]] = []
    for image in images:
        for x, side, score in ((4, 20, 0.5), (14, 12, 0.9), (60, 2, 1.0)):
            box = [x, 5, x + side, 5, x + side, 5 + side, x, 5 + side]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image["id"],
                    "category_id": 3,
                    "segmentation": [box],
                    "score": score,
                }
            )
    folder.mkdir(exist_ok=True)
    path = folder / "masks.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 3, "name": " arm chair "}]})
    )
    return path


def id_maps(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for k in range(FRAMES):
        ids = np.zeros((HEIGHT, WIDTH), np.uint16)
        ids[4:20, k : 20 + k] = 700
        ids[30:40, 30:50] = 2
        Image.fromarray(ids).save(folder / f"frame-{10 * k:06d}.png")
    (folder / "labels.json").write_text(json.dumps({"2": "table", "700": {"label": "chair", "score": 0.25}}))
    return folder
