"""The largest memory of a process that segments a recording, as JSON.

``python -m benchmarks.segment_memory FRAMES DETECTOR SAM FOLDER``

The recording is ``FRAMES`` pictures of 640x480 in a new folder inside ``FOLDER``, with features kept.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import forget_peak, peak_mb
from ovseg3r_model.settings import IngestSettings, SegmentSettings
from storage.digests import stage_digest
from tasks.ingest import ingest
from tasks.segment import segment


def main() -> None:
    frames, (detector, sam), folder = int(sys.argv[1]), sys.argv[2:4], Path(sys.argv[4]) / sys.argv[1]
    _film(folder / "frames", frames)
    store = str(folder / "store")
    keyframes = ingest.fn(
        store, stage_digest("ingest", 1, {}, {}), str(folder / "frames"), IngestSettings(max_views=frames)
    )
    weights = {"detector": detector, "sam": sam, "threshold": 0.05}
    given = {"engine": "grounded-sam", "prompt": "chair. mug", "grounded_sam": weights}
    settings = SegmentSettings.model_validate(given)
    first = segment.fn(store, stage_digest("segment", 1, {}, {}), keyframes, settings, features=True)
    sys.stdout.write(json.dumps({"peak_mb": peak_mb(), "instances": first.summary["instances"]}))


def _film(folder: Path, frames: int) -> None:
    folder.mkdir(parents=True)
    small = np.random.default_rng(0).integers(0, 256, (frames, 6, 8, 3), dtype=np.uint8)
    for number, picture in enumerate(small):
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), cv2.resize(picture, (640, 480), interpolation=cv2.INTER_CUBIC))


if __name__ == "__main__":
    forget_peak()
    main()
