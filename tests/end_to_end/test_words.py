"""Masks from words through the command line, on tiny networks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import TinyModels
from tests.end_to_end.conftest import Cli, Finished
from tests.rooms import VOXEL

ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # tiny networks only wait for a second one


def test_label_what_the_prompt_names(cli: Cli, small_rooms: dict[str, Path], tiny_models: TinyModels) -> None:
    cli = replace(cli, more=ONE_THREAD)
    weights = ("--detector", tiny_models("mm-grounding-dino"), "--sam", tiny_models("sam2"))
    config = cli.folder / "sure.yaml"
    config.write_text("pipeline: {segment: {grounded_sam: {threshold: 0.05}}}\n")
    options = ("--config", config, "--voxel", str(VOXEL), "--features", "--feature-size", "8", "--json")
    done = cli.run("label", small_rooms["7scenes"], "--prompt", "chair. office desk. mug", *weights, *options)
    assert done.code == 0, done.err
    (result,) = done.json()
    assert result["status"] == "published"
    assert set(result["row"]["label_histogram"]) <= {"chair", "office desk", "mug"}
    assert result["row"]["engines"] == {"reconstruct": "posed-rgbd", "segment": "grounded-sam"}
    shown = cli.run("show", "room-7scenes", "--verify", "--pictures", "seen", "--json").json()
    assert shown["faults"] == []
    shapes = {array["name"]: array["shape"] for array in shown["arrays"]}
    assert shapes["features/points"] == [shown["counts"]["points"], 8]
    assert shapes["features/objects_basis"] == [64, 8]
    assert "seen/room-7scenes-features.png" in shown["pictures"]


def test_weights_that_lack_end_the_run_before_any_work(
    here: Callable[..., Finished], tmp_path: Path, small_rooms: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = small_rooms["7scenes"]
    monkeypatch.setenv("OVSEG3R_WEIGHTS", str(tmp_path / "weights"))
    for options, command in (
        (("--segment", "grounded-sam"), "ovseg3r weights fetch grounding-dino-tiny"),
        (("--segment", "sam3"), "ovseg3r weights fetch sam3"),
        ((), "ovseg3r weights fetch grounding-dino-tiny sam-vit-base"),
        (("--segment", "grounded-sam", "--detector", "grounding-dino-huge"), "grounding-dino-base"),
    ):
        done = here("label", room, *options)
        assert done.code == 2
        assert command in done.err
        assert done.err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []  # not even a store


def test_words_that_cannot_be_looked_for(
    here: Callable[..., Finished], small_rooms: dict[str, Path], tiny_models: TinyModels
) -> None:
    weights = ("--detector", tiny_models("grounding-dino"), "--sam", tiny_models("sam"))
    for options, sentence in (
        (("--prompt", " . "), "chair. office desk. mug"),
        (("--vocabulary", "no-such-list"), "household"),
        (("--prompt", "chair", "--masks", "masks.json", "--segment", "grounded-sam"), "leave one of the two out"),
    ):
        done = here("label", small_rooms["7scenes"], *weights, *options)
        assert done.code == 2
        assert sentence in done.err
