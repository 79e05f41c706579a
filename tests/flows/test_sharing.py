"""Many processes over one list of scenes; what failed, and another try at it."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter

from flows import retry
from flows.generate_labels import generate_labels, run
from flows.retry_settings import RetryParameters
from flows.scenes import SceneResult
from flows.settings import LabelParameters
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import SegmentSettings
from storage.catalog import Catalog
from storage.claims import CLAIMS, Claims
from storage.failures import Failures
from storage.store import Store
from tasks.progress import Progress, listening
from tests.rooms import VOXEL

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def parameters(sources: list[Path], store: Store, **more: Any) -> LabelParameters:
    pipeline = {"reconstruct": {"voxel": VOXEL}, "segment": {"engine": "regions"}}
    given = {"sources": [str(source) for source in sources], "store": store.url, "pipeline": pipeline}
    return LabelParameters.model_validate(given | more)


def soon(what: Callable[[], Any], seconds: float = 300.0) -> Any:
    """What is asked for, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


def tasks_of(given: LabelParameters) -> int:
    """Runs the flow; the tasks that it took."""
    state = generate_labels(given, return_state=True)
    with get_client(sync_client=True) as client:
        flow_run = FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
        return len(client.read_task_runs(flow_run_filter=flow_run))


def statuses(results: list[SceneResult]) -> dict[str, str]:
    return {result.scene_id: result.status for result in results}


def test_two_runs_at_once_do_each_scene_once(small_rooms: dict[str, Path], store: Store) -> None:
    rooms = [small_rooms[layout] for layout in ("tum", "scannet")]
    seen: list[Progress] = []
    with listening(seen.append), ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run(parameters(rooms, store)), range(2)))
    ended = Counter((event.scene_id, event.stage) for event in seen if event.done == event.total)
    assert set(ended.values()) == {1}
    assert len(ended) == 6 * len(rooms)
    for scene in (room.name for room in rooms):
        assert sorted(statuses(results)[scene] for results in both) == ["published", "unchanged"]
    assert [[r.source for r in results] for results in both] == [[str(room) for room in rooms]] * 2
    assert store.list(CLAIMS) == []
    assert tasks_of(parameters(rooms, store)) == 0  # they are known to be done without a look into them


LABEL = """
import os, signal, sys
from flows.generate_labels import run
from flows.settings import LabelParameters
from tasks.progress import listening

def halt(event):
    if event.stage == "segment":
        os.kill(os.getpid(), signal.SIGSTOP)

with listening(halt):
    run(LabelParameters.model_validate_json(sys.argv[1]))
"""


def test_a_scene_whose_worker_is_killed_is_taken_up_where_it_was(
    small_rooms: dict[str, Path], store: Store, prefect_api: str
) -> None:
    """The other process halts first, which looks like a long stage: meanwhile the scene is left to it."""
    mine, other = small_rooms["scannet"], small_rooms["tum"]
    given = parameters([other], store).model_dump_json()
    environment = os.environ | {"PREFECT_API_URL": prefect_api}
    seen: list[Progress] = []
    with (
        subprocess.Popen([sys.executable, "-c", LABEL, given], env=environment) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            soon(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
            with listening(seen.append):
                results = pool.submit(run, parameters([other, mine], store))
                soon(lambda: Catalog(store).rows())
                assert not results.done()
                process.kill()
                assert statuses(results.result()) == {"room-tum": "published", "room-scannet": "published"}
        finally:
            process.kill()
    assert [(e.scene_id, e.stage) for e in seen if e.reused and e.stage == "ingest"] == [("room-tum", "ingest")]
    assert store.list(CLAIMS) == []


def test_what_fails_with_another_worker_is_not_tried_once_more(store: Store, tmp_path: Path) -> None:
    (first,) = run(parameters([tmp_path / "missing"], store))
    (record,) = Failures(store).all()
    assert (first.status, record.status, record.stage) == ("bad-input", "bad-input", "source")
    claim = Claims(store).take("missing")
    assert claim is not None
    with ThreadPoolExecutor(1) as pool:
        with claim:
            results = pool.submit(run, parameters([tmp_path / "missing", tmp_path / "later"], store))
            soon(lambda: Failures(store).of("later"))  # so it has left the other
            Failures(store).record(replace(record, message="found empty there", worker="there:1", attempt="another"))
        second, _ = results.result()
    assert (second.status, second.message) == ("bad-input", "found empty there (found by there:1)")


def test_what_failed_is_skipped_until_it_changes_and_is_tried_again_on_request(
    small_rooms: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(small_rooms["7scenes"], broken)
    pose = broken / "frame-000004.pose.txt"
    content = pose.read_text()
    pose.unlink()
    given = parameters([broken], store)
    assert statuses(run(given)) == {"broken": "bad-input"}
    leaving = given.model_copy(update={"skip_failed": True})
    (skipped,) = run(leaving)
    assert tasks_of(leaving) == 0
    assert tasks_of(given) == 2  # the scene's, and the ingest's that fails
    assert (skipped.status, str(pose) in skipped.message) == ("skipped", True)
    assert statuses(retry.run(RetryParameters(store=store.url))) == {"broken": "bad-input"}
    pose.write_text(content)
    assert statuses(retry.run(RetryParameters(store=store.url, scenes=("broken",)))) == {"broken": "published"}
    assert Failures(store).all() == []
    (row,) = Catalog(store).rows()
    assert '"voxel":0.05' in row.settings
    assert retry.run(RetryParameters(store=store.url)) == []


def test_a_queue_may_stop_after_the_reconstruction(small_rooms: dict[str, Path], store: Store, tmp_path: Path) -> None:
    given = parameters([small_rooms["tum"]], store)
    missing = given.pipeline.model_copy(update={"segment": SegmentSettings(masks=str(tmp_path / "masks.json"))})
    early = {"until": "reconstruct", "pipeline": missing}
    assert statuses(run(given.model_copy(update=early))) == {"room-tum": "reconstructed"}
    first = given.model_copy(update={"until": "reconstruct"})
    assert tasks_of(first) == 0  # masks or not, the source is not read again
    whole = given.model_copy(update={"pipeline": missing, "skip_failed": True})
    assert statuses(run(whole)) == {"room-tum": "bad-input"}
    assert statuses(run(given.model_copy(update=early | {"skip_failed": True}))) == {"room-tum": "unchanged"}
    assert list(Failures(store).marks()) == ["room-tum"]  # that it got so far is no excuse
    seen: list[Progress] = []
    with listening(seen.append):
        assert statuses(run(given)) == {"room-tum": "published"}
    assert {event.stage for event in seen if event.reused} == {"ingest", "reconstruct"}
    assert Failures(store).all() == []
    assert [result.row is not None for result in run(first)] == [True]


def test_work_is_split_among_runs_of_a_deployment_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = parameters([tmp_path / "missing"], store, split=3)
    with pytest.raises(InputError, match="set workers instead"):
        run(given)
    name = secrets.token_hex(4)
    deployment = generate_labels.to_deployment(name).apply(work_pool_name=None)
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(deployment))
    state = generate_labels(given, return_state=True)
    assert state.name == "Failed"
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id={"any_": [deployment]}))
    assert [r.parameters["parameters"]["split"] for r in found] == [1, 1]
    assert {r.parameters["parameters"]["store"] for r in found} == {store.url}
