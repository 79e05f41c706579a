"""How long one network takes for a frame of 640x480 and how much memory, as JSON.

``python -m benchmarks.one_network FOLDER boxes|masks|concepts DEVICE RUNS``
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import forget_peak, peak_mb, timed
from ovseg3r_model.segmentation.box_masks import BoxMasks
from ovseg3r_model.segmentation.grounding_dino import GroundingDino
from ovseg3r_model.segmentation.sam3 import Sam3Network
from ovseg3r_model.settings import Sam3Settings, SegmentSettings

WIDTH, HEIGHT = 640, 480
BOXES = 20
PHRASES = ("chair", "office desk", "mug", "lamp", "rug", "door", "box", "plant")
"""One pass of Grounding DINO, one call of SAM 3's decoder."""


def main() -> None:
    folder, kind, device, runs = Path(sys.argv[1]), sys.argv[2], torch.device(sys.argv[3]), int(sys.argv[4])
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    corner = np.random.default_rng(1).random((BOXES, 2)) * np.array([WIDTH / 2, HEIGHT / 2])
    boxes = np.concatenate([corner, corner + np.array([200, 150])], axis=1).astype(np.float32)
    forget_peak()
    settings = SegmentSettings(sam3=Sam3Settings(threshold=0.99))
    calls: dict[str, Callable[[], Callable[[], object]]] = {
        "boxes": lambda: _called(GroundingDino(folder, PHRASES, 0.99, device, "auto", True), [frame]),
        "masks": lambda: _called(BoxMasks(folder, device, "auto"), [frame], [boxes]),
        "concepts": lambda: _called(Sam3Network(folder, PHRASES, settings, device, features=True), [frame]),
    }
    call = calls[kind]()
    seconds = timed(call, runs)
    on_device = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "device_mb": on_device}))


def _called(network: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: network(*arguments)


if __name__ == "__main__":
    main()
