"""The learned 2D engines in their published sizes with random weights, and the stage's memory over long recordings."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from benchmarks.measure import Row, timed_in_turn
from benchmarks.random_models import Architecture, architectures
from ovseg3r_model.records import Bool, Float32
from ovseg3r_model.segmentation.detections import Detections, Mask
from ovseg3r_model.segmentation.overlaps import id_map, thin_boxes
from ovseg3r_model.settings import OverlapSettings
from tests.tiny_models import save_tiny

_INPUT = {
    "boxes": "a frame 640x480, 8 phrases, 1 pass",
    "masks": "a frame 640x480, 20 boxes",
    "concepts": "a frame 640x480, 8 phrases",
}


def segmentation_rows(quick: bool) -> list[Row]:
    """Seconds and peak memory a network takes for a frame, on the CPU and, where there is one, on the GPU."""
    import torch

    tiny = Architecture("a tiny SAM", "masks", lambda folder: _tiny("sam", folder))
    chosen = [tiny] if quick else architectures()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = []
    for architecture in chosen:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / architecture.name
            architecture.save(place)
            rows += [_row(architecture, place, device) for device in devices]
    return rows


def _row(architecture: Architecture, folder: Path, device: str) -> Row:
    runs = 1  # after one that is not counted: the largest take minutes
    found = _json("benchmarks.one_network", str(folder), architecture.kind, device, str(runs))
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
    peak = found["peak_mb"] if found["device_mb"] is None else found["device_mb"]
    what = f"{architecture.name}, {device}: peak memory"
    return Row(
        "segmentation", what, _INPUT[architecture.kind], found["seconds"], runs, peak, "MB", "the weights alone",
        weights,
    )  # fmt: skip


def overlap_rows(quick: bool) -> list[Row]:
    """Boxes and masks of one frame until its id map; beside them pycocotools, which only compares them."""
    boxes, masks, (width, height), runs = (100, 10, (320, 240), 1) if quick else (1000, 100, (1920, 1080), 5)
    rng = np.random.default_rng(0)
    corner = rng.random((boxes, 2)) * [width * 0.7, height * 0.7]
    extent = (0.05 + 0.25 * rng.random((boxes, 2))) * [width, height]
    box = np.concatenate([corner, corner + extent], axis=1).astype(np.float32)
    empty = np.zeros((boxes, 0), np.float32)
    found = Detections(box, rng.random(boxes).astype(np.float32), np.zeros(boxes, np.int64), empty)
    wholes = [_blob(box[k], (height, width)) for k in range(masks)]
    cut = [Mask.of(whole) for whole in wholes]
    settings = OverlapSettings()
    xywh = np.concatenate([corner, extent], axis=1)
    crowd = [0] * masks

    def compared() -> None:
        codes = [coco_mask.encode(np.asfortranarray(whole, dtype=np.uint8)) for whole in wholes]
        coco_mask.iou(codes, codes, crowd)

    thin, pairs, ids, library = timed_in_turn(
        [
            lambda: thin_boxes(found, settings),
            lambda: coco_mask.iou(xywh, xywh, [0] * boxes),
            lambda: id_map(cut, found.score[:masks], (height, width), settings, 25),
            compared,
        ],
        runs,
    )
    return [
        Row("segmentation", "boxes thinned", f"{boxes} boxes", thin, runs, boxes / thin, "boxes/s",
            "pycocotools, IoU of all pairs alone", boxes / pairs),
        Row("segmentation", "masks to an id map", f"{masks} masks {width}x{height}", ids, runs, masks / ids, "masks/s",
            "pycocotools, encoding and IoU of all pairs alone", masks / library),
    ]  # fmt: skip


def _blob(box: Float32, shape: tuple[int, int]) -> Bool:
    """(H,W) an ellipse with holes and crumbs."""
    x0, y0, x1, y1 = (int(v) for v in box)
    mask = np.zeros(shape, np.uint8)
    middle, axes = ((x0 + x1) // 2, (y0 + y1) // 2), (max((x1 - x0) // 2, 1), max((y1 - y0) // 2, 1))
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    rng = np.random.default_rng(x0)
    speck = rng.integers(0, [max(x1 - x0, 1), max(y1 - y0, 1)], (20, 2)) + np.array([x0, y0])
    mask[np.clip(speck[:, 1], 0, shape[0] - 1), np.clip(speck[:, 0], 0, shape[1] - 1)] ^= 1
    return mask.astype(np.bool_)


def segmentation_memory_rows(quick: bool) -> list[Row]:
    """Peak memory of a process that segments longer and longer recordings, with a tiny network: what grows is ours."""
    lengths = (4,) if quick else (50, 200, 500)
    with tempfile.TemporaryDirectory() as folder:
        weights = [str(save_tiny(family, Path(folder) / family)) for family in ("grounding-dino", "sam")]
        alone = {"OMP_NUM_THREADS": "1"}  # tiny networks only wait for a second thread
        peaks = [
            _json("benchmarks.segment_memory", str(count), *weights, folder, **alone)["peak_mb"] for count in lengths
        ]
    what = "peak memory of the stage, tiny networks, with features"
    return [
        Row("segmentation", what, f"{count} frames 640x480", None, 1, peak, "MB", f"{lengths[0]} frames", peaks[0])
        for count, peak in zip(lengths, peaks, strict=True)
    ]


def _tiny(family: str, folder: Path) -> None:
    save_tiny(family, folder)


def _json(module: str, *arguments: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
