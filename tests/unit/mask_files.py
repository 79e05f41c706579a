"""COCO files and the engine "imported" on them, for the tests of imported masks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Recording
from ovseg3r_model.segmentation.imported import ImportedMasks

W, H = 40, 30


Mask = NDArray[np.bool_]


def recording(*names: str) -> Recording:
    n = len(names)
    color = [np.zeros((H, W, 3), np.uint8)] * n
    return Recording("test", names, np.arange(n, dtype=np.int64), np.zeros(n), color, (W, H))


def box(x: int, y: int, w: int, h: int) -> Mask:
    mask = np.zeros((H, W), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def compressed(mask: Mask) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def annotation(segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation} | more


def document(annotations: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": W, "height": H}],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "chair"}, {"id": 2, "name": "  Coffee Table "}],
    } | more


def engine(folder: Path, content: Any, min_area: int = 1) -> ImportedMasks:
    path = folder / "masks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return ImportedMasks(path, min_area)


def refused(made: ImportedMasks, *words: str, frames: Recording | None = None) -> None:
    """Both prepare and segment refuse, in one line that holds the words."""
    frames = frames or recording("a")
    for attempt in (lambda: made.prepare(frames), lambda: list(made.segment(frames, range(len(frames))))):
        with pytest.raises(InputError) as caught:
            attempt()
        message = str(caught.value)
        assert "\n" not in message
        assert all(word in message for word in words), message


GOOD = compressed(box(0, 0, 5, 5))
SHORT = {"size": [H, W], "counts": [100, 5]}
