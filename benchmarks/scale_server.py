"""What a scene costs the Prefect server: requests, bytes in its database, and how many task runs a second it takes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from benchmarks.scale_store import catalog_row, local_store
from flows.local_server import IDLE_SERVICES, prefect_server
from storage.catalog_rows import CatalogRow
from tests.s3_server import Proxy

STAGES = ("ingest", "segment", "reconstruct", "lift", "superpoints", "publish")
_SETTLING = 8.0  # seconds until the server has written the events it was sent


@dataclass(frozen=True)
class ServerCost:
    """Of a scene: its task and one for each stage, which do nothing. requests: HTTP, without the events, which go by
    one WebSocket. bytes: of an SQLite database. tasks_a_second: of ``workers`` threads, all they could get."""

    scenes: int
    workers: int
    seconds: float
    requests: float
    bytes: float
    tasks_a_second: float


@dataclass(frozen=True)
class _Done:
    scene_id: str
    row: CatalogRow
    status: str = "published"
    seconds: float = 0.0
    message: str = ""
    notes: tuple[str, ...] = ()


def server_cost(scenes: int, workers: int) -> ServerCost:
    """Measured on a private SQLite server, used as a named one is: with artifacts, assets and logs."""
    whole = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "true" for name in IDLE_SERVICES}
    with patch.dict(os.environ, whole), prefect_server():
        os.environ.pop("OVSEG3R_PRIVATE_SERVER", None)
        with _counted() as proxy:
            _run(2, workers)  # what only a first run pays
            before, seconds = _database_bytes(), _run(scenes, workers)
            requests = proxy.requests.total()
            return ServerCost(
                scenes=scenes,
                workers=workers,
                seconds=seconds,
                requests=requests / scenes,
                bytes=(_database_bytes() - before) / scenes,
                tasks_a_second=scenes * (len(STAGES) + 1) / seconds,
            )


@contextmanager
def _counted() -> Iterator[Proxy]:
    """Inside, Prefect's requests go by a proxy that counts them."""
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    port = int(str(PREFECT_API_URL.value()).rpartition(":")[2].split("/")[0])
    with Proxy(port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/api"
        with temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: True}):
            proxy.forget()
            yield proxy


def _run(scenes: int, workers: int) -> float:
    """Seconds of a flow over so many scenes; artifacts and assets as ``generate-labels`` makes them."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    from flows.runners import scene_runner
    from tasks.seen import run_seen

    stages = [task(name=name, cache_policy=NO_CACHE, persist_result=False)(lambda: None) for name in STAGES]

    @task(name="label-scene", cache_policy=NO_CACHE, persist_result=False)
    def label_scene(number: int) -> _Done:
        for stage in stages:
            stage()
        return _Done(f"room-{number:05}", catalog_row(f"room-{number:05}"))

    @flow(name="generate-labels", persist_result=False)
    def generate_labels() -> None:
        calls = ({"number": number} for number in range(scenes))
        with (
            local_store() as store,
            scene_runner(workers) as runner,
            run_seen("generate-labels", store.url, scenes) as seen,
        ):
            for _, done in runner.each(label_scene, calls):
                seen.ended(done)

    start = time.perf_counter()
    generate_labels()
    return time.perf_counter() - start


def _database_bytes() -> int:
    """Once events have been written, and the write-ahead log is empty."""
    import sqlite3

    time.sleep(_SETTLING)
    path = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    with sqlite3.connect(path, timeout=60) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size
