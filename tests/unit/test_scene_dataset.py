"""Scenes for a training: the same ones whoever reads them, in an order that can be entered anywhere."""

import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import LabelledScene, SceneTruth
from ovseg3r_model.training.data_settings import AugmentSettings, DataSettings
from ovseg3r_model.training.samples import TrainingScene, training_scene
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.scene_dataset import SceneDataset, scene_batches
from tests.unit.stored_scenes import digest, scene
from tests.unit.training_scenes import plain_list, tensors

SCENES = [("attic", digest(1)), ("cellar", digest(2)), ("kitchen", digest(3))]
HERE = DataSettings(workers=0)
NONE, SOME = AugmentSettings.none(), AugmentSettings(max_points=150)


def labelled(number: int) -> LabelledScene:
    """The first is annotated by its truth, the others by their views."""
    made = scene(seed=number)
    if number:
        return made
    instance = np.where(made.superpoint < 3, made.superpoint + 1, 0).astype(np.int32)
    return replace(made, truth=SceneTruth(instance, ("sofa", "rug", "sofa")), annotation="scene")


def publish(url: str | Path) -> Store:
    store = Store.open(url)
    for number, (scene_id, scene_digest) in enumerate(SCENES):
        SceneStore(store).publish(labelled(number), scene_id, scene_digest, {}, {})
    return store


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish(tmp_path_factory.mktemp("store")).url


def content(scene: TrainingScene) -> tuple[Any, ...]:
    """All of it, comparable."""
    held = {name: (value.shape, value.numpy().tobytes()) for name, value in tensors(scene).items()}
    return scene.scene_id, scene.targets.names, scene.targets.views, scene.targets.superpoints, held


def named(number: int, scenes: list[TrainingScene]) -> tuple[int, list[str]]:
    return number, [scene.scene_id for scene in scenes]


def process(number: int, scenes: list[TrainingScene]) -> int:
    return os.getpid()


def refusing(number: int, scenes: list[TrainingScene]) -> list[TrainingScene]:
    """The third batch is refused, as one whose scenes do not fit the network is."""
    if number == 2:
        raise InputError(f"{scenes[0].scene_id}: does not fit.")
    return scenes


def test_without_augmentation_a_scene_is_what_was_published(url: str) -> None:
    dataset = SceneDataset(url, SCENES, NONE, seed=0)
    for number, (scene_id, _) in enumerate(SCENES):
        assert content(dataset[5, number]) == content(training_scene(scene_id, labelled(number)))


def test_epochs_are_permutations_of_their_own(url: str) -> None:
    dataset = SceneDataset(url, SCENES * 10, NONE, seed=3)
    orders = [dataset.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[1] == SceneDataset(url, SCENES * 10, NONE, seed=3).order(1).tolist()
    assert orders[1] != SceneDataset(url, SCENES * 10, NONE, seed=4).order(1).tolist()


def test_every_scene_comes_once_an_epoch_and_differently_in_the_next(url: str) -> None:
    dataset = SceneDataset(url, SCENES, SOME, seed=0)
    batches = list(scene_batches(dataset, HERE, 2, range(6), plain_list))  # 4 epochs of 3 scenes
    assert [len(batch) for batch in batches] == [2] * 6
    row = [scene for batch in batches for scene in batch]
    epochs = [row[k : k + 3] for k in range(0, 12, 3)]
    for number, epoch in enumerate(epochs):
        assert [scene.scene_id for scene in epoch] == [SCENES[k][0] for k in dataset.order(number)]
    assert set(Counter(scene.scene_id for scene in row).values()) == {4}
    atticks = [next(scene.input.xyz for scene in epoch if scene.scene_id == "attic") for epoch in epochs]
    assert not torch.equal(atticks[0][:100], atticks[1][:100])


def test_a_cache_changes_nothing(url: str) -> None:
    kept, unkept = (SceneDataset(url, SCENES, SOME, seed=0, cache=mib) for mib in (1, 0))
    keys = [(epoch, index) for epoch in range(2) for index in range(3)]
    assert [content(kept[key]) for key in keys] == [content(unkept[key]) for key in keys]


def test_a_cache_holds_what_was_last_used_and_fits(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for scene_id, scene_digest in SCENES:  # one of these is over half a MiB
        SceneStore(store).publish(scene(points=16_000), scene_id, scene_digest, {}, {})
    unkept, one, many = (SceneDataset(store.url, SCENES, NONE, seed=0, cache=mib) for mib in (0, 1, 64))
    for dataset in (unkept, one, many):
        for index in range(3):
            dataset[0, index]
    store.delete_prefix("scenes")
    assert [many[1, index].scene_id for index in range(3)] == ["attic", "cellar", "kitchen"]
    assert one[1, 2].scene_id == "kitchen"
    for dataset, index in ((one, 0), (one, 1), (unkept, 2)):
        with pytest.raises(InputError, match="no scene"):
            dataset[1, index]


def test_a_copy_opens_the_store_itself_and_starts_without_scenes(url: str) -> None:
    dataset = SceneDataset(url, SCENES, SOME, seed=2, cache=64)
    empty = len(pickle.dumps(dataset))
    expected = content(dataset[1, 0])
    assert len(pickle.dumps(dataset)) == empty
    assert content(pickle.loads(pickle.dumps(dataset))[1, 0]) == expected  # noqa: S301


def test_reading_leaves_the_global_generators_alone(url: str) -> None:
    dataset = SceneDataset(url, SCENES, SOME, seed=0)
    before = torch.random.get_rng_state()
    list(scene_batches(dataset, HERE, 2, range(2), plain_list))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_workers_read_the_same_from_any_batch_on_and_tell_what_is_wrong(url: str, tmp_path: Path) -> None:
    """All that needs other processes, in one test, as they take seconds to start."""
    dataset = SceneDataset(url, SCENES, SOME, seed=0, cache=64)
    alone = [[content(s) for s in batch] for batch in scene_batches(dataset, HERE, 2, range(9), plain_list)]
    two = DataSettings(workers=2, prefetch=1)
    helped = [[content(s) for s in batch] for batch in scene_batches(dataset, two, 2, range(9), plain_list)]
    assert helped == alone
    every_other = scene_batches(dataset, two, 2, range(4, 9, 2), plain_list)
    assert [[content(s) for s in batch] for batch in every_other] == alone[4:9:2]

    refused = scene_batches(dataset, two, 2, range(4), refusing)
    assert [len(next(refused)), len(next(refused))] == [2, 2]
    first = next(scene_batches(dataset, HERE, 2, range(2, 3), named))[1][0]
    with pytest.raises(InputError) as error:
        next(refused)
    assert str(error.value) == f"{first}: does not fit."

    store = publish(tmp_path)
    store.delete([chunk(store, "cellar")])
    lost = SceneDataset(store.url, SCENES[1:2], SOME, seed=0)
    with pytest.raises(InputError, match=r"^scene cellar of file://\S+ has lost .* or leave it out\.$"):
        next(scene_batches(lost, DataSettings(workers=1), 1, range(1), plain_list))


def test_workers_of_a_killed_training_end(url: str) -> None:
    program = (
        "import sys, time; from tests.unit.test_scene_dataset import *\n"
        "dataset = SceneDataset(sys.argv[1], SCENES, NONE, seed=0)\n"
        "batches = scene_batches(dataset, DataSettings(workers=1), 1, range(10**6), process)\n"
        "print(next(batches), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        worker = int(training.stdout.readline())
        assert runs(worker)
        training.kill()
    end = time.monotonic() + 10
    while runs(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not runs(worker)


def runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def chunk(store: Store, scene_id: str) -> str:
    """The object that holds the scene's points."""
    return next(entry.key for entry in store.list(f"scenes/{scene_id}") if "points/xyz/c" in entry.key)


def test_a_damaged_scene_is_named(tmp_path: Path) -> None:
    store = publish(tmp_path)
    key = chunk(store, "attic")
    whole = store.get(key)
    assert whole is not None
    store.delete([key])
    store.put_if_absent(key, bytes(len(whole)))
    with pytest.raises(InputError, match=r"^scene attic of file://\S+ cannot be read \(.* or leave it out\.$"):
        SceneDataset(store.url, SCENES, NONE, seed=0)[0, 0]


def test_a_batch_may_be_larger_than_an_epoch(url: str) -> None:
    dataset = SceneDataset(url, SCENES, SOME, seed=0)
    ((number, names),) = scene_batches(dataset, HERE, 7, range(1, 2), named)
    assert number == 1
    row = [SCENES[k][0] for epoch in range(5) for k in dataset.order(epoch)]
    assert names == row[7:14]


def test_what_cannot_be_read_is_named(url: str) -> None:
    gone = SceneDataset(url, [("attic", digest(9))], NONE, seed=0)
    with pytest.raises(InputError, match="no scene attic"):
        next(scene_batches(gone, HERE, 1, range(1), plain_list))
    with pytest.raises(InputError, match="no scene to train on"):
        SceneDataset(url, [], NONE, seed=0)
    with pytest.raises(InputError, match="there is no store"):
        SceneDataset(url + "-gone", SCENES, NONE, seed=0)[0, 0]


def test_a_store_in_memory_is_read_without_workers() -> None:
    publish("memory://dataset")
    dataset = SceneDataset("memory://dataset", SCENES, NONE, seed=0)
    ((number, names),) = scene_batches(dataset, HERE, 3, range(1), named)
    assert sorted(names) == ["attic", "cellar", "kitchen"]
    assert number == 0
    with pytest.raises(InputError, match="take workers 0"):
        scene_batches(dataset, DataSettings(workers=1), 3, range(1), named)
