"""What a cluster's server is told, and when a deployed training is due."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows.cluster_processes import answers, check_port, environment
from flows.cluster_settings import ClusterSettings, checked_settings, label_parameters, refuse_secrets
from flows.cluster_state import TOKEN, ClusterState, Process, locked, processes_of, read_state, write_state
from ovseg3r_model.errors import InputError
from storage.catalog import Catalog, ModelCatalog
from storage.model_rows import ModelRow
from storage.model_store import ModelStore
from storage.store import Store
from tests.small_training import publish, viewed
from tests.unit.stored_scenes import digest

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def settings(**given: Any) -> ClusterSettings:
    return checked_settings({"store": "file:///data/store", **given})


def trained_on(store: Store, scenes: dict[str, str], model_id: str = "segmenter") -> None:
    """Publishes a model that says it was trained on these scenes (digest by id)."""
    number = len(ModelCatalog(store).rows(latest_only=False)) + 1
    published = ModelStore(store).publish(model_id, digest(number), {"weights": b"1"}, {"scenes": scenes})
    when = f"2026-01-01T00:00:0{number}.000000Z"
    row = ModelRow(
        model_id,
        published.digest,
        published.uri,
        when,
        "tiny",
        1,
        "minilm",
        1,
        len(scenes),
        "0" * 64,
        1,
        0,
        {},
        1,
        "{}",
    )
    ModelCatalog(store).add(row)


class TestWhenDue:
    """Of ``flows.train_when``, on a store of real scenes."""

    def asked(self, store: Store, at_least: int, wait_minutes: float, after: float = 0.0, **given: Any) -> Any:
        """The answer so many minutes after now."""
        from flows.train_settings import TrainParameters
        from flows.train_when import not_yet

        parameters = TrainParameters.model_validate({"store": store.url, **given})
        return not_yet(store, parameters, at_least, wait_minutes, datetime.now(UTC) + timedelta(minutes=after))

    def test_enough_new_scenes_start_it_and_fewer_wait(self, store: Store) -> None:
        publish(store, "attic", viewed(0), 1, "good")
        publish(store, "cellar", viewed(1), 2, "good")
        waiting = self.asked(store, 3, 60)
        assert waiting.new == 2
        assert "2 new of 3 scenes" in waiting.why
        assert "1 more" in waiting.why
        assert self.asked(store, 2, 60) is None
        publish(store, "hall", viewed(2), 3)
        assert self.asked(store, 3, 60) is None
        assert self.asked(store, 3, 60, scenes={"tags": ["good"]}).new == 2  # the others are not its business

    def test_the_oldest_new_scene_waits_no_longer_than_told(self, store: Store) -> None:
        publish(store, "attic", viewed(0), 1)
        published = datetime.fromisoformat(Catalog(store).rows()[0].published_at)
        assert self.asked(store, 10, 60, after=59).new == 1
        assert f"{published + timedelta(minutes=60):%H:%M:%S} UTC" in self.asked(store, 10, 60, after=59).why
        assert self.asked(store, 10, 60, after=61) is None

    def test_what_the_last_model_was_trained_on_is_not_new(self, store: Store) -> None:
        rows = [publish(store, name, viewed(k), k + 1) for k, name in enumerate(("attic", "cellar"))]
        known = {row.scene_id: row.digest for row in rows}
        trained_on(store, {"attic": known["attic"]})
        assert self.asked(store, 2, 1e6).new == 1
        trained_on(store, known)
        nothing = self.asked(store, 1, 0)
        assert nothing.new == 0
        assert nothing.why == "nothing is new for model segmenter since it was last trained"
        assert self.asked(store, 2, 1e6, model_id="other") is None
        trained_on(store, known | {"attic": "0" * 64})  # the attic was labelled again since
        assert self.asked(store, 2, 1e6).new == 1

    def test_by_hand_nothing_has_to_be_new(self, store: Store) -> None:
        row = publish(store, "attic", viewed(0), 1)
        trained_on(store, {"attic": row.digest})
        assert self.asked(store, 1, 0) is not None
        assert self.asked(store, 0, 0) is None

    def test_held_out_scenes_start_nothing(self, store: Store) -> None:
        publish(store, "attic", viewed(0), 1, "split:val")
        held_out = {"held_out": {"tags": ["split:val"]}}
        assert self.asked(store, 1, 0, **held_out).new == 0
        assert Store.open(store.url).list("catalog-models") == []
        publish(store, "hall", viewed(1), 2)
        assert self.asked(store, 1, 0, **held_out) is None


class TestDeployments:
    """As the server has them, whose forms are drawn from what it is told."""

    @pytest.fixture(scope="class")
    def known(self, prefect_api: str) -> dict[str, Any]:
        """By name, the deployments that ``register`` made; and its automations."""
        from prefect.client.orchestration import get_client

        from flows.cluster_deployments import register

        for _ in range(2):  # the second time nothing doubles
            register(settings())
        return self.read(get_client(sync_client=True))

    def read(self, client: Any) -> dict[str, Any]:
        with client:
            names = ("generate-labels/generate-labels", "train/train")
            found = {name: client.read_deployment_by_name(name) for name in names}
            queues = [queue.name for queue in client.read_work_queues(work_pool_name="ovseg3r")]
            return found | {"queues": sorted(queues), "automations": client.read_automations()}

    def test_the_form_says_what_each_field_is(self, known: dict[str, Any]) -> None:
        schema = known["generate-labels/generate-labels"].parameter_openapi_schema
        definitions = schema["definitions"]
        fields = definitions["LabelParameters"]["properties"]
        assert all(field.get("title") for field in fields.values())
        assert all(field.get("description") or "$ref" in field for field in fields.values())
        assert fields["runner"]["enum"] == ["threads", "processes", "dask", "ray"]
        assert "posed-rgbd" in json.dumps(definitions["ReconstructSettings"]["properties"])
        training = known["train/train"].parameter_openapi_schema
        assert training["properties"]["at_least"]["description"].startswith("So many new scenes")
        fields = training["definitions"]["TrainParameters"]["properties"]
        assert all(field.get("title") and field.get("description") for field in fields.values())

    def test_one_training_at_a_time_and_the_rest_queued(self, known: dict[str, Any]) -> None:
        train = known["train/train"]
        assert train.global_concurrency_limit.limit == 1
        assert train.concurrency_options.collision_strategy == "ENQUEUE"
        assert known["queues"] == ["cpu", "default", "gpu"]

    def test_the_trigger_listens_to_the_dataset(self, known: dict[str, Any]) -> None:
        rules = {rule.name: rule for rule in known["automations"] if rule.name.startswith("ovseg3r")}
        assert len([rule for rule in known["automations"] if rule.name.startswith("ovseg3r")]) == len(rules) == 2
        trigger = rules["ovseg3r: train on new scenes"].trigger
        assert trigger.match.root == {"prefect.resource.id": "file:///data/store/scenes"}
        (action,) = rules["ovseg3r: train on new scenes"].actions
        assert action.schedule_after == trigger.within == timedelta(minutes=1)
        assert "prefect.flow-run.heartbeat" in rules["ovseg3r: runs of dead workers"].trigger.after

    def test_the_yaml_file_says_the_same(self, known: dict[str, Any], prefect_api: str) -> None:
        """``prefect deploy --all``, over what the code registered, changes nothing."""
        from prefect.client.orchestration import get_client

        more = {"OVSEG3R_STORE": "file:///data/store", "OVSEG3R_DATASET": "file:///data/store/scenes"}
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=ROOT,
            env=os.environ | more | {"PREFECT_API_URL": prefect_api},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        after = self.read(get_client(sync_client=True))
        for name in ("generate-labels/generate-labels", "train/train"):
            assert _said(after[name]) == _said(known[name])
        assert _rules(after) == _rules(known)


def _said(deployment: Any) -> dict[str, Any]:
    said: dict[str, Any] = deployment.model_dump(
        mode="json",
        include={
            "name", "description", "entrypoint", "parameters", "parameter_openapi_schema", "work_pool_name",
            "work_queue_name", "tags", "concurrency_options", "pull_steps", "job_variables", "enforce_parameter_schema",
        },
    )  # fmt: skip
    schedules = [
        (each.slug, each.active, each.schedule.model_dump(mode="json", exclude_none=True))
        for each in deployment.schedules
    ]
    limit = deployment.global_concurrency_limit
    return said | {"schedules": schedules, "limit": limit and limit.limit, "pull_steps": said["pull_steps"] or None}


def _rules(known: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(
        (
            {
                "name": rule.name,
                "trigger": rule.trigger.model_dump(mode="json", exclude={"id"}),
                "actions": [action.model_dump(mode="json") for action in rule.actions],
            }
            for rule in known["automations"]
            if rule.name.startswith("ovseg3r")
        ),
        key=lambda rule: rule["name"],
    )


class TestSettings:
    def test_what_a_schedule_needs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match="--source or --manifest"):
            settings(every="0 * * * *")
        given = settings(every="0 * * * *", sources=["films/*.mp4", "s3://bucket/films/*"], label={"workers": 3})
        assert label_parameters(given) == {
            "workers": 3,
            "store": "file:///data/store",
            "skip_failed": True,
            "sources": [f"{tmp_path}/films/*.mp4", "s3://bucket/films/*"],
        }
        assert "sources" not in label_parameters(settings())

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"label": {"workerz": 3}}, "label workerz"),
            ({"training": {"model": {"size": "huge"}}}, "train model.size"),
            ({"port": 0}, "port"),
            ({"at_least": 0}, "at_least"),
        ],
    )
    def test_wrong_values_are_named(self, given: dict[str, Any], told: str) -> None:
        with pytest.raises(InputError, match=told):
            settings(**given)

    def test_a_password_in_a_url_is_refused_and_not_repeated(self) -> None:
        with pytest.raises(InputError) as refused:
            refuse_secrets("https://me:s3cret@host/films/*")
        assert "s3cret" not in str(refused.value)
        assert refuse_secrets("s3://bucket/films/*") == "s3://bucket/films/*"

    def test_only_the_server_learns_where_the_database_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("OVSEG3R_DATABASE", "PREFECT_SERVER_DATABASE_CONNECTION_URL", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "secret")
        monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "7")
        given = environment("http://127.0.0.1:1/api")
        assert [name for name, value in given.items() if value == "secret"] == ["AWS_SECRET_ACCESS_KEY"]
        assert given["PREFECT_WORKER_QUERY_SECONDS"] == "7"
        assert given["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
        assert "127.0.0.1" in given["NO_PROXY"]

    def test_a_taken_port_is_told(self) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(InputError, match=f"127.0.0.1:{port}: the server cannot listen there"):
                check_port(settings(port=port))
        check_port(settings(port=port))
        assert not answers(f"http://127.0.0.1:{port}/api")


class TestState:
    def test_it_is_kept_for_the_user_alone(self, tmp_path: Path) -> None:
        assert read_state(tmp_path) is None
        state = ClusterState(
            settings(every="0 * * * *", sources=["/films/*"]), processes={"server": Process(1, 2.5, "x")}
        )
        write_state(tmp_path, state)
        assert read_state(tmp_path) == state
        assert stat.S_IMODE((tmp_path / "cluster.json").stat().st_mode) == 0o600
        (tmp_path / "cluster.json").write_text("{}")
        with pytest.raises(InputError, match="is no cluster's state"):
            read_state(tmp_path)

    def test_one_command_at_a_time(self, tmp_path: Path) -> None:
        with locked(tmp_path / "new"), pytest.raises(InputError, match="another"), locked(tmp_path / "new"):
            pass
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot be written"), locked(tmp_path / "file"):
            pass

    def test_its_own_processes_are_told_from_others(self, tmp_path: Path) -> None:
        state = ClusterState(settings())
        sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
        own = subprocess.Popen(sleeping, env=os.environ | {TOKEN: state.token}, start_new_session=True)
        other = subprocess.Popen(sleeping, env=os.environ | {TOKEN: "another"})
        try:
            state = state.started("worker", own.pid, tmp_path / "log")
            assert state.alive("worker")
            assert not state.alive("server")
            assert [process.pid for process in processes_of(state.token)] == [own.pid]
            # a number that another process has by now
            stranger = Process(other.pid, psutil.Process(other.pid).create_time(), "log")
            assert not replace(state, processes={"worker": stranger}).alive("worker")
            reused = replace(state.processes["worker"], started=state.processes["worker"].started - 3600)
            assert not replace(state, processes={"worker": reused}).alive("worker")
            own.kill()
            own.wait()
            assert not state.alive("worker")
            assert processes_of(state.token) == []
        finally:
            for process in (own, other):
                process.kill()
                process.wait()


def test_the_yaml_file_is_read_by_others_too() -> None:
    """Names that other files rely on."""
    values = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    assert [each["name"] for each in values["deployments"]] == ["generate-labels", "train"]
    assert {each["work_pool"]["name"] for each in values["deployments"]} == {"ovseg3r"}
