import os
import pickle
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ovseg3r_model.errors import InputError
from storage.catalog import Catalog, ModelCatalog
from storage.garbage import collect_garbage
from storage.model_rows import ModelRow
from storage.model_store import ModelStore
from storage.parquet_rows import schema_of
from storage.store import Store
from tests.unit.stored_scenes import digest, model_row, row

FILES = {"model.safetensors": b"weights", "config.json": b"{}", "text/vocabulary.txt": b"chair\n"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def age(store: Store) -> None:
    past = time.time() - 48 * 3600
    for path in Path(store.root or "").rglob("*"):
        if path.is_file():
            os.utime(path, (past, past))


def test_publishing_again_writes_nothing(store: Store) -> None:
    first = ModelStore(store).publish("net", digest(1), FILES, {"steps": 1})
    before = store.list("")
    assert ModelStore(store).publish("net", digest(1), {"other": b""}, {}) == first
    assert store.list("") == before
    assert first.total_bytes == sum(len(data) for data in FILES.values())
    assert first.uri == f"{store.url}/{first.prefix}"
    assert pickle.loads(pickle.dumps(first)).get("config.json") == b"{}"  # noqa: S301 - as it goes to other processes


def test_lost_and_damaged_files_are_said(store: Store) -> None:
    model = ModelStore(store).publish("net", digest(1), FILES, {})
    key = f"{model.prefix}/model.safetensors"
    store.delete([key])
    with pytest.raises(InputError, match="is lost"):
        model.get("model.safetensors")
    store.put_if_absent(key, b"weightz")
    with pytest.raises(InputError, match="not what was published"):
        ModelStore(store).read("net", digest(1)).get("model.safetensors")
    assert model.get("config.json") == b"{}"
    with pytest.raises(KeyError):
        model.get("commit.json")


def test_what_cannot_be_stored_leaves_nothing(store: Store) -> None:
    models = ModelStore(store)
    with pytest.raises(InputError, match="model id"):
        models.publish("Net", digest(1), FILES, {})
    with pytest.raises(InputError, match="object name"):
        models.publish("net", digest(1), {"../x": b""}, {})
    with pytest.raises(ValueError, match="not a number"):
        models.publish("net", digest(1), FILES, {"loss": float("nan")})
    with pytest.raises(InputError, match="no model net"):
        models.read("net", digest(1))
    assert store.list("") == []


KILLED = """
import os, sys
from storage.model_store import ModelStore
from storage.store import Store
from tests.unit.stored_scenes import digest

class Dying(Store):
    def put_if_absent(self, key, data):
        if key.endswith("commit.json"):
            os._exit(9)
        return super().put_if_absent(key, data)

opened = Store.open(sys.argv[1])
ModelStore(Dying(opened.backend, opened.url, opened.root)).publish("net", digest(1), {"a": b"1", "b": b"2"}, {})
"""


def test_a_kill_between_files_and_marker_leaves_only_garbage(store: Store) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.root)], timeout=60, check=False)
    assert done.returncode == 9
    left = [entry.key for entry in store.list("models")]
    assert [key.rsplit("/", 1)[1] for key in left] == ["a", "b"]
    assert ModelStore(store).published("net", digest(1)) is None
    model = ModelStore(store).publish("net", digest(1), FILES, {})
    assert model.get("model.safetensors") == b"weights"
    assert collect_garbage(store, 24, dry_run=False).objects == 0
    age(store)
    report = collect_garbage(store, 24, dry_run=False)
    assert (report.leftovers, report.models, report.objects) == (1, 0, 2)
    assert ModelStore(store).read("net", digest(1)).get("text/vocabulary.txt") == b"chair\n"


def test_gc_takes_models_that_a_newer_one_replaced(store: Store) -> None:
    models, listed = ModelStore(store), ModelCatalog(store)
    for number in (1, 2):
        models.publish("net", digest(number), FILES, {})
        listed.add(model_row(number=number, created_at=f"2026-01-0{number}T00:00:00.000000Z"))
    models.publish("other", digest(3), FILES, {})  # complete, its row is still to come
    age(store)
    assert collect_garbage(store, 24, dry_run=False).objects == 0
    told = collect_garbage(store, 24, superseded=True)
    assert len(listed.rows(latest_only=False)) == 2
    report = collect_garbage(store, 24, superseded=True, dry_run=False)
    assert replace(told, dry_run=False) == report
    assert (report.models, report.scenes, report.objects) == (1, 0, 4)
    assert [r.digest for r in listed.rows(latest_only=False)] == [digest(2)]
    assert models.published("net", digest(1)) is None
    assert models.read("net", digest(2)).get("config.json") == b"{}"
    assert models.published("other", digest(3)) is not None


def test_rows_of_models_come_back(store: Store) -> None:
    entry = model_row()
    assert ModelCatalog(store).add(entry)
    assert not ModelCatalog(store).add(entry)
    assert ModelCatalog(store).rows() == [entry]
    table = pq.read_table(next(Path(store.root or "").rglob("*.parquet")))
    assert table.schema.equals(schema_of(ModelRow))
    assert set(table.schema.names) == set(asdict(entry))


def test_the_two_tables_do_not_meet(store: Store) -> None:
    scene, models = row("net"), [model_row(number=number) for number in (1, 2)]
    Catalog(store).add(scene)
    for model in models:
        ModelCatalog(store).add(model)
    ModelCatalog(store).compact()
    Catalog(store).compact()
    ModelCatalog(store).remove("net", digest(2))
    assert Catalog(store).rows() == [scene]
    assert ModelCatalog(store).rows() == [models[0]]


@pytest.mark.parametrize("bad", [{"model_id": "A"}, {"digest": "x"}, {"created_at": "2026-01-01"}])
def test_a_row_refuses_what_it_cannot_hold(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"cannot be used|hex digits|not written like"):
        model_row(**bad)
