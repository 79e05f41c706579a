"""The flow ``train``: what it publishes, what it does not do twice, how it goes on after a kill, what it refuses."""

import io
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from flows.evaluate_model import evaluate_model, learned_from
from flows.train import train_model
from flows.train_settings import TrainParameters
from ovseg3r_model.errors import InputError
from ovseg3r_model.network.build import build_network
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.reconstruction.torch_threads import one_thread
from ovseg3r_model.records import LabelledScene
from ovseg3r_model.training.training import Diverged
from storage.catalog import Catalog, ModelCatalog
from storage.model_rows import ModelRow
from storage.model_store import ModelStore, PublishedModel
from storage.parquet_rows import utc_now
from storage.selection import SelectionSettings
from storage.store import Store
from tasks.progress import Progress, listening
from tests.small_training import (
    NAMES,
    OBJECT_CHANNELS,
    POINT_CHANNELS,
    SETTINGS,
    publish,
    publish_all,
    viewed,
    without_truth,
)
from tests.unit.stored_scenes import digest

pytestmark = pytest.mark.usefixtures("prefect_api", "one_torch_thread")

VAL = {"tags": ["split:val"]}
TRAIN = {"tags": ["split:train"]}
STEPS = SETTINGS["train"]["steps"]


def new_store() -> Store:
    return Store.open(f"memory://{secrets.token_hex(8)}")


@pytest.fixture
def store() -> Store:
    made = new_store()
    publish_all(made)
    return made


@pytest.fixture(scope="module")
def done(prefect_api: str) -> tuple[Store, ModelRow]:
    """A trained model, evaluated on the scene that was held out. Only to be read, or added to."""
    made = new_store()
    publish_all(made)
    with one_thread():  # as the tests: the last bits depend on how many threads there are
        return made, train(made, held_out=VAL, schedule={"evaluate_every": 4})


def parameters(store: Store, **given: Any) -> TrainParameters:
    """train: put over the training's small settings; schedule: the same."""
    train_settings = SETTINGS["train"] | given.pop("train", {})
    schedule = {"data": {"workers": 0}, "checkpoint_every": 2, "report_every": 3} | given.pop("schedule", {})
    model = SETTINGS | {"train": train_settings} | given.pop("model", {})
    values = {"model_id": "net", "store": store.url, "model": model, "schedule": schedule}
    return TrainParameters.model_validate(values | given)


def train(store: Store, **given: Any) -> ModelRow:
    row: ModelRow = train_model(parameters(store, **given))
    return row


def published(store: Store, row: ModelRow) -> PublishedModel:
    return ModelStore(store).read(row.model_id, row.digest)


def weights(store: Store, row: ModelRow) -> bytes:
    return published(store, row).get("weights.safetensors")


def said(store: Store, row: ModelRow) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(published(store, row).get("model.json"))
    return out


@contextmanager
def steps_done() -> Iterator[list[int]]:
    """The steps of training that are announced inside; 0 for a training that was there already."""
    done: list[int] = []

    def listen(event: Progress) -> None:
        if event.stage == "train":
            done.append(0 if event.reused else event.done)

    with listening(listen):
        yield done


def killed_at(step: int, store: Store, **given: Any) -> None:
    """A training that is interrupted once it has done that step."""

    def listen(event: Progress) -> None:
        if (event.stage, event.done) == ("train", step):
            raise KeyboardInterrupt

    with listening(listen), pytest.raises(KeyboardInterrupt):
        train(store, **given)


def parts(store: Store) -> list[str]:
    return [entry.key.rpartition("/")[2] for entry in store.list("stages/train") if "/parts/" in entry.key]


def test_a_model_is_listed_and_complete(done: tuple[Store, ModelRow]) -> None:
    store, row = done
    assert row in ModelCatalog(store).rows(latest_only=False)
    assert (row.model_id, row.size, row.scenes, row.vocabulary) == ("net", "tiny", 3, len(NAMES))
    assert (row.steps, row.seed, row.text_encoder.partition("-")[0]) == (STEPS, 0, "minilm")
    model = published(store, row)
    assert sorted(model.checksums) == [
        "curves.png", "history.json", "metrics.json", "model.json", "vocabulary.json", "weights.safetensors",
    ]  # fmt: skip
    assert row.bytes == sum(len(model.get(name)) for name in model.checksums)
    # `none`, the embedding of no object, and the rest: every weight is a parameter, as layer norms keep no statistics
    assert row.parameters == sum(value.size for value in load(model.get("weights.safetensors")).values())
    assert json.loads(model.get("vocabulary.json")) == sorted(NAMES)
    assert model.manifest["scenes"] == {name: digest(k) for k, name in enumerate(("attic", "cellar", "hall"), 1)}
    assert model.manifest["held_out"] == {"kitchen": digest(4)}
    assert model.manifest["encoder"] == row.text_encoder
    with Image.open(io.BytesIO(model.get("curves.png"))) as picture:
        picture.load()
        assert picture.format == "PNG"


def test_it_is_evaluated_on_what_is_held_out_and_nothing_else(done: tuple[Store, ModelRow]) -> None:
    store, row = done
    model = published(store, row)
    assert json.loads(model.get("metrics.json")) == row.metrics
    history = json.loads(model.get("history.json"))
    assert [step for step, _ in history["scores"]["AP"]] == [4, 6]
    assert [step for step, _ in history["losses"]["total"]] == [3, 6]
    assert set(history["matching"]) == {"unsupervised queries", "matched per view", "astray"}
    again = evaluate_model(store, "net", SelectionSettings(tags=("split:val",)), {}, "cpu", None)
    assert again.scenes == 1
    measured = {"AP": again.overall.ap, "AP25": again.overall.ap25, "class-agnostic AP": again.class_agnostic.ap}
    assert {name: row.metrics[name] for name in measured} == measured


def test_the_same_again_trains_nothing(done: tuple[Store, ModelRow]) -> None:
    store, row = done
    with steps_done() as steps:
        assert train(store, held_out=VAL, schedule={"evaluate_every": 4, "checkpoint_every": 5}) == row
        other = train(store, held_out=VAL, schedule={"evaluate_every": 4}, model_id="other-name")
    assert steps == [0, 0]
    assert other.digest == row.digest
    assert {r.model_id for r in ModelCatalog(store).rows()} >= {"net", "other-name"}
    assert published(store, other).checksums == published(store, row).checksums


def test_an_evaluation_leaves_the_weights_as_they_are(done: tuple[Store, ModelRow]) -> None:
    store, row = done
    alone = train(store, scenes=TRAIN, model_id="alone")
    assert alone.digest != row.digest
    assert alone.data_digest == row.data_digest
    assert weights(store, alone) == weights(store, row)
    assert set(alone.metrics) == {"loss total"}


def test_other_scenes_seeds_and_supervision_are_other_trainings(done: tuple[Store, ModelRow]) -> None:
    store, row = done
    few = {"steps": 2}
    base = train(store, scenes=TRAIN, train=few)
    other = {
        "seed": train(store, scenes=TRAIN, train=few | {"seed": 1}),
        "scenes": train(store, scenes={"scenes": ["attic", "cellar"]}, train=few),
        "no VIP": train(store, scenes=TRAIN, train=few | {"supervision": {"vip": False}}),
    }
    assert len({each.digest for each in (row, base, *other.values())}) == 5
    assert {name for name, each in other.items() if each.data_digest != base.data_digest} == {"scenes"}
    assert len({weights(store, each) for each in (base, *other.values())}) == 4
    assert [said(store, each)["boxes"] for each in (base, other["scenes"])] == [True, False]
    newest = ModelCatalog(store).rows()
    assert [each.digest for each in newest if each.model_id == "net"] == [other["no VIP"].digest]


def test_a_killed_training_ends_as_an_undisturbed_one(store: Store, done: tuple[Store, ModelRow]) -> None:
    given = {"held_out": VAL, "schedule": {"evaluate_every": 4}}
    killed_at(1, store, **given)
    assert parts(store) == []
    assert ModelCatalog(store).rows() == []
    killed_at(3, store, **given)
    assert parts(store) == ["checkpoint-00000002.safetensors"]
    with steps_done() as steps:
        killed_at(5, store, **given)
        assert parts(store) == ["checkpoint-00000004.safetensors"]
        row = train(store, **given)
    assert steps == [3, 4, 5, 5, 6]
    assert parts(store) == []
    other_store, undisturbed = done
    assert row.digest == undisturbed.digest
    assert published(store, row).checksums == published(other_store, undisturbed).checksums
    stages = [entry.key.split("/")[3] for entry in store.list("stages/train")]
    assert len(set(stages)) == 2  # the commit and its attempt: nothing is left of the killed ones


def test_two_processes_learn_what_one_does_and_go_on_after_a_kill(tmp_path: Path, done: tuple[Store, ModelRow]) -> None:
    """The same scenes, changes and queries, each process half of them; and as many losses told."""
    folder = Store.open(tmp_path)
    publish_all(folder)
    given = {"scenes": TRAIN, "train": {"processes": 2}}
    killed_at(3, folder, **given)
    assert parts(folder) == ["checkpoint-00000002.safetensors"]
    with steps_done() as steps:
        row = train(folder, **given)
    assert steps == [3, 4, 5, 6]
    store, alone = done
    start = build_network(NetworkSettings.model_validate(said(folder, row)["network"]), row.seed).state_dict()
    known, made = load(weights(store, alone)), load(weights(folder, row))
    for name in ("backbone.conv0p1s1.kernel", "decoder.layers.0.among.value.weight"):
        assert np.linalg.norm(made[name] - known[name]) < 0.02 * np.linalg.norm(known[name] - start[name].numpy())
    curves = [json.loads(published(*each).get("history.json")) for each in ((store, alone), (folder, row))]
    assert curves[0]["matching"] == curves[1]["matching"]
    for (_, value), (_, other) in zip(*(each["losses"]["total"] for each in curves), strict=True):
        assert value == pytest.approx(other, rel=1e-3)


def test_a_store_in_memory_is_not_for_several_processes(store: Store) -> None:
    with pytest.raises(InputError, match="other processes cannot read this store"):
        train(store, scenes=TRAIN, train={"processes": 2})


def test_a_training_that_diverges_keeps_the_batch(store: Store) -> None:
    exploding = {"optimiser": {"explosion": 1e-3}}
    with pytest.raises(Diverged) as error:
        train(store, scenes=TRAIN, train=exploding)
    (name,) = parts(store)
    assert name == "diverged-00000001.safetensors"
    (entry,) = [entry for entry in store.list("stages/train") if entry.key.endswith(name)]
    assert str(error.value).endswith(f"The batch is kept as {store.url}/{entry.key}.")
    data = store.get(entry.key)
    assert data is not None
    scenes = [scene for scene in ("attic", "cellar", "hall") if scene in str(error.value)]
    assert len(scenes) == 2
    kept = load(data)
    assert kept["batch.point"].shape[1] == 6
    assert {key.partition(".")[0] for key in kept} == {"batch", "targets", "pairs", "queries", "objects", "texts"}
    assert ModelCatalog(store).rows() == []
    with pytest.raises(Diverged, match="at step 1: the loss is"):
        train(store, scenes=TRAIN, train=exploding)


def test_tensorboard_reads_the_scalars(store: Store, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "board"
    row = train(store, held_out=VAL, train={"steps": 2}, schedule={"report_every": 1, "tensorboard": str(folder)})
    board = EventAccumulator(str(folder))
    board.Reload()
    scalars = board.Tags()["scalars"]
    assert {"loss/total", "matching/matched per view", "score/AP50", "learning-rate", "gradient-norm"} <= set(scalars)
    losses = json.loads(published(store, row).get("history.json"))["losses"]["total"]
    read = [(event.step, event.value) for event in board.Scalars("loss/total")]
    assert [step for step, _ in read] == [1, 2]
    np.testing.assert_allclose([value for _, value in read], [value for _, value in losses], rtol=1e-6)


def test_features_are_used_where_scenes_have_them(store: Store) -> None:
    publish(store, "study", viewed(5, features=True), 5, "split:train")
    few = {"steps": 2}
    used = train(store, scenes=TRAIN, train=few)
    left = train(store, scenes=TRAIN, train=few, model={"features": False})
    channels = [
        (network["point_channels"], network["object_channels"])
        for network in (said(store, row)["network"] for row in (used, left))
    ]
    assert channels == [(POINT_CHANNELS, OBJECT_CHANNELS), (0, 0)]
    assert used.parameters > left.parameters
    # the stem takes colour, position, the features and whether there are any
    stems = [load(weights(store, row))["backbone.conv0p1s1.kernel"].shape[1] for row in (used, left)]
    assert stems == [6 + POINT_CHANNELS + 1, 6]


def wider(made: LabelledScene) -> LabelledScene:
    """With features of points in five channels, none of which was left out."""
    assert made.features is not None
    points = np.zeros((len(made.reconstruction.points), 5), np.float16)
    return replace(made, features=replace(made.features, points=points, point_reduction=None))


def test_features_of_two_2d_models_do_not_go_together(store: Store) -> None:
    publish(store, "study", viewed(5, features=True), 5)
    publish(store, "vault", wider(viewed(6, features=True)), 6)
    with pytest.raises(InputError, match=r"7 channels in scene study and 5 in scene vault; label both .* --no-feat"):
        train(store)
    assert train(store, train={"steps": 1}, model={"features": False}).scenes == 6


def test_what_cannot_be_trained_is_said(store: Store) -> None:
    publish(store, "yard", without_truth(viewed(8)), 8)
    for given, told in (
        ({"scenes": {"tags": ["nowhere"]}}, "none of 5 published scenes is left to train on"),
        ({"scenes": VAL, "held_out": VAL}, "none of 5 published scenes is left"),
        ({"scenes": TRAIN, "held_out": {"tags": ["nowhere"]}}, "is what is asked to be held out"),
        ({"scenes": TRAIN, "held_out": {"scenes": ["yard"]}}, "Scene yard has no truth to be judged by"),
        ({"scenes": {"scenes": ["shed"]}}, "scene shed is not published"),
        ({"model_id": "../net"}, "model id '../net' cannot be used"),
    ):
        with steps_done() as steps, pytest.raises(InputError) as error:
            train(store, **given)
        assert told in str(error.value)
        assert steps == []
    assert ModelCatalog(store).rows() == []


def test_a_held_out_film_is_not_learned_from_under_another_name() -> None:
    made = Store.open(f"memory://{secrets.token_hex(8)}")
    publish(made, "attic", viewed(0), 1, "split:train", film="one")
    publish(made, "again", viewed(1), 2, "split:train", film="two")
    publish(made, "kitchen", viewed(3), 4, "split:val", film="two")
    row = train(made, held_out=VAL, train={"steps": 1})
    manifest = ModelStore(made).read(row.model_id, row.digest).manifest
    assert list(manifest["scenes"]) == ["attic"]
    assert manifest["sources"] == ["one"]
    assert learned_from(made, row.model_id, SelectionSettings()) == ("attic",)


def test_scenes_that_name_nothing_cannot_be_learned_from() -> None:
    made = Store.open(f"memory://{secrets.token_hex(8)}")
    row = publish(made, "attic", viewed(0), 1)
    Catalog(made).replace(replace(row, label_histogram={}, tagged_at=utc_now()))
    with pytest.raises(InputError, match="none of the 1 scenes to train on names anything"):
        train(made)
