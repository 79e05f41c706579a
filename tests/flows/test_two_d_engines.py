"""Every 2D engine through the whole line; what decides its output; what a stopped run repeats."""

import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.generate_labels import run
from flows.scenes import SceneResult
from flows.settings import LabelParameters, checked, name_scenes, with_scene_paths
from ovseg3r_model.errors import InputError
from ovseg3r_model.records import LabelledScene
from ovseg3r_model.rooms import make_room
from ovseg3r_model.segmentation import build_segmenter
from ovseg3r_model.segmentation.in_network import Batches
from ovseg3r_model.settings import PipelineSettings
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.plan import plan
from tasks.progress import Progress, listening
from tests.conftest import TinyModels
from tests.rooms import VOXEL, masks_of

pytestmark = pytest.mark.usefixtures("prefect_api", "one_torch_thread")

PROMPT = "chair. office desk. mug"


@pytest.fixture
def engines(tiny_models: TinyModels, small_rooms: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Settings of the 2D stage by a name of ours."""

    def grounded(detector: str, sam: str) -> dict[str, Any]:
        weights = {"detector": str(tiny_models(detector)), "sam": str(tiny_models(sam)), "threshold": 0.05}
        return {"engine": "grounded-sam", "prompt": PROMPT, "grounded_sam": weights}

    return {
        "grounded-sam": grounded("grounding-dino", "sam"),
        "mm-grounded-sam2": grounded("mm-grounding-dino", "sam2"),
        "sam3": {
            "engine": "sam3", "prompt": PROMPT, "sam3": {"weights": str(tiny_models("sam3")), "threshold": 0.2},
        },
        "simulated": {"engine": "simulated", "simulated": {"truth": str(small_rooms["7scenes"].parent)}},
    }  # fmt: skip


def parameters(source: Path, segment: dict[str, Any], store: str = "", **pipeline: Any) -> LabelParameters:
    given = {"reconstruct": {"voxel": VOXEL}, "segment": segment, **pipeline}
    place = store or f"memory://{secrets.token_hex(8)}"
    return LabelParameters.model_validate({"sources": [str(source)], "store": place, "pipeline": given})


def labelled(given: LabelParameters) -> tuple[SceneResult, LabelledScene]:
    (result,) = run(given)
    assert (result.status, result.message) == ("published", "")
    assert result.row is not None
    store = SceneStore(Store.open(given.store))
    assert store.verify(result.scene_id, result.row.digest) == []
    return result, store.read(result.scene_id, result.row.digest).scene


@pytest.mark.parametrize("name", ["grounded-sam", "mm-grounded-sam2", "sam3", "simulated"])
def test_the_whole_line_with_features(
    small_rooms: dict[str, Path], engines: dict[str, dict[str, Any]], name: str
) -> None:
    given = parameters(small_rooms["7scenes"], engines[name], features={"save": True, "size": 8})
    result, scene = labelled(given)
    assert result.row is not None
    assert result.row.engines["segment"] == engines[name]["engine"]
    if name != "simulated":
        assert set(result.row.label_histogram) <= {"chair", "office desk", "mug"}
    assert scene.features is not None
    assert scene.features.model == engines[name]["engine"]
    assert scene.features.points.shape == (len(scene.reconstruction.points), 8)
    assert scene.features.objects.shape == (len(scene.instances), 8)
    assert scene.features.point_reduction is not None
    assert 0.005 < np.abs(scene.features.points.astype(float)).mean() < 100


def test_features_of_points_are_those_of_the_things_they_lie_on(
    small_rooms: dict[str, Path], engines: dict[str, dict[str, Any]]
) -> None:
    """Simulated features name the true thing in each picture, so the points must point to what is there in 3D."""
    simulated = {"truth": str(small_rooms["7scenes"].parent), "feature_noise": 0.1}
    given = parameters(small_rooms["7scenes"], {"engine": "simulated", "simulated": simulated}, features={"save": True})
    _, scene = labelled(given)
    assert scene.features is not None
    assert scene.features.point_reduction is None
    room = make_room(3)
    true = room.label_points(scene.reconstruction.points.xyz)
    names = {thing.id: thing.name for thing in room.instances}
    of_name: dict[str, list[np.ndarray]] = {}
    for feature, instance in zip(scene.features.points.astype(float), true, strict=True):
        if instance:
            of_name.setdefault(names[instance], []).append(feature)
    common = {name: np.stack(rows) for name, rows in of_name.items() if len(rows) > 40}
    assert len(common) > 5
    middle = np.stack([rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)) for rows in common.values()])
    right = [float((np.argmax(rows @ middle.T, axis=1) == k).mean()) for k, rows in enumerate(common.values())]
    assert np.median(right) > 0.95
    assert min(right) > 0.6
    background = np.linalg.norm(scene.features.points[true == 0].astype(float), axis=1)
    assert np.median(background) < 0.3


def test_auto_takes_the_masks_given_then_the_weights_that_are_here(
    small_rooms: dict[str, Path], engines: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVSEG3R_WEIGHTS", str(tmp_path))
    source, auto = small_rooms["tum"], {**engines["grounded-sam"], "engine": "auto"}
    result, _ = labelled(parameters(source, auto))
    assert result.row is not None
    assert result.row.engines["segment"] == "grounded-sam"
    given = plan(source, "room", _pipeline({**auto, "prompt": None, "masks": masks_of(source)}))
    assert given.configs["segment"]["engine"] == "imported"
    (refused,) = run(parameters(source, {"engine": "auto", "simulated": engines["simulated"]["simulated"]}))
    assert refused.status == "bad-input"
    for choice in ("weights fetch grounding-dino-tiny sam-vit-base", "--masks", "sam3", "regions", "simulated"):
        assert choice in refused.message


def test_masks_are_not_given_to_an_engine_that_makes_its_own(engines: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="--segment sam3 would not use them"):
        build_segmenter(_pipeline({**engines["sam3"], "masks": "masks.json"}).segment)


def test_two_scenes_at_a_time_share_the_weights(
    small_rooms: dict[str, Path], engines: dict[str, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = engines["mm-grounded-sam2"]["grounded_sam"]
    own = {name: str(shutil.copytree(weights[name], tmp_path / name)) for name in ("detector", "sam")}
    segment = {**engines["mm-grounded-sam2"], "grounded_sam": {**weights, **own}}
    alone, _ = labelled(parameters(small_rooms["tum"], segment))
    sources = [str(small_rooms["scannet"]), str(small_rooms["tum"])]
    both = parameters(small_rooms["tum"], segment).model_copy(update={"sources": tuple(sources), "workers": 2})
    caplog.clear()
    with caplog.at_level("INFO", "ovseg3r.segmentation"):
        results = run(both)
    assert [result.status for result in results] == ["published", "published"]
    assert "loaded" not in caplog.text  # the scene before has done so
    assert alone.row is not None
    assert results[1].row is not None
    assert results[1].row.label_histogram == alone.row.label_histogram
    assert results[1].row.digest == alone.row.digest


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"segment": {"engine": "regions", "prompt": "chair"}}, "regions would not use them"),
    ({"segment": {"masks": "masks.json", "vocabulary": "scannet200"}}, "imported would not use them"),
    ({"segment": {"engine": "regions", "simulated": {"truth": "room"}}}, "regions would not use it"),
])  # fmt: skip
def test_what_an_engine_would_not_use_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build_segmenter(PipelineSettings.model_validate(settings).segment)


def test_a_size_of_features_that_are_not_kept_is_refused() -> None:
    with pytest.raises(InputError, match="add --features"):
        checked({"sources": ["room"], "pipeline": {"features": {"size": 8}}})


@pytest.mark.parametrize("engine", ["imported", "regions"])
def test_engines_without_features_say_so(small_rooms: dict[str, Path], engine: str) -> None:
    masks = {"masks": masks_of(small_rooms["tum"])} if engine == "imported" else {}
    (result,) = run(parameters(small_rooms["tum"], {"engine": engine, **masks}, features={"save": True}))
    assert result.status == "bad-input"
    assert f"The engine {engine} gives no features" in result.message


def _pipeline(segment: dict[str, Any], **more: Any) -> PipelineSettings:
    return PipelineSettings.model_validate({"segment": segment, **more})


def test_what_decides_the_masks_makes_the_digest_and_nothing_else(
    small_rooms: dict[str, Path], engines: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    def digests(segment: dict[str, Any], **more: Any) -> dict[str, str]:
        return plan(small_rooms["tum"], "room", _pipeline(segment, **more)).digests

    base = engines["grounded-sam"]
    first = digests(base)
    moved = {**base["grounded_sam"], "sam": str(shutil.copytree(base["grounded_sam"]["sam"], tmp_path / "sam"))}
    words = tmp_path / "words.txt"
    words.write_text("chair\noffice desk\nmug\n")
    same = [
        {**base, "grounded_sam": moved},
        {**base, "prompt": None, "vocabulary": str(words)},
        {**base, "vocabulary": "scannet200"},  # the prompt is what counts
        {**base, "device": "cpu"},
        {**base, "sam3": {"threshold": 0.9}},
        {**base, "simulated": {"seed": 4}},
    ]
    assert [digests(other) == first for other in same] == [True] * len(same)
    (tmp_path / "sam" / "config.json").write_text((tmp_path / "sam" / "config.json").read_text() + "\n")
    changed = [
        {**base, "grounded_sam": moved},  # other weights now
        {**base, "grounded_sam": {**base["grounded_sam"], "threshold": 0.06}},
        {**base, "prompt": "chair. mug. office desk"},
        {**base, "batch": 2},
        {**base, "precision": "bfloat16"},
        {**base, "min_area": 26},
        {**base, "overlaps": {"max_hole": 1}},
        engines["mm-grounded-sam2"],
    ]
    assert [digests(other)["segment"] != first["segment"] for other in changed] == [True] * len(changed)
    kept = digests(base, features={"save": True})
    assert kept["segment"] != first["segment"]
    smaller = digests(base, features={"save": True, "size": 4})
    assert {name for name in kept if kept[name] != smaller[name]} == {"features", "publish"}


class _Stopped(Exception):
    pass


@pytest.mark.parametrize(("batch", "saved"), [(1, [0, 5]), (4, [0, 2, 5, 9])])
def test_a_stopped_run_repeats_no_more_than_the_batch_in_flight(
    small_rooms: dict[str, Path],
    engines: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    saved: list[int],
) -> None:
    """Stopped again and again, after so many frames were saved; then to the end."""
    computed: list[list[int]] = []
    through = Batches._through

    def counted(self: Batches, network: Callable[..., Any], frames: Sequence[Any]) -> Any:
        computed[-1] += [_number(frame) for frame in frames]
        return through(self, network, frames)

    segment = {**engines["mm-grounded-sam2"], "batch": batch}
    undisturbed, _ = labelled(parameters(small_rooms["7scenes"], segment, features={"save": True}))
    monkeypatch.setattr(Batches, "_through", counted)
    given = parameters(small_rooms["7scenes"], segment, features={"save": True})
    for stop in (*saved[1:], 99):
        computed.append([])

        def listener(event: Progress, stop: int = stop) -> None:
            if event.stage == "segment" and event.done == stop:
                raise _Stopped

        with listening(listener):
            (result,) = run(given)
        assert result.status == ("published" if stop == 99 else "failed")
    assert [min(frames) for frames in computed] == [start // batch * batch for start in saved]
    assert computed[-1] == list(range(saved[-1] // batch * batch, 12))
    times = Counter(frame for frames in computed for frame in frames)
    assert max(times.values()) <= 2
    assert undisturbed.row is not None
    assert result.row is not None
    contents = [
        SceneStore(Store.open(row.uri.split("/scenes/")[0])).published(row.scene_id, row.digest)
        for row in (undisturbed.row, result.row)
    ]
    assert contents[0] is not None
    assert contents[1] is not None
    assert contents[0].content == contents[1].content


_SEEN: dict[bytes, int] = {}


def _number(frame: np.ndarray) -> int:
    """The frames of a recording in the order in which they are first seen, which is their own."""
    return _SEEN.setdefault(frame.tobytes(), len(_SEEN))


def test_the_truth_of_one_room_is_not_given_to_several(small_rooms: dict[str, Path]) -> None:
    sources = [str(small_rooms["tum"]), str(small_rooms["scannet"])]
    segment = {"engine": "simulated", "simulated": {"truth": "room"}}
    given = LabelParameters.model_validate({"sources": sources, "pipeline": {"segment": segment}})
    with pytest.raises(InputError, match="one recording's truth cannot be that of 2 sources"):
        name_scenes(given)
    named = _pipeline({"engine": "simulated", "simulated": {"truth": "rooms/{scene_id}/film"}})
    assert with_scene_paths(named, "kitchen").segment.simulated.truth == "rooms/kitchen/film"


def test_nothing_found_is_told_before_the_reconstruction(
    small_rooms: dict[str, Path], engines: dict[str, dict[str, Any]]
) -> None:
    base = engines["mm-grounded-sam2"]
    blind = {**base, "grounded_sam": {**base["grounded_sam"], "threshold": 0.99}}
    seen: list[str] = []
    with listening(lambda event: seen.append(event.stage)):
        (result,) = run(parameters(small_rooms["7scenes"], blind))
    assert result.status == "bad-input"
    assert "grounded-sam leaves no instance in any of the 12 frames" in result.message
    assert "reconstruct" not in seen
