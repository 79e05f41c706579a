"""What every 2D segmentation engine must do. An engine's test class inherits this and says how to build the engine."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ovseg3r_model.records import Recording, ViewMasks
from ovseg3r_model.segmentation.protocol import Segmenter

WIDTH, HEIGHT, FRAMES = 64, 48, 5


def small_recording(depth: bool = True) -> Recording:
    """Five frames of 64 x 48: two coloured boxes that move before a grey wall, with depth."""
    rng = np.random.default_rng(7)
    color, depths = [], []
    for k in range(FRAMES):
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        distance = np.full((HEIGHT, WIDTH), 3.0, np.float32)
        picture[10:30, 5 + 3 * k : 25 + 3 * k] = (200, 40, 30)
        distance[10:30, 5 + 3 * k : 25 + 3 * k] = 2.0
        picture[25:44, 40:58] = (30, 60, 200)
        distance[25:44, 40:58] = 1.5
        distance[rng.random(distance.shape) < 0.05] = 0
        for array in (picture, distance):
            array.setflags(write=False)
        color.append(picture)
        depths.append(distance)
    cameras = np.repeat(np.array([[[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]]), FRAMES, axis=0)
    return Recording(
        source_format="test",
        names=tuple(f"frame-{10 * k:06d}.color" for k in range(FRAMES)),
        frame=np.arange(FRAMES, dtype=np.int64) * 10,
        time=np.arange(FRAMES) / 3.0,
        color=color,
        size=(WIDTH, HEIGHT),
        intrinsics=cameras,
        world_from_camera=np.repeat(np.eye(4)[None], FRAMES, axis=0),
        depth=depths if depth else None,
        depth_size=(WIDTH, HEIGHT) if depth else None,
        depth_intrinsics=cameras if depth else None,
    )


class SegmenterContract:
    """Inherit and override ``build``; ``recording`` too where the engine needs something else than five small
    frames."""

    def build(self, folder: Path) -> Segmenter:
        """A fresh engine for the frames of :meth:`recording`; ``folder`` is empty and the engine's own."""
        raise NotImplementedError

    def recording(self) -> Recording:
        return small_recording()

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Segmenter:
        return self.build(tmp_path)

    def test_says_what_it_is(self, engine: Segmenter) -> None:
        assert engine.name
        assert engine.open_vocabulary in (True, False)

    def test_prepare_returns_sentences(self, engine: Segmenter) -> None:
        notes = engine.prepare(self.recording())
        assert isinstance(notes, tuple)
        assert all(note.endswith(".") for note in notes)

    def test_one_record_for_each_asked_view(self, engine: Segmenter) -> None:
        recording = self.recording()
        engine.prepare(recording)
        masks = list(engine.segment(recording, range(len(recording))))
        assert len(masks) == len(recording)
        assert any(m.labels for m in masks), "an engine that finds nothing proves nothing here"
        for m in masks:
            assert_sound(m, recording.size)

    def test_asked_for_nothing_it_gives_nothing(self, engine: Segmenter) -> None:
        assert list(engine.segment(self.recording(), [])) == []

    def test_deterministic_across_engines(self, engine: Segmenter, tmp_path: Path) -> None:
        views = range(len(self.recording()))
        again = self.build(tmp_path / "again")
        assert_same(list(engine.segment(self.recording(), views)), list(again.segment(self.recording(), views)))

    def test_a_view_does_not_depend_on_the_others(self, engine: Segmenter) -> None:
        recording = self.recording()
        everything = list(engine.segment(recording, range(len(recording))))
        for views in ([3], [4, 1, 2], [0, 0], list(reversed(range(len(recording))))):
            assert_same(list(engine.segment(recording, views)), [everything[v] for v in views])

    def test_prepare_changes_no_result(self, engine: Segmenter, tmp_path: Path) -> None:
        recording = self.recording()
        unprepared = list(self.build(tmp_path / "again").segment(recording, [1, 2]))
        engine.prepare(recording)
        assert_same(list(engine.segment(recording, [1, 2])), unprepared)

    def test_results_are_the_callers_own(self, engine: Segmenter) -> None:
        recording = self.recording()
        (first,) = engine.segment(recording, [1])
        kept = first.ids.copy()
        first.ids[:] = 99
        (second,) = engine.segment(recording, [1])
        np.testing.assert_array_equal(second.ids, kept)

    def test_leaves_the_recording_alone(self, engine: Segmenter) -> None:
        recording, untouched = self.recording(), self.recording()
        engine.prepare(recording)
        list(engine.segment(recording, range(len(recording))))
        for k in range(len(recording)):
            np.testing.assert_array_equal(recording.color[k], untouched.color[k])
            if recording.depth is not None and untouched.depth is not None:
                np.testing.assert_array_equal(recording.depth[k], untouched.depth[k])


def assert_sound(masks: ViewMasks, size: tuple[int, int]) -> None:
    count = len(masks.labels)
    assert masks.ids.shape == size[::-1]
    assert masks.ids.dtype == np.uint32
    assert set(np.unique(masks.ids).tolist()) - {0} == set(range(1, count + 1))
    assert all(isinstance(label, str) and label.strip() == label != "" for label in masks.labels)
    assert all(number >= 0 for number in masks.dropped.values())
    if masks.features is not None:
        assert masks.features.objects.shape[0] == count
        assert masks.features.image.ndim == 3
        assert masks.features.image.dtype == masks.features.objects.dtype == np.float16
        assert np.isfinite(masks.features.image).all()
        assert np.isfinite(masks.features.objects).all()
        cells, extent = np.array(masks.features.image.shape[1::-1]), np.array(size) * masks.features.scale
        assert (extent <= cells + 1e-6).all()  # the map covers the picture, and by less than a cell more
        assert (extent > cells - 1).all()
    assert masks.scores.shape == (count,)
    assert masks.scores.dtype == np.float32
    assert ((masks.scores >= 0) & (masks.scores <= 1)).all()


def assert_same(got: Sequence[ViewMasks], wanted: Sequence[ViewMasks]) -> None:
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.scores, b.scores)
        assert a.labels == b.labels
        assert dict(a.dropped) == dict(b.dropped)
        assert (a.features is None) == (b.features is None)
        if a.features is not None and b.features is not None:
            np.testing.assert_array_equal(a.features.image, b.features.image)
            np.testing.assert_array_equal(a.features.objects, b.features.objects)
            assert a.features.scale == b.features.scale
