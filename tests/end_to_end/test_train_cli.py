"""``train``, ``models``, ``segment`` and ``evaluate`` as people run them, and a training that is killed."""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from storage.store import Store
from tests.end_to_end.conftest import Cli, Finished
from tests.small_training import NAMES, SETTINGS, publish, publish_all, viewed, without_truth

Here = Callable[..., Finished]
STEPS = 12


def new_store(folder: Path) -> Path:
    store = Store.open(folder)
    publish_all(store)
    publish(store, "study", without_truth(viewed(5)), 5)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {
        "scenes": {"tags": ["split:train"]},
        "held_out": {"tags": ["split:val"]},
        "model": SETTINGS | {"train": SETTINGS["train"] | {"steps": STEPS}},
        "schedule": {"checkpoint_every": 3, "evaluate_every": 6, "data": {"workers": 0}},
    }
    path = tmp_path_factory.mktemp("config") / "train.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, config: Path) -> tuple[Path, Any]:
    """A store with a model that nobody disturbed, and its row as the command prints it. Only to be read."""
    store = new_store(tmp_path_factory.mktemp("trained") / "store")
    done = Cli(store.parent, prefect_api).run("train", "net", "--config", config, "--store", store, "--json")
    assert done.code == 0, done.err
    return store, done.json()


def files_of(store: Path, row: Any) -> dict[str, str]:
    """sha256 of each of the model's files, read from the disk."""
    (weights,) = (store / "models" / row["model_id"] / row["digest"]).glob("*/weights.safetensors")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights.parent.iterdir()}


def checkpoints(store: Path) -> list[Path]:
    return sorted(store.glob("stages/train/*/parts/checkpoint-*.safetensors"))


def kill_after_a_checkpoint(training: "subprocess.Popen[str]", store: Path) -> str:
    """The name of the checkpoint that was there."""
    end = time.monotonic() + 120
    while not checkpoints(store) and training.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    training.kill()
    _, err = training.communicate()
    (left,) = checkpoints(store) or [None]
    assert left is not None, err
    return left.name


def test_a_killed_training_goes_on_and_ends_with_the_same_model(
    cli: Cli, config: Path, trained: tuple[Path, Any]
) -> None:
    """Scenes are read by another process this time, which changes nothing either."""
    undisturbed, row = trained
    store = new_store(cli.folder / "store")
    command = ("train", "net", "--config", config, "--store", store, "--workers", "1")
    left = kill_after_a_checkpoint(cli.start(*command), store)
    assert not list((store / "models").glob("**/*.safetensors"))
    again = cli.run(*command)
    assert again.code == 0, again.err
    assert f"the training goes on at step {int(left[11:19])}" in again.err
    assert checkpoints(store) == []
    assert files_of(store, row) == files_of(undisturbed, row)
    assert len(files_of(store, row)) == 6
    assert "net" in again.out
    assert "minilm" in again.out


def test_models_are_listed(here: Here, trained: tuple[Path, Any]) -> None:
    store, row = trained
    assert (row["scenes"], row["vocabulary"], row["steps"], row["model_id"]) == (3, len(NAMES), STEPS, "net")
    listed = here("models", "--store", store, "--json", "--pictures", "curves")
    assert listed.code == 0, listed.err
    assert listed.json() == [row]
    assert Path("curves/net-curves.png").read_bytes().startswith(b"\x89PNG")
    shown = here("models", "--store", store)
    assert "net" in shown.out
    empty = here("models", "--store", new_store(Path("other-store").absolute()))
    assert "No models; `ovseg3r train` makes one" in empty.out


def test_a_scene_is_segmented_by_words(cli: Cli, trained: tuple[Path, Any]) -> None:
    store, row = trained
    words = ("--prompt", "couch. mug", "--min-score", "0.01", "--device", "cpu")
    done = cli.run("segment", "study", "--model", "net", "--store", store, *words, "--json")
    assert done.code == 0, done.err
    report = done.json()
    assert report["words"] == ["couch", "mug"]
    assert report["model"] == {"id": "net", "digest": row["digest"]}
    assert report["folder"] == "found-study"
    found = cli.folder / "found-study"
    assert {path.name for path in found.iterdir()} == {
        "cloud.png", "found.png", "instances.json", "masks.npz", "points.npz",
    }  # fmt: skip
    assert json.loads((found / "instances.json").read_text()) == report
    with np.load(found / "masks.npz", allow_pickle=False) as masks:
        assert masks["sizes"].tolist() == [each["points"] for each in report["instances"]]


def test_a_model_is_evaluated(here: Here, trained: tuple[Path, Any], tmp_path: Path) -> None:
    store, row = trained
    given = ("evaluate", "net", "--store", store, "--tag", "split:val", "--device", "cpu")
    done = here(*given, "--write", tmp_path / "files", "--json")
    assert done.code == 0, done.err
    summary = done.json()
    assert summary["scenes"] == 1
    assert summary["overall"]["ap"] == pytest.approx(row["metrics"]["AP"], abs=1e-12)
    assert set(summary["subsets"]) == {"trained on", "never trained on"}
    assert sorted(summary["per_class"]) == sorted(NAMES)
    assert (tmp_path / "files" / "truth" / "kitchen.txt").is_file()
    (tmp_path / "words.yaml").write_text("sofa: couch\n")
    shown = here(*given, "--words", tmp_path / "words.yaml", "--per-class")
    assert shown.code == 0, shown.err
    assert all(name in shown.out for name in NAMES)


def test_bad_input_is_one_sentence_and_exit_code_2(
    here: Here, trained: tuple[Path, Any], config: Path, tmp_path: Path
) -> None:
    store, _ = trained
    (tmp_path / "typo.yaml").write_text("model: {train: {stepps: 3}}\n")
    (tmp_path / "list.yaml").write_text("- chair\n")
    for arguments, told in (
        (("train", "--store", "nowhere"), "there is no store"),
        (("train", "--store", store, "--size", "huge"), "model.size"),
        (("train", "--store", store, "--steps", "0"), "model.train.steps"),
        (("train", "--store", store, "--config", "typo.yaml"), "model.train.stepps"),
        (("train", "--store", store, "--tag", "nowhere"), "is left to train on"),
        (("train", "--store", store, "--config", config, "--held-out-tag", "nowhere"), "asked to be held out"),
        (("train", "Net!", "--store", store), "model id 'Net!'"),
        (("segment", "hall", "--store", store), "There is no model segmenter"),
        (("segment", "shed", "--model", "net", "--store", store), "shed is neither a scene of"),
        (("segment", "no/such.mp4", "--model", "net", "--store", store), "no/such.mp4 is neither a scene of"),
        (("evaluate", "net", "--store", store, "--scene", "study"), "study has no truth"),
        (("evaluate", "net", "--store", store, "--tag", "split:val", "--words", "list.yaml"), "list.yaml"),
        (("models", "--store", store, "--pictures", config), "cannot be written"),
    ):
        done = here(*arguments)
        assert done.code == 2, (arguments, done.err)
        assert told in done.err, arguments
        assert done.err.startswith("error: ")
        assert done.err.count("\n") == 1
        assert "Traceback" not in done.err + done.out
