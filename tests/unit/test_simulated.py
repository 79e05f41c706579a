"""The simulated engine against the masks that the room itself was written with, and against its truth."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Recording, ViewMasks
from ovseg3r_model.rooms import make_room, write_room
from ovseg3r_model.rooms.truth import read_truth
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.segmentation.protocol import digest_config
from ovseg3r_model.settings import MaskErrors, SegmentSettings, SimulatedSettings
from ovseg3r_model.sources import open_recording

SEED, VIEWS = 5, 6
ERRORS = SimulatedSettings().errors


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room") / "films"
    write_room(make_room(2), folder, "7scenes", VIEWS, SEED, ERRORS, size=(161, 121), video=True)
    return folder


def segmented(recording: Recording, features: bool = False, **settings: object) -> list[ViewMasks]:
    engine = build_segmenter(simulated(**settings), features)
    engine.prepare(recording)
    return list(engine.segment(recording, range(len(recording))))


def simulated(**settings: object) -> SegmentSettings:
    return SegmentSettings.model_validate({"engine": "simulated", "min_area": 1, "simulated": settings})


def test_the_same_seed_gives_the_masks_that_were_written_with_the_room(room: Path) -> None:
    recording = open_recording(room / "recording")
    written = build_segmenter(SegmentSettings(masks=str(room / "masks.json"), min_area=1))
    for mine, other in zip(
        segmented(recording, truth=str(room), seed=SEED),
        written.segment(recording, range(VIEWS)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine.ids > 0, other.ids > 0)
        for k in range(len(mine.labels)):
            (twin,) = np.unique(other.ids[mine.ids == k + 1])
            assert mine.labels[k] == other.labels[twin - 1]
            assert mine.scores[k] == pytest.approx(other.scores[twin - 1], abs=1e-4)


def test_a_video_s_smaller_frames_are_of_the_same_room(room: Path) -> None:
    video = open_recording(room / "video.mp4")
    assert video.size == (160, 120)
    whole = segmented(open_recording(room / "recording"), truth=str(room), errors=MaskErrors.none().model_dump())
    part = segmented(video, truth=str(room), errors=MaskErrors.none().model_dump())
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one.ids > 0, other.ids[:120, :160] > 0)


def test_without_errors_it_is_the_truth(room: Path) -> None:
    recording, truth = open_recording(room / "recording"), read_truth(room)
    masks = segmented(recording, truth=str(room), errors=MaskErrors.none().model_dump())
    with np.load(room / "truth_ids.npz") as stored, truth.maps() as maps:
        for v in (3, 1, 5, 0):  # also backwards
            np.testing.assert_array_equal(maps[v], stored["ids"][v])
            names = {thing.id: thing.name for thing in truth.instances}
            for k, label in enumerate(masks[v].labels):
                (true,) = np.unique(stored["ids"][v][masks[v].ids == k + 1])
                assert names[true] == label


def test_features_point_to_the_true_name(room: Path) -> None:
    recording, truth = open_recording(room / "recording"), read_truth(room)
    masks = segmented(recording, True, truth=str(room), feature_noise=0.5)
    clean = segmented(recording, True, truth=str(room), feature_noise=0.0)
    names = sorted({thing.name for thing in truth.instances})
    right = []
    with np.load(room / "truth_ids.npz") as stored:
        for v, (noisy, exact) in enumerate(zip(masks, clean, strict=True)):
            assert noisy.features is not None
            assert exact.features is not None
            ids = stored["ids"][v]
            assert exact.features.image.shape == (16, 21, 32)
            assert exact.features.scale == (1 / 8, 1 / 8)
            for y in range(15):
                for x in range(20):
                    cell = exact.features.image[y, x].astype(float)
                    assert np.linalg.norm(cell) == pytest.approx(1 if ids[8 * y + 4, 8 * x + 4] else 0, abs=1e-3)
            objects = exact.features.objects.astype(float)
            for k in range(len(exact.labels)):
                true = np.bincount(ids[exact.ids == k + 1]).argmax()
                at = np.argwhere(ids[4::8, 4::8] == true)
                if true and len(at):
                    np.testing.assert_allclose(objects[k], exact.features.image[tuple(at[0])], atol=2e-3)
            cosine = noisy.features.objects.astype(float) @ exact.features.objects.astype(float).T
            right += (cosine.argmax(axis=1) == np.arange(len(cosine)))[np.abs(objects).sum(axis=1) > 0].tolist()
    assert len(names) > 10
    assert np.mean(right) > 0.8  # noise of half the length still leaves most of them nearest to their own


def test_another_room_is_refused(room: Path, tmp_path: Path) -> None:
    recording = open_recording(room / "recording")
    later = replace(recording, frame=recording.frame + 1)
    with pytest.raises(InputError, match="its truth is of 6 frames of 161x121, the recording has frame 6"):
        segmented(later, truth=str(room))
    with pytest.raises(InputError, match="holds no truth of a synthetic room"):
        segmented(recording, truth=str(tmp_path))
    spoilt = shutil.copytree(room, tmp_path / "spoilt")
    document = json.loads((spoilt / "truth.json").read_text())
    document["instances"][0]["id"] = 7
    (spoilt / "truth.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="holds no truth"):
        segmented(recording, truth=str(spoilt))
    with pytest.raises(InputError, match="--truth FOLDER"):
        build_segmenter(SegmentSettings(engine="simulated"))


def test_what_decides_the_masks_is_the_truth_s_content(room: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(room, tmp_path / "moved")
    here, there = (digest_config(simulated(truth=str(folder)), False) for folder in (room, moved))
    assert here == there
    assert digest_config(simulated(truth=str(room), seed=1), False) != here
    (moved / "truth.json").write_text((moved / "truth.json").read_text().replace('"sofa"', '"couch"') + " ")
    assert digest_config(simulated(truth=str(moved)), False) != here
