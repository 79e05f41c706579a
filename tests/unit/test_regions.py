"""The "regions" engine on pictures whose regions are known."""

import dataclasses
import time
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from ovseg3r_model.records import Recording, ViewMasks
from ovseg3r_model.segmentation.regions import Regions

CAMERA = np.array([[[585.0, 0, 319.5], [0, 585, 239.5], [0, 0, 1]]])


def one_frame(color: NDArray[np.uint8], depth: NDArray[np.float32] | None = None) -> Recording:
    height, width = color.shape[:2]
    return Recording(
        source_format="test",
        names=("0",),
        frame=np.zeros(1, np.int64),
        time=np.zeros(1),
        color=[color],
        size=(width, height),
        intrinsics=CAMERA,
        depth=None if depth is None else [depth],
        depth_size=None if depth is None else (width, height),
        depth_intrinsics=None if depth is None else CAMERA,
    )


def found(recording: Recording, min_area: int = 25) -> ViewMasks:
    (masks,) = Regions(min_area).segment(recording, [0])
    return masks


def iou(masks: ViewMasks, truth: NDArray[np.bool_]) -> float:
    """The best overlap of any region with the true one."""
    return max(
        (
            float((m & truth).sum() / (m | truth).sum())
            for k in range(len(masks.labels))
            if (m := masks.ids == k + 1) is not None
        ),
        default=0.0,
    )


@pytest.fixture
def boxes() -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """Three boxes of clear colour before a noisy wall of two greys."""
    color = np.full((480, 640, 3), 120, np.uint8)
    color[:, 320:] = 60
    truth = []
    for x, y, paint in ((50, 60, (200, 40, 40)), (400, 100, (40, 180, 60)), (250, 300, (40, 60, 200))):
        mask = np.zeros((480, 640), bool)
        mask[y : y + 110, x : x + 130] = True
        color[mask] = paint
        truth.append(mask)
    noise = np.random.default_rng(0).integers(-8, 9, color.shape)
    return np.clip(color.astype(int) + noise, 0, 255).astype(np.uint8), truth


def test_finds_boxes_by_colour(boxes: tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]) -> None:
    masks = found(one_frame(boxes[0]))
    assert len(masks.labels) <= 8
    assert all(iou(masks, truth) > 0.9 for truth in boxes[1])
    assert set(masks.labels) == {"object"}
    assert (masks.scores == 1).all()


def test_depth_finds_what_colour_cannot() -> None:
    color = np.full((480, 640, 3), 120, np.uint8)
    depth = np.full((480, 640), 3, np.float32)
    truth = np.zeros(depth.shape, bool)
    truth[150:350, 200:380] = True
    depth[truth] = 1.5
    assert iou(found(one_frame(color)), truth) < 0.5
    assert iou(found(one_frame(color, depth)), truth) > 0.85


def test_normals_part_wall_and_floor() -> None:
    """A room's edge: depth is continuous across it, colour the same; only the normal turns."""
    rows = (np.arange(480) - 239.5) / 585
    depth = np.minimum(3.0, 0.6 / np.maximum(rows, 1e-6)).astype(np.float32)[:, None].repeat(640, axis=1)
    masks = found(one_frame(np.full((480, 640, 3), 120, np.uint8), depth))
    floor = depth < 3.0 - 1e-6
    assert iou(masks, floor) > 0.75  # the edge is rounded by the smoothing


def test_depth_without_a_measurement_is_colour_alone(boxes: tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]) -> None:
    alone, empty = found(one_frame(boxes[0])), found(one_frame(boxes[0], np.zeros((480, 640), np.float32)))
    np.testing.assert_array_equal(alone.ids, empty.ids)


def test_a_region_over_most_of_the_picture_is_background() -> None:
    masks = found(one_frame(np.full((480, 640, 3), 90, np.uint8)))
    assert masks.labels == ()
    assert not masks.ids.any()


def test_no_region_is_under_the_smallest_share_or_min_area() -> None:
    color = np.random.default_rng(3).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    areas = np.bincount(found(one_frame(color)).ids.ravel())[1:]
    assert areas.min() >= 0.002 * color[..., 0].size
    assert (
        np.bincount(found(one_frame(color), min_area=2000).ids.ravel(), minlength=2)[1:].min() >= 2000
        or areas.max() < 2000
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (8, 6), (11, 400), (37, 53)])
def test_any_size(shape: tuple[int, int]) -> None:
    color = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    depth = np.random.default_rng(2).random(shape).astype(np.float32)
    for recording in (one_frame(color), one_frame(color, depth)):
        assert found(recording, min_area=1).ids.shape == shape


def test_prepare_says_it_is_for_trying_things_out(boxes: tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]) -> None:
    (note,) = Regions(25).prepare(one_frame(boxes[0]))
    assert "trying things out" in note
    assert "colour alone" in note
    (note,) = Regions(25).prepare(one_frame(boxes[0], np.ones((480, 640), np.float32)))
    assert "colour and depth" in note


def test_depth_without_a_colour_camera_is_left_out(boxes: tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]) -> None:
    recording = dataclasses.replace(one_frame(boxes[0], np.ones((480, 640), np.float32)), intrinsics=None)
    assert found(recording).labels


def test_warns_of_nothing_and_hides_no_other_warning(boxes: tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found(one_frame(boxes[0], np.ones((480, 640), np.float32)))
        warnings.warn("still heard", RuntimeWarning, stacklevel=1)
    assert [str(w.message) for w in heard] == ["still heard"]


def test_is_fast(boxes: tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]) -> None:
    recording = one_frame(boxes[0], np.ones((480, 640), np.float32))
    found(recording)
    started = time.process_time()
    found(recording)
    assert time.process_time() - started < 1.0  # 0.13 s measured; only a change of kind should fail here
