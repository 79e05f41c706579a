"""What single operations on a store cost: seconds, and requests by kind, on a local disk and on an S3 server."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np

from storage.arrays import read_array, write_array
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.claims import Claims
from storage.parquet_rows import key_of, to_parquet
from storage.scene_store import SceneStore
from storage.stages import Stages
from storage.store import Store
from tests.s3_server import Proxy
from tests.unit.stored_scenes import digest, row, scene

_WRITERS = 16


@dataclass(frozen=True)
class Cost:
    """One operation. rows: in the catalog meanwhile. seconds: the median. requests: by kind, a call; none where the
    store is local."""

    store: str
    operation: str
    rows: int
    seconds: float
    requests: dict[str, float]


def store_costs(name: str, store: Store, proxy: Proxy | None, rows: int, runs: int) -> Iterator[Cost]:
    """The operations that a run repeats, before and after the catalog's files were merged. store: empty."""

    def cost(operation: str, call: Callable[[], object], times: int = runs, listed: int = 0) -> Cost:
        if proxy is not None:
            proxy.forget()
        seconds = median(_seconds(call) for _ in range(times))
        requests: Counter[str] = Counter() if proxy is None else proxy.requests
        return Cost(name, operation, listed, seconds, {kind: n / times for kind, n in sorted(requests.items())})

    numbers = count()
    catalog = Catalog(store)
    yield cost("put if absent, 300 bytes", lambda: store.put_if_absent(f"x/{next(numbers)}", bytes(300)))
    yield cost("get, 300 bytes", lambda: store.get("x/0"))
    yield cost("commit a stage of two objects", lambda: _stage(store, next(numbers)))
    yield cost("publish a scene of 25 arrays", lambda: _publish(store, next(numbers)))
    claims = Claims(store)
    yield cost("take a claim and give it back", lambda: _claim(claims, next(numbers)))
    _claims_of_others(store, 100)
    yield cost("look at 100 claims", claims.marks)
    _fill(store, rows)
    for state in ("unmerged", "merged"):
        yield cost(f"list the catalog, {state}", lambda: store.list("catalog"), runs, rows)
        yield cost(f"read all rows, {state}", catalog.rows, 1, rows)
        yield cost(f"read one scene's rows, {state}", lambda: catalog.rows_of("room-00007"), runs, rows)
        yield cost(f"add a row, {state}", lambda: catalog.add(catalog_row(f"new-{next(numbers)}")), runs, rows)
        if state == "unmerged":
            yield cost("merge the catalog (compact)", catalog.compact, 1, rows)


def array_costs(name: str, store: Store, megabytes: int) -> Iterator[tuple[str, str, float]]:
    """(store, what, MB/s) of one array that does not compress well."""
    data = np.random.default_rng(0).integers(0, 1 << 20, megabytes * 250_000, dtype=np.uint32)
    write = _seconds(lambda: write_array(store.create_group("array"), "a", data))
    read = _seconds(lambda: read_array(store.open_group("array"), "a"))
    for what, seconds in (("write", write), ("read", read)):
        yield name, f"{what} an array of {megabytes} MB", data.nbytes / 1e6 / seconds


@contextmanager
def local_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        yield Store.open(Path(folder) / "store")


def catalog_row(scene_id: str) -> CatalogRow:
    """Of the size of a real one: 20 labels, 12 figures, settings of 1.5 kB."""
    return row(
        scene_id,
        settings=f'{{"a": "{scene_id * 150}"}}'[:1500],
        quality={f"figure-{k}": 0.1 * k for k in range(12)},
        label_histogram={f"label {k}": k + 1 for k in range(20)},
    )


def _fill(store: Store, rows: int) -> None:
    """As ``Catalog.add`` would, without its questions."""

    def put(number: int) -> None:
        one = catalog_row(f"room-{number:05}")
        store.put_if_absent(f"catalog/{key_of(one.id, one.digest)}.parquet", to_parquet([one], CatalogRow))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(put, range(rows)))


def _stage(store: Store, number: int) -> None:
    stages = Stages(store)
    attempt = stages.begin("lift", digest(number))
    for name in ("a", "b"):
        attempt.put(name, bytes(1000))
    stages.commit(attempt, {}, 0.0)


def _publish(store: Store, number: int) -> None:
    SceneStore(store).publish(scene(), f"scene-{number}", digest(1), {}, {"a.png": bytes(1000)})


def _claim(claims: Claims, number: int) -> None:
    taken = claims.take(f"scene-{number}")
    assert taken is not None  # noqa: S101 - nobody else is here
    with taken:
        pass


def _claims_of_others(store: Store, workers: int) -> None:
    for number in range(workers):
        claim = Claims(store).take(f"other-{number}")
        assert claim is not None  # noqa: S101 - nobody else is here


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
