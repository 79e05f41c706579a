"""Which entry of a COCO file belongs to which frame."""

from pathlib import Path

import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.segmentation.matching import match_names
from tests.unit.mask_files import GOOD, SHORT, H, W, annotation, document, engine, recording


@pytest.mark.parametrize(
    ("frame", "entry"),
    [
        ("frame-000005.color", "rgb/frame-000005.color.jpg"),
        ("frame-000005.color", "frame-000005.png"),
        ("frame-000005", "C:\\data\\frame-000005_mask.PNG"),
        ("1305031102.175304", "1305031102.175304.png"),
        ("IMG.2020", "IMG.2020.jpeg"),
    ],
)
def test_names_that_fit(frame: str, entry: str) -> None:
    match = match_names(["other", frame], ["elsewhere.png", entry], "here")
    assert match.entry == (None, 1)
    assert match.notes == ()


def test_the_exact_name_is_before_the_bare_one() -> None:
    assert match_names(["a", "a.color"], ["a.color.png", "a.png"], "here").entry == (1, 0)


def test_numbers_only_when_no_name_fits() -> None:
    match = match_names(["frame-000005.color", "frame-000010.color"], ["5.jpg", "000010.png", "7.png"], "here")
    assert match.entry == (0, 1)
    assert "by number" in match.notes[0]
    assert "5.jpg" in match.notes[0]
    assert match_names(["frame-000005", "frame-000010"], ["frame-000005.png", "10.png"], "here").entry == (0, None)


@pytest.mark.parametrize(
    ("frames", "entries", "words"),
    [
        (["a"], ["x/a.png", "y/a.png"], ["x/a.png", "y/a.png", "equally well"]),
        (["frame-5"], ["5.png", "005.png"], ["5.png", "005.png"]),
        (["a.color", "a.rgb"], ["a.png"], ["a.png", "a.color", "a.rgb"]),
        (["left-5", "right-5"], ["5.png"], ["5.png", "left-5", "right-5"]),
        (["a", "b"], ["p", "q", "r", "s", "t"], ["other frames", "p, q, r and 2 more", "a, b"]),
        (["a"], [], ["other frames"]),
    ],
)
def test_names_that_do_not_fit(frames: list[str], entries: list[str], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        match_names(frames, entries, "here")
    assert all(word in str(caught.value) for word in words), caught.value


def test_frames_without_masks_are_named_and_empty(tmp_path: Path) -> None:
    made, frames = engine(tmp_path, document([annotation(GOOD)])), recording("p", "q", "a", "r", "s")
    (note,) = made.prepare(frames)
    assert "4 of 5" in note
    assert "p, q, r and 1 more" in note
    assert [len(m.labels) for m in made.segment(frames, range(5))] == [0, 0, 1, 0, 0]


def test_entries_for_other_frames_are_not_looked_into(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.png", "width": W, "height": H},
        {"id": 2, "file_name": "b.png", "width": 9, "height": 9},
    ]
    rows = [annotation(GOOD), annotation(SHORT, image_id=2)]
    assert engine(tmp_path, document(rows, images=images)).prepare(recording("a")) == ()


def test_no_instance_at_all_is_said(tmp_path: Path) -> None:
    (note,) = engine(tmp_path, document()).prepare(recording("a"))
    assert "no instance" in note
