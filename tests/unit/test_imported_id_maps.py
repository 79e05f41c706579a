"""The "imported" engine on folders of id maps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ovseg3r_model.segmentation.imported import ImportedMasks
from ovseg3r_model.segmentation.protocol import inputs_digest
from ovseg3r_model.settings import SegmentSettings
from tests.unit.mask_files import H, W, box, recording, refused

IDS = np.where(box(2, 2, 8, 8), 3, np.where(box(20, 10, 10, 10), 250, 0))


def folder(path: Path, ids: NDArray[Any], labels: Any, min_area: int = 1) -> ImportedMasks:
    Image.fromarray(ids).save(path / "a.png")
    (path / "labels.json").write_text(labels if isinstance(labels, str) else json.dumps(labels))
    return ImportedMasks(path, min_area)


def rgb(ids: NDArray[Any]) -> NDArray[np.uint8]:
    return np.dstack([ids % 256, ids // 256 % 256, ids // 65536]).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "second"),
    [
        (IDS.astype(np.uint8), 250),
        (np.where(IDS == 250, 65535, IDS).astype(np.uint16), 65535),
        (rgb(np.where(IDS == 250, 2**24 - 1, IDS)), 2**24 - 1),
        (rgb(np.where(IDS == 250, 1 + 2 * 256 + 3 * 65536, IDS)), 1 + 2 * 256 + 3 * 65536),
    ],
)
@pytest.mark.parametrize("by_frame", [False, True])
def test_id_maps(tmp_path: Path, pixels: NDArray[Any], second: int, by_frame: bool) -> None:
    labels: dict[str, Any] = {"3": " chair ", str(second): {"label": "table", "score": 0.5}, "9": "unused"}
    made = folder(tmp_path, pixels, {"a": labels, "z": {}} if by_frame else labels)
    notes = made.prepare(recording("a"))
    assert len(notes) == by_frame
    assert all("without a PNG: z" in note for note in notes)
    (masks,) = made.segment(recording("a"), [0])
    np.testing.assert_array_equal(masks.ids, box(2, 2, 8, 8) + 2 * box(20, 10, 10, 10).astype(int))
    assert masks.labels == ("chair", "table")
    assert masks.scores.tolist() == [1, 0.5]


def test_a_palette_is_read_by_index(tmp_path: Path) -> None:
    made = folder(tmp_path, IDS.astype(np.uint8), {"3": "chair", "250": "table"})
    picture = Image.fromarray(IDS.astype(np.uint8))
    picture.putpalette(list(range(255, -1, -1)) * 3)
    picture.save(tmp_path / "a.png")
    (masks,) = made.segment(recording("a"), [0])
    np.testing.assert_array_equal(masks.ids == 1, IDS == 3)


def test_small_ids_are_dropped(tmp_path: Path) -> None:
    (masks,) = folder(tmp_path, IDS.astype(np.uint8), {"3": "chair", "250": "table"}, 65).segment(recording("a"), [0])
    assert masks.labels == ("table",)
    np.testing.assert_array_equal(masks.ids, box(20, 10, 10, 10))


def test_frames_named_by_integers(tmp_path: Path) -> None:
    """ScanNet's frames are called 0, 5, ...: such a key is a frame when labels are under it."""
    made = folder(tmp_path, IDS.astype(np.uint8), {"0": {"3": "chair", "250": "table"}})
    (tmp_path / "a.png").rename(tmp_path / "0.png")
    (masks,) = made.segment(recording("0"), [0])
    assert masks.labels == ("chair", "table")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"3": "chair"}, ["a.png", "id 250", "no label"]),
        ({"a": {"3": "chair"}}, ["a.png", "id 250", "no label"]),
        ({"b": {"3": "chair"}}, ["labels.json", "other frames"]),
        ({"3": "chair", "250": ""}, ["labels.json", "id 250", "non-empty"]),
        ({"3": "chair", "250": 4}, ["labels.json", "id 250"]),
        ({"3": {"label": "chair", "score": -1}}, ["labels.json", "id 3", "score"]),
        ({"0": "background"}, ["labels.json", "id 0", "no instance"]),
        ({"-1": "x"}, ["id -1"]),
        ({"chair": "3"}, ["id chair", "whole number"]),
        ({"3": "chair", "03": "table"}, ["id 3", "twice"]),
        ('{"3": "chair", "3": "table"}', ['"3" twice']),
        ({"3": "chair", "a": {"250": "table"}}, ["mixes"]),
        ([1], ["labels.json", "object"]),
        ("{,}", ["labels.json", "line 1"]),
    ],
)
def test_wrong_labels_are_named(tmp_path: Path, labels: Any, words: list[str]) -> None:
    refused(folder(tmp_path, IDS.astype(np.uint8), labels), *words)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGBA", (W, H)),
        Image.new("LA", (W, H)),
        Image.new("1", (W, H)),
    ],
)
def test_other_kinds_of_picture_are_refused(tmp_path: Path, picture: Image.Image) -> None:
    made = folder(tmp_path, IDS.astype(np.uint8), {"1": "x"})
    picture.save(tmp_path / "a.png")
    refused(made, "a.png", "not an id map")


def test_wrong_size_damage_and_no_png_are_named(tmp_path: Path) -> None:
    made = folder(tmp_path, np.zeros((H, 20), np.uint8), {"1": "x"})
    refused(made, "a.png", "20 x 30", "40 x 30")
    noise = np.random.default_rng(0).integers(0, 2, (H, W)).astype(np.uint8)
    folder(tmp_path, noise, {"1": "x"})
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    refused(made, "a.png", "damaged")
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    refused(made, "a.png", "not a PNG")


def test_an_incomplete_folder_is_refused(tmp_path: Path) -> None:
    refused(ImportedMasks(tmp_path, 1), "no id-map PNGs")
    folder(tmp_path, IDS.astype(np.uint8), {})
    (tmp_path / "labels.json").unlink()
    refused(ImportedMasks(tmp_path, 1), "lacks labels.json")


def test_the_digest_of_a_folder(tmp_path: Path) -> None:
    seen = set()
    settings_ = SegmentSettings(masks=str(tmp_path))

    def changed() -> None:
        digest = inputs_digest(settings_)
        assert digest not in seen
        seen.add(digest)

    folder(tmp_path, IDS.astype(np.uint8), {"1": "x"})
    changed()
    (tmp_path / "labels.json").write_text('{"1": "y"}')
    changed()
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    changed()
    Image.fromarray(IDS.T.astype(np.uint8).copy()).save(tmp_path / "b.png")
    changed()
    (tmp_path / "README").write_text("not a mask")
    assert inputs_digest(settings_) in seen
