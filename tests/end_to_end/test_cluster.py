"""A cluster on this machine, as people run it: up, a deployment's run, a training that starts by itself, down."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cluster_state import ClusterState, processes_of, read_state
from storage.catalog import Catalog, ModelCatalog
from storage.model_store import ModelStore
from storage.store import Store
from tests.end_to_end.conftest import Cli, Finished
from tests.rooms import VOXEL, write_small_room
from tests.small_training import SETTINGS

QUICK = {
    # a small machine's patience, not a cluster's
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
    "OMP_NUM_THREADS": "1",
}
SECONDS = 240  # on a busy machine; a tenth of it on a quiet one


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Cli]:
    """``ovseg3r`` in a folder of its own; whatever a test leaves running there is ended."""
    yield Cli(tmp_path, None, QUICK)
    state = read_state(tmp_path / "cluster") if (tmp_path / "cluster").is_dir() else None
    for process in [] if state is None else processes_of(state.token):
        process.kill()


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three rooms, each a recording, with their masks beside them."""
    from ovseg3r_model.rooms import make_room

    folder = tmp_path / "recordings"
    folder.mkdir()
    for seed in range(3):
        made = write_small_room(make_room(seed), tmp_path / str(seed), "scannet")
        made.rename(folder / f"room-{seed}")
        made.with_name("masks.json").rename(folder / f"room-{seed}.json")
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def state_of(machine: Cli) -> ClusterState:
    state = read_state(machine.folder / "cluster")
    assert state is not None
    return state


def until(ready: Callable[[], Any], log: Path) -> Any:
    """What ``ready`` answers once that is something."""
    end = time.monotonic() + SECONDS
    while not (answer := ready()):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    return answer


def test_from_up_to_a_model_and_down(machine: Cli, recordings: Path) -> None:
    store = Store.open(machine.folder / "store")
    training = {"model_id": "net", "model": SETTINGS, "schedule": {"data": {"workers": 0}}}
    (machine.folder / "train.yaml").write_text(yaml.safe_dump(training), encoding="utf-8")
    cluster = ("--folder", "cluster")
    chosen = ("--at-least", "3", "--wait-minutes", "5", "--train-config", "train.yaml")
    done = machine.run("cluster", "up", *cluster, "--store", "store", "--port", str(free_port()), *chosen)
    assert done.code == 0, done.err
    state = state_of(machine)
    assert state.settings.api.removesuffix("/api") in done.out
    again = machine.run("cluster", "up", *cluster)
    assert "runs already" in again.out, again.err

    parameters = {
        "sources": [f"{recordings}/room-?"],
        "store": store.url,
        "pipeline": {"reconstruct": {"voxel": VOXEL}, "segment": {"masks": f"{recordings}/{{scene_id}}.json"}},
    }
    started = deployment_run(machine, "generate-labels/generate-labels", {"parameters": parameters})
    assert started.returncode == 0, started.stdout + started.stderr
    log = machine.folder / "cluster" / "worker.log"
    until(lambda: len(Catalog(store).rows()) == 3, log)
    # nobody asks for a training
    (row,) = until(lambda: ModelCatalog(store).rows(), log)
    trained_on = ModelStore(store).read(row.model_id, row.digest).manifest["scenes"]
    assert row.model_id == "net"
    assert trained_on == {scene.scene_id: scene.digest for scene in Catalog(store).rows()}

    running = processes_of(state.token)
    assert len(running) >= 2
    ended = machine.run("cluster", "down", *cluster)
    assert "processes have ended" in ended.out, ended.err
    assert not any(process.is_running() for process in running)
    assert machine.run("cluster", "status", *cluster).code == 1


def deployment_run(machine: Cli, name: str, parameters: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    """``prefect deployment run``, in a shell that has sourced what ``up`` wrote."""
    command = f'. cluster/env.sh && exec "{sys.executable}" -m prefect deployment run {name} --params "$PARAMETERS"'
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=machine.folder,
        env=machine.environment | {"PARAMETERS": json.dumps(parameters), "PREFECT_HOME": str(machine.folder / "home")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--store", "http://host/store"), "cannot hold a store"),
        (("--store", "store", "--folder", "file/cluster"), "cannot be written"),
        (("--store", "store", "--every", "0 * * * *"), "--source or --manifest"),
        (
            ("--store", "store", "--every", "0 * * * *", "--source", "https://a:s3cret@b/*"),
            "a password does not belong",
        ),
        (("--store", "store", "--database", "mysql://a:s3cret@b/c"), "postgresql+asyncpg://"),
        (("--store", "store", "--database", "postgresql+asyncpg://a:s3cret@127.0.0.1:9/c"), "127.0.0.1:9/c"),
        (("--store", "store", "--train-config", "typo.yaml"), "train model.sizze"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_started(
    here: Callable[..., Finished], tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "typo.yaml").write_text("model: {sizze: tiny}\n")
    done = here("cluster", "up", "--port", str(free_port()), *options)
    assert done.code == 2
    assert told in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "s3cret" not in done.err + done.out
    assert not list(tmp_path.glob("**/cluster.json"))


def test_without_a_cluster_or_a_server_it_is_said(
    here: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("down", "status"):
        assert "there was never a cluster here" in here("cluster", command).err
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for command in ("limits", "worker", "deploy"):
        assert "set PREFECT_API_URL" in here("cluster", command).err
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    assert "no Prefect server answers there" in here("cluster", "limits").err


def test_a_taken_port_is_told(here: Callable[..., Finished]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = here("cluster", "up", "--store", "store", "--port", str(taken.getsockname()[1]))
    assert done.code == 2
    assert "the server cannot listen there" in done.err
