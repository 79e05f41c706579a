import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from flows.generate_labels import run
from flows.runners import Lost, check_runner, scene_runner
from flows.settings import LabelParameters, Runner
from ovseg3r_model.errors import InputError
from ovseg3r_model.rooms import make_room
from storage.errors import StoreError
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.retrying import STAGE_OPTIONS
from tests.rooms import VOXEL, write_small_room

pytestmark = pytest.mark.usefixtures("prefect_api")


@task
def work(number: int) -> int:
    """The number; 13 is a defect, and 666 ends the process it is in."""
    if number == 13:
        raise ZeroDivisionError
    if number == 666:
        os._exit(1)
    return number


IN_WORK: set[int] = set()
THREE = threading.Barrier(3, timeout=120)


@task
def together(number: int) -> int:
    """How many run at the same time; goes on once three do."""
    IN_WORK.add(number)
    THREE.wait()
    most = len(IN_WORK)
    THREE.wait()
    IN_WORK.remove(number)
    return most


def calls(*numbers: int) -> list[dict[str, Any]]:
    return [{"number": number} for number in numbers]


def test_every_call_comes_to_an_end_and_a_defect_stops_no_other() -> None:
    with scene_runner(2) as runner:
        results = dict(runner.each(work, calls(1, 13, 3, 4, 5)))
    assert isinstance(results[1], Lost)
    assert "ZeroDivisionError" in results[1].message
    assert {n: r for n, r in results.items() if n != 1} == {0: 1, 2: 3, 3: 4, 4: 5}


def test_as_many_run_at_once_as_there_are_workers() -> None:
    with scene_runner(3) as runner:
        assert [most for _, most in runner.each(together, calls(*range(9)))] == [3] * 9


def test_calls_are_taken_as_workers_get_free() -> None:
    taken: list[int] = []

    def given() -> Any:
        for number in range(6):
            taken.append(number)
            yield {"number": number}

    with scene_runner(2) as runner:
        seen = [len(taken) for _ in runner.each(work, given())]
    assert seen[0] <= 4
    assert taken == list(range(6))


def test_results_come_while_there_is_nothing_to_call() -> None:
    """Free places that wait for other machines' scenes keep no result back."""
    told: list[int] = []

    def given() -> Any:
        yield {"number": 1}
        end = time.monotonic() + 60
        while not told:
            assert time.monotonic() < end
            yield 0.01
        yield {"number": 2}

    with scene_runner(2) as runner:
        for number, result in runner.each(work, given()):
            assert result == number + 1
            told.append(number)
    assert told == [0, 1]


def test_a_scene_that_kills_its_process_takes_no_other_with_it() -> None:
    with scene_runner(2, "processes") as runner:
        results = dict(runner.each(work, calls(1, 666, 3, 4)))
    assert isinstance(results[1], Lost)
    assert "died twice" in results[1].message
    assert {n: r for n, r in results.items() if n != 1} == {0: 1, 2: 3, 3: 4}


def test_what_was_set_for_the_workers_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    before = dict(os.environ)
    with scene_runner(1000):
        assert os.environ["OMP_NUM_THREADS"] == "1"
        assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"runner": "processes", "store": "memory://x"}, "only threads share"),
        ({"runner": "threads", "runner_address": "127.0.0.1:8786"}, "only the task runners dask and ray"),
        ({"runner": "dask", "runner_address": "tcp://10.0.0.5:8786"}, "PREFECT_API_URL"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_sentence(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(InputError, match=said):
        check_runner(LabelParameters.model_validate({"sources": ["a"], **given}))


def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'ovseg3r\[dask\]'"):
        check_runner(LabelParameters.model_validate({"sources": ["a"], "runner": "dask"}))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    base = tmp_path_factory.mktemp("rooms")
    made = [write_small_room(make_room(seed), base / str(seed), "tum") for seed in (3, 4)]
    return [str(folder.rename(folder.with_name(f"room-{k}"))) for k, folder in enumerate(made)]


def contents(rooms: list[str], place: Path | str, runner: Runner, workers: int) -> dict[str, str]:
    """The content digest of each published scene."""
    given = {"sources": rooms, "store": str(place), "runner": runner, "workers": workers}
    pipeline = {"reconstruct": {"voxel": VOXEL}, "segment": {"engine": "regions"}}
    results = run(LabelParameters.model_validate(given | {"pipeline": pipeline}))
    store = SceneStore(Store.open(place))
    found = {r.scene_id: store.published(r.scene_id, r.row.digest) for r in results if r.row is not None}
    assert [r.status for r in results] == ["published", "published"]
    return {scene_id: published.content for scene_id, published in found.items() if published is not None}


@pytest.fixture(scope="module")
def from_threads(rooms: list[str], prefect_api: str) -> dict[str, str]:
    return contents(rooms, f"memory://{secrets.token_hex(8)}", "threads", 2)


@pytest.mark.parametrize(("runner", "workers"), [("dask", 2), ("ray", 1)])
def test_scenes_are_the_same_whatever_they_run_on(
    runner: Runner, workers: int, rooms: list[str], from_threads: dict[str, str], tmp_path: Path
) -> None:
    assert contents(rooms, tmp_path, runner, workers) == from_threads
    assert len(from_threads) == 2


@pytest.mark.parametrize(("error", "tries"), [(StoreError("away"), 3), (InputError("bad"), 1), (KeyError("x"), 1)])
def test_a_stage_is_tried_again_where_the_failure_may_pass(error: Exception, tries: int) -> None:
    made: list[int] = []

    @task(name="stub", **STAGE_OPTIONS)
    def stub() -> str:
        made.append(1)
        if len(made) < 3:
            raise error
        return "done"

    @flow
    def line() -> str:
        return stub.with_options(retry_delay_seconds=0)()

    if tries == 3:
        assert line() == "done"
    else:
        with pytest.raises(type(error)):
            line()
    assert len(made) == tries
