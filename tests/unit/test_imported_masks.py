"""The "imported" engine against masks drawn by hand, pycocotools' own encoder and a naive polygon fill."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import ViewMasks
from ovseg3r_model.segmentation import build_segmenter, json_files
from ovseg3r_model.segmentation.imported import ImportedMasks
from ovseg3r_model.segmentation.protocol import inputs_digest
from ovseg3r_model.segmentation.run_lengths import run_lengths
from ovseg3r_model.settings import SegmentSettings
from tests.unit.mask_files import (
    GOOD,
    SHORT,
    H,
    Mask,
    W,
    annotation,
    box,
    compressed,
    document,
    engine,
    recording,
    refused,
)


def uncompressed(mask: Mask) -> dict[str, Any]:
    """Run lengths counted pixel by pixel, down the columns, the first run being zeros."""
    counts, last, run = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != last:
            counts.append(run)
            last, run = pixel, 0
        run += 1
    return {"size": list(mask.shape), "counts": [*counts, run]}


def read(folder: Path, content: Any, min_area: int = 1) -> ViewMasks:
    """The masks of frame "a"; prepare and segment must agree that they are good."""
    made = engine(folder, content, min_area)
    made.prepare(recording("a"))
    (masks,) = made.segment(recording("a"), [0])
    return masks


# --- COCO: the three ways to write a mask -------------------------------------------------------------------------


@pytest.mark.parametrize("write", [compressed, uncompressed])
@pytest.mark.parametrize(
    "mask",
    [box(3, 4, 10, 6), box(0, 0, W, H), box(0, 0, 1, 1), box(W - 1, H - 1, 1, 1), box(5, 5, 9, 9) ^ box(7, 7, 3, 3)],
)
def test_run_lengths(tmp_path: Path, write: Any, mask: Mask) -> None:
    masks = read(tmp_path, document([annotation(write(mask))]))
    np.testing.assert_array_equal(masks.ids > 0, mask)
    assert masks.labels == ("chair",)
    assert masks.scores.tolist() == [1]


def test_polygons_are_united(tmp_path: Path) -> None:
    corners = [[2, 3, 12, 3, 12, 9, 2, 9], [20, 10, 30.0, 10, 30, 20, 20, 20]]
    masks = read(tmp_path, document([annotation(corners, iscrowd=1)]))
    np.testing.assert_array_equal(masks.ids > 0, box(2, 3, 10, 6) | box(20, 10, 10, 10))


def test_a_slanted_polygon_agrees_with_a_naive_fill(tmp_path: Path) -> None:
    """Pixel (x, y) covers [x, x + 1]: its middle is at + 0.5. Only pixels on the rim may differ."""
    polygon = np.array([(5.0, 3.0), (35.0, 8.0), (28.0, 27.0), (9.0, 22.0)])
    inside = np.zeros((H, W), bool)
    for y in range(H):
        for x in range(W):
            crossings = 0
            for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                if (y0 > y + 0.5) != (y1 > y + 0.5):
                    crossings += (x1 - x0) * (y + 0.5 - y0) / (y1 - y0) + x0 > x + 0.5
            inside[y, x] = crossings % 2
    got = read(tmp_path, document([annotation([polygon.ravel().tolist()])])).ids > 0
    assert (got ^ inside).sum() <= 0.05 * inside.sum()


def test_labels_and_scores(tmp_path: Path) -> None:
    second = annotation(compressed(box(20, 0, 5, 5)), id="b", category_id=2, score=0.25)
    masks = read(tmp_path, document([annotation(compressed(box(0, 0, 5, 5))), second]))
    assert masks.labels == ("chair", "Coffee Table")
    assert masks.scores.tolist() == [1, 0.25]


def test_overlaps_go_to_the_higher_score_then_to_the_smaller_mask(tmp_path: Path) -> None:
    rows = [
        annotation(compressed(box(0, 0, 20, 20)), score=0.5),
        annotation(compressed(box(0, 0, 6, 6)), score=0.5),
        annotation(compressed(box(10, 10, 5, 5)), score=0.4),
        annotation(compressed(box(0, 3, 30, 2)), score=0.9),
    ]
    masks = read(tmp_path, document(rows))
    expected = np.zeros((H, W), int)
    expected[0:20, 0:20] = 1
    expected[0:6, 0:6] = 2
    expected[3:5, 0:30] = 3  # the third annotation is hidden: what was fourth is third
    np.testing.assert_array_equal(masks.ids, expected)
    assert masks.scores.tolist() == pytest.approx([0.5, 0.5, 0.9])


def test_small_remains_are_dropped(tmp_path: Path) -> None:
    rows = [annotation(compressed(box(0, 0, 5, 5)), score=0.2), annotation(compressed(box(0, 0, 5, 4)), category_id=2)]
    assert read(tmp_path, document(rows), min_area=5).labels == ("chair", "Coffee Table")
    masks = read(tmp_path, document(rows), min_area=6)
    assert masks.labels == ("Coffee Table",)
    np.testing.assert_array_equal(masks.ids, box(0, 0, 5, 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=24, max_size=24), st.integers(1, 24).filter(lambda h: 24 % h == 0))
def test_any_compressed_mask_is_read(bits: list[int], height: int) -> None:
    mask = np.array(bits, bool).reshape(height, -1)
    rle = run_lengths(compressed(mask), (mask.shape[1], height), "here")
    np.testing.assert_array_equal(coco_mask.decode(rle), mask)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=12))
def test_no_text_gives_a_mask_of_the_wrong_length(text: str) -> None:
    try:
        rle = run_lengths({"size": [4, 6], "counts": text}, (6, 4), "here")
    except InputError:
        return
    assert coco_mask.decode(rle).max() <= 1
    assert int(coco_mask.area(rle)) == int(coco_mask.decode(rle).sum()) <= 24


def test_long_runs_are_read() -> None:
    mask = np.zeros((2000, 3000), bool)
    mask[3:1990, 5:2990] = True
    mask[100:103, 70] = False
    np.testing.assert_array_equal(coco_mask.decode(run_lengths(compressed(mask), (3000, 2000), "here")), mask)


# --- COCO: what is refused ----------------------------------------------------------------------------------------

FAR = [[0, 0, 1e9, 0, 1e9, 1e9]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{\n\n  oops", ["not valid JSON", "line 3"]),
        ("", ["not valid JSON", "line 1"]),
        ("[" * 200_000, ["not valid JSON"]),
        ("9" * 5000, ["not valid JSON"]),
        ('{"images": [], "images": []}', ['"images" twice']),
        ([{"image_id": 1}], ["bare list", "instances"]),
        ("3", ["images, annotations, categories"]),
        ({"images": []}, ["images, annotations, categories"]),
        (document(images=[]), ["no images"]),
        (document(images=[7]), ["every entry of images"]),
        (document(images=[{"id": 1, "width": W, "height": H}]), ["image number 1", "file_name"]),
        (document(images=[{"file_name": "a.png", "width": W, "height": H}]), ["image a.png", "id"]),
        (document(images=[{"id": 1, "file_name": "a.png", "width": W}]), ["a.png", "height"]),
        (document(images=[{"id": 1, "file_name": "a", "width": 20_000, "height": 20_000}]), ["100 million"]),
        (
            document(images=[{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}]),
            ["a.jpg", "20 x 10", "40 x 30"],
        ),
        (document(images=[{"id": 1, "file_name": n, "width": W, "height": H} for n in "ab"]), ["id 1", "twice"]),
        (document(categories=[{"id": 1, "name": " "}]), ["category 1", "non-empty"]),
        (document(categories=[{"id": 1}]), ["category 1", "non-empty"]),
        (document(categories=[{"id": 1, "name": "\ud800"}]), ["category 1", "non-empty"]),
        (document(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), ["category 1", "twice"]),
        (document([annotation(GOOD, id=77, image_id=9)]), ["annotation 77", "image", "9"]),
        (document([annotation(GOOD, id=77, image_id=[1])]), ["annotation 77", "image_id"]),
        (document([annotation(GOOD, id=77, category_id=9)]), ["annotation 77", "category", "9"]),
        (document([annotation(GOOD, id=77, score=1.5)]), ["annotation 77", "score", "1.5"]),
        (document([annotation(GOOD, id=77, score=float("nan"))]), ["annotation 77", "score", "nan"]),
        (document([annotation(GOOD, id=77, score=10**400)]), ["annotation 77", "score"]),
        (document([annotation(GOOD, id=77, score="1")]), ["annotation 77", "score"]),
        (
            document([{"id": 77, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]),
            ["annotation 77", "no segmentation"],
        ),
        (document([{"image_id": 1, "category_id": 1}]), ["annotation number 1"]),
        (document([annotation([], id=77)]), ["annotation 77", "polygons"]),
        (document([annotation([1, 2, 3, 4, 5, 6], id=77)]), ["annotation 77", "polygons"]),
        (document([annotation([[1, 2, 3, 4]], id=77)]), ["annotation 77", "three points"]),
        (document([annotation([[1, 2, 3, 4, 5, 6, 7]], id=77)]), ["annotation 77", "three points"]),
        (document([annotation([[1, 2, 3, 4, 5, "6"]], id=77)]), ["annotation 77", "numbers"]),
        (document([annotation([[1, 2, 3, 4, 5, float("nan")]], id=77)]), ["annotation 77", "outside"]),
        (document([annotation(FAR, id=77)]), ["annotation 77", "outside"]),
        (document([annotation(SHORT, id=77)]), ["annotation 77", "105", "1200"]),
        (document([annotation({"size": [H, W], "counts": [1201, -1]}, id=77)]), ["annotation 77", "counts"]),
        (document([annotation({"size": [H, W], "counts": [600.0, 600.0]}, id=77)]), ["annotation 77", "counts"]),
        (document([annotation({"size": [H, W], "counts": None}, id=77)]), ["annotation 77", "counts"]),
        (document([annotation({"size": [H, W], "counts": ""}, id=77)]), ["annotation 77", "counts"]),
        (document([annotation({"size": [H, W], "counts": "\u00e9"}, id=77)]), ["annotation 77", "counts"]),
        (document([annotation({"size": [H, W], "counts": GOOD["counts"][:-2]}, id=77)]), ["annotation 77"]),
        (
            document([annotation({"size": [W, H], "counts": GOOD["counts"]}, id=77)]),
            ["annotation 77", "[40, 30]", "[30, 40]"],
        ),
        (document([annotation({"counts": GOOD["counts"]}, id=77)]), ["annotation 77", "size"]),
    ],
)
def test_what_is_wrong_in_a_coco_file_is_named(tmp_path: Path, content: Any, words: list[str]) -> None:
    refused(engine(tmp_path, content), "masks.json", *words)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "masks.json").write_bytes(b'{"a": "\xff"}')
    refused(ImportedMasks(tmp_path / "masks.json", 1), "masks.json", "UTF-8")


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "MAX_JSON_BYTES", 10)
    refused(engine(tmp_path, document()), "2 GB")


def test_no_file(tmp_path: Path) -> None:
    refused(ImportedMasks(tmp_path / "gone.json", 1), "gone.json")


# --- choosing the engine, and what it depends on ------------------------------------------------------------------


def test_build(tmp_path: Path) -> None:
    path = str(tmp_path / "m.json")
    assert build_segmenter(SegmentSettings(masks=path)).name == "imported"
    assert build_segmenter(SegmentSettings(engine="imported", masks=path)).open_vocabulary
    assert not build_segmenter(SegmentSettings(engine="regions")).open_vocabulary
    for wrong in (SegmentSettings(), SegmentSettings(masks="")):
        with pytest.raises(InputError, match=r"--masks PATH.*--segment regions"):
            build_segmenter(wrong)
    with pytest.raises(InputError, match="say where, with --masks PATH"):
        build_segmenter(SegmentSettings(engine="imported"))
    with pytest.raises(InputError, match="would not use"):
        build_segmenter(SegmentSettings(engine="regions", masks=path))


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    assert inputs_digest(SegmentSettings(engine="regions")) is None
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    one.write_text("{}")
    two.write_text("{}")
    first = inputs_digest(SegmentSettings(masks=str(one)))
    assert first == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # printf '{}' | sha256sum
    assert inputs_digest(SegmentSettings(masks=str(two))) == first
    two.write_text("{ }")
    assert inputs_digest(SegmentSettings(masks=str(two))) != first
    with pytest.raises(InputError, match="gone"):
        inputs_digest(SegmentSettings(masks=str(tmp_path / "gone")))
