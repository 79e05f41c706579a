"""A training by two processes, on gloo: the steps of one process over the same batches, and an end to all with one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.torch_threads import one_thread
from ovseg3r_model.supervision.statistics import summed
from ovseg3r_model.training.data_settings import AugmentSettings, DataSettings
from ovseg3r_model.training.processes import Alone, Together, team
from ovseg3r_model.training.settings import TrainSettings
from ovseg3r_model.training.training import Diverged, agreed
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.scene_dataset import SceneDataset, scene_batches
from tests.unit.stored_scenes import digest, scene
from tests.unit.training_scenes import plain_list
from tests.unit.training_team import STEPS, WITH_BATCH_NORM, Lesson, Pupil, batch_of
from tests.unit.waiting_team import Waiting

Pupils = Alone[Pupil] | Together[Pupil]


@pytest.fixture(scope="module")
def two() -> Iterator[Pupils]:
    with one_thread(), team(Pupil, 2, "cpu") as made:
        yield made


@pytest.fixture(scope="module")
def one() -> Iterator[Pupils]:
    with one_thread(), team(Pupil, 1, "cpu") as made:
        yield made


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Up to a share of the whole's length: some of a network's gradients are 0 but for rounding."""
    assert one.keys() == other.keys()
    apart = torch.stack([(one[name] - other[name]).norm() for name in one]).norm()
    assert apart < 1e-4 * torch.stack([value.norm() for value in one.values()]).norm()


@pytest.mark.parametrize(
    "lesson",
    [Lesson(), Lesson(WITH_BATCH_NORM), Lesson(accumulate=2)],
    ids=["layer norm", "batch norm", "accumulated"],
)
def test_two_processes_take_the_steps_of_one(one: Pupils, two: Pupils, lesson: Lesson) -> None:
    """Each step from the same weights: where a gradient is 0 but for rounding, Adam's step is as long as any other."""
    checkpoint, together = None, b""
    for step in range(1, STEPS + 1):
        reports, gradients = [], []
        for pupils in (one, two):
            pupils.all(Pupil.begin, lesson, checkpoint)
            reports.append(agreed(pupils.all(Pupil.step)))
            gradients.append(load(pupils.first(Pupil.gradients)))  # as they were clipped
        alone, shared = reports
        assert (shared.step, shared.rate) == (step, alone.rate)
        assert summed(shared.statistics) == summed(alone.statistics)
        assert shared.losses == pytest.approx(alone.losses, rel=1e-4)
        assert shared.norm == pytest.approx(alone.norm, rel=1e-4)
        alike(*gradients)
        checkpoint, together = one.first(Pupil.checkpoint), two.first(Pupil.checkpoint)
    known, made = load(checkpoint or b""), load(together)
    assert known.keys() == made.keys()  # the optimiser knows the same parameters: those that no scene used rest
    for name in known:
        if "running" in name:
            torch.testing.assert_close(made[name], known[name])


def test_both_processes_have_the_same_weights_and_go_on_with_them(two: Pupils) -> None:
    lesson = Lesson()
    two.all(Pupil.begin, lesson)
    for _ in range(STEPS):
        agreed(two.all(Pupil.step))
    whole, other = two.all(Pupil.checkpoint)
    assert whole == other
    two.all(Pupil.begin, lesson)
    agreed(two.all(Pupil.step))
    two.all(Pupil.begin, lesson, two.first(Pupil.checkpoint))
    for _ in range(1, STEPS):
        agreed(two.all(Pupil.step))
    assert two.all(Pupil.checkpoint) == [whole, whole]


@pytest.mark.parametrize(("breaks", "told"), [("loss", "the loss is nan, on broken"), ("gradient", "the gradient is")])
def test_what_is_no_number_in_one_process_stops_both_with_its_batch(two: Pupils, breaks: str, told: str) -> None:
    two.all(Pupil.begin, Lesson(breaks=breaks))
    agreed(two.all(Pupil.step))
    before = two.all(Pupil.checkpoint)
    with pytest.raises(Diverged, match=f"at step 2: {told}") as error:
        agreed(two.all(Pupil.step))
    expected = batch_of(1)[1]
    kept = load(error.value.batch)
    assert kept["batch.point"].shape == (len(expected.input.xyz), 10)
    assert torch.equal(kept["targets.0.member_superpoint"], expected.targets.member_superpoint)
    assert two.all(Pupil.checkpoint) == before


def test_an_error_in_one_process_or_its_death_is_told_and_ends_the_others() -> None:
    """Its own, and at once, while the first still waits for it."""
    members: list[int] = []

    def fail() -> None:
        with one_thread(), team(Waiting, 2, "cpu") as waiting:
            members.extend(waiting.all(Waiting.process_id))
            with pytest.raises(InputError) as error:
                waiting.all(Waiting.cannot_read)
            assert str(error.value) == "scene attic has lost 7 bytes."
            assert "in cannot_read" in error.value.__notes__[0]
            os.kill(members[1], signal.SIGKILL)
            waiting.all(Waiting.wait)

    with pytest.raises(RuntimeError, match=r"2 processes .* died .*SIGKILL.* goes on from the last"):
        fail()
    assert len({*members, os.getpid()}) == 3
    assert not any(runs(member) for member in members)


def test_the_processes_of_a_killed_training_end() -> None:
    """One of them in the midst of waiting for the other."""
    program = (
        "import time\nfrom ovseg3r_model.training.processes import team\nfrom tests.unit.waiting_team import Waiting\n"
        "if __name__ == '__main__':\n"
        "    with team(Waiting, 2, 'cpu') as waiting:\n"
        "        print(*waiting.all(Waiting.process_id), flush=True)\n"
        "        waiting.first(Waiting.wait)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        members = [int(member) for member in training.stdout.readline().split()]
        assert len(members) == 2
        assert all(runs(member) for member in members)
        training.kill()
    end = time.monotonic() + 20
    while any(runs(member) for member in members) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(runs(member) for member in members)


def runs(process_id: int) -> bool:
    return Path(f"/proc/{process_id}").exists()


def test_each_process_reads_its_own_part_of_every_batch(tmp_path: Path) -> None:
    scenes = [(name, digest(number)) for number, name in enumerate(("attic", "cellar", "kitchen"), 1)]
    for number, (scene_id, scene_digest) in enumerate(scenes):
        SceneStore(Store.open(tmp_path)).publish(scene(seed=number), scene_id, scene_digest, {}, {})
    dataset = SceneDataset(str(tmp_path), scenes, AugmentSettings(max_points=150), seed=0)

    def points(places: range | None) -> list[list[Any]]:
        batches = scene_batches(dataset, DataSettings(workers=0), 4, range(1, 3), plain_list, places)
        return [[made.input.xyz.tolist() for made in batch] for batch in batches]

    parts = [points(range(first, first + 2)) for first in (0, 2)]
    assert [[len(batch) for batch in part] for part in parts] == [[2, 2], [2, 2]]
    assert [[*first, *second] for first, second in zip(*parts, strict=True)] == points(None)


def test_one_process_is_what_it_was_before_there_could_be_more() -> None:
    """In the settings too, which a training's digest is made of."""
    assert "processes" not in TrainSettings().model_dump(mode="json")
    assert TrainSettings(processes=2).model_dump(mode="json")["processes"] == 2
    with pytest.raises(ValidationError, match=r"batch \(4 scenes\) must be a multiple of processes \(3\)"):
        TrainSettings(processes=3)
    with team(os.getpid, 1, "cpu") as alone:
        assert alone.first(int) == os.getpid()
    assert not torch.distributed.is_initialized()


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="there are so many GPUs")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(InputError, match="2 processes need a GPU each, and this machine has 1"):
        team(Pupil, 2, "cuda").__enter__()
