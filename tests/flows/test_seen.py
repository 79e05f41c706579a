import base64
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import pytest
from markdown_it import MarkdownIt
from prefect import flow, task
from prefect.assets import Asset
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from ovseg3r_model.errors import InputError
from storage.catalog_rows import CatalogRow, row_of
from storage.scene_store import SceneStore
from storage.store import Store
from tasks import limits
from tasks.assets import dataset_asset, model_asset, scene_asset, source_asset
from tasks.limits import create_limits, gpu_limit_name, gpu_slot
from tasks.scene_report import escaped, scene_markdown
from tasks.seen import artifact_key, run_seen, scenes_table
from tasks.server import show_logs
from tests.unit.stored_scenes import digest, scene

WEIRD = [
    "a|b|c",
    "</td><script>alert(1)</script>",
    "**bold** _it_ `code` ~~x~~",
    "# heading\n- item\r\n> quote",
    "[x](javascript:alert(1)) ![p](http://e.vil/p.png)",
    "back\\slash &amp; &lt; \\| ${x}",
    "www.example.com https://example.com a@b.com",
    "椅子 · ｜ ﹤",
]


@dataclass(frozen=True)
class Ended:
    scene_id: str
    status: str
    seconds: float = 1.0
    message: str = ""
    row: CatalogRow | None = None
    notes: tuple[str, ...] = ()


@pytest.fixture
def named(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """The test's server is one that people look at."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    monkeypatch.delenv("OVSEG3R_PRIVATE_SERVER", raising=False)
    logger = logging.getLogger("ovseg3r")
    level = logger.level
    with get_client(sync_client=True) as client:
        yield client
    logger.setLevel(level)
    for handler in [h for h in logger.handlers if isinstance(h, APILogHandler)]:
        logger.removeHandler(handler)


def picture() -> bytes:
    _, data = cv2.imencode(".png", np.full((600, 800, 3), (200, 100, 50), np.uint8))
    return data.tobytes()


def published(store_url: str, scene_id: str) -> CatalogRow:
    made = scene()
    store = SceneStore(Store.open(store_url))
    done = store.publish(made, scene_id, digest(1), {"source_digest": "s"}, {"instances.png": picture()})
    seconds = {"ingest": 1.5, "lift": 0.25}
    row = row_of(done, made, source="/rooms/a b", source_digest="s", timings=seconds, settings={}, engines={})
    return replace(row, label_histogram=dict.fromkeys(WEIRD, 2) | {"chair": 40})


def waited(look: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What ``look`` finds, once it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("text", WEIRD)
def test_any_text_shows_as_it_is(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = reader.parse(f"| label |  |\n|---|---:|\n| {escaped(text)} | 3 |\n")
    cells = [t for t in tokens if t.type == "inline"]
    assert len(cells) == 4
    assert "".join(child.content for child in cells[2].children or []) == " ".join(text.split())
    assert {child.type for child in cells[2].children or []} == {"text"}
    assert not [t for t in tokens if t.type.startswith(("html", "heading", "list", "blockquote"))]


def test_a_scene_is_told_with_its_picture_counts_quality_and_warnings() -> None:
    row = published(f"memory://{secrets.token_hex(8)}", "kitchen_1")
    text = scene_markdown(row, ("half of the <frames> are blurred",), picture())
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert '<td>points</td>\n<td style="text-align:right">200</td>' in shown
    assert '<td>chair</td>\n<td style="text-align:right">40</td>' in shown
    assert '<td>ingest</td>\n<td style="text-align:right">1.5</td>' in shown
    assert "half of the &lt;frames&gt; are blurred" in shown
    assert row.uri in shown
    data = base64.b64decode(text.split("base64,")[1].split(")")[0])
    small = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    assert small.shape == (240, 320, 3)
    assert np.abs(small.astype(int) - (200, 100, 50)).max() < 8
    assert len(text) < 10_000


def test_the_table_sums_what_was_run_now_and_begins_with_what_failed() -> None:
    row = published(f"memory://{secrets.token_hex(8)}", "a")
    outcomes = [
        Ended("old", "unchanged", 0.1, row=row),
        Ended("a", "published", 2.0, row=row),
        Ended("bad", "bad-input", 0.5, "bad: no frames"),
    ]
    table = scenes_table(outcomes)  # type: ignore[arg-type]
    assert [line["scene"] for line in table] == ["all 3", "bad", "a", "old"]
    assert table[0]["status"] == "1 bad-input, 1 published, 1 unchanged"
    assert [line["ingest s"] for line in table] == [1.5, "", 1.5, ""]
    assert (table[0]["seconds"], table[1]["why"]) == (2.6, "bad: no frames")


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("s3://bucket/rooms/", "s3://bucket/rooms/scenes"),
        ("s3://me:secret@bucket/rooms?token=secret#secret", "s3://bucket/rooms/scenes"),
        ("/data/rooms", "file:///data/rooms/scenes"),
        ("file:///data/rooms", "file:///data/rooms/scenes"),
    ],
)
def test_keys_of_assets_carry_no_credentials(place: str, key: str) -> None:
    assert dataset_asset(place) == key
    assert scene_asset(place, "a_b").endswith("/scenes/a_b")
    assert "secret" not in source_asset(place) + model_asset(place, "m")


def test_keys_of_assets_are_prefects_whatever_the_names() -> None:
    names = ["/rooms/my room", "/rooms/my_room", "/rooms/50%", "/rooms/椅子 [1]", "/" + "x" * 900, "/" + "x" * 901]
    keys = [source_asset(name) for name in names]
    assert len(set(keys)) == len(names)
    for key in keys:
        Asset(key=key)  # refuses what Prefect does not take


def test_scenes_pages_have_keys_of_their_own() -> None:
    keys = [artifact_key(name) for name in ("a-b", "a_b", "a")]
    assert keys[0] == "scene-a-b"
    assert len(set(keys)) == 3


def test_a_run_is_seen_in_prefect(named: SyncPrefectClient) -> None:
    store = f"memory://{secrets.token_hex(8)}"
    row = published(store, "hall")

    @flow
    def label() -> None:
        with run_seen("label", store, 3) as seen:
            seen.ended(Ended("hall", "published", row=row, notes=("dark",)))  # type: ignore[arg-type]
            seen.ended(Ended("old", "unchanged", row=row))  # type: ignore[arg-type]
            seen.ended(Ended("bad", "bad-input", message="bad: no frames"))  # type: ignore[arg-type]

    label()
    keys = ArtifactFilter(key=ArtifactFilterKey(any_=["label-progress", "label-scenes", "scene-hall", "scene-old"]))
    found = {artifact.key: artifact for artifact in named.read_artifacts(artifact_filter=keys)}
    assert found.keys() == {"label-progress", "label-scenes", "scene-hall"}
    assert found["label-progress"].data == 100
    assert "3 of 3 scenes: 1 bad-input, 1 published, 1 unchanged." in str(found["label-progress"].description)
    assert "no frames" in str(found["label-scenes"].data)
    assert "data:image/jpeg;base64," in str(found["scene-hall"].data)
    events = waited(lambda: made_events(named, dataset_asset(store)))
    assert [event["payload"] for event in events] == [{"scene_id": "hall", "digest": row.digest}]
    of = {r["prefect.resource.id"] for r in events[0]["related"] if r["prefect.resource.role"] == "asset"}
    assert of == {scene_asset(store, "hall")}


def made_events(client: SyncPrefectClient, key: str) -> list[dict[str, Any]]:
    """The events that announce an asset as made."""
    wanted = {"event": {"name": ["prefect.asset.materialization.succeeded"]}, "resource": {"id": [key]}}
    events: list[dict[str, Any]] = client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"]
    return events


def test_the_log_of_the_stages_is_in_prefect(named: SyncPrefectClient) -> None:
    word = secrets.token_hex(8)

    @task
    def stage() -> None:
        logging.getLogger("ovseg3r.stage").info("stage %s done", word)
        logging.getLogger("ovseg3r.progress").info("step %s", word)

    @flow
    def label() -> None:
        show_logs()
        show_logs()
        stage()

    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
        label()
        logging.getLogger("ovseg3r.stage").info("outside of any run: %s", word)  # no warning, no error
        found = waited(lambda: [log.message for log in named.read_logs() if word in log.message])
    assert found == [f"stage {word} done"]


def test_a_private_server_is_told_nothing(named: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSEG3R_PRIVATE_SERVER", "1")
    before = list(logging.getLogger("ovseg3r").handlers)

    @flow
    def label() -> None:
        with run_seen("nobody-looks", "memory://x", 1) as seen:
            seen.ended(Ended("bad", "failed"))  # type: ignore[arg-type]
        with gpu_slot("cuda:0"):
            pass

    label()
    keys = ArtifactFilter(key=ArtifactFilterKey(any_=["nobody-looks-progress", "nobody-looks-scenes"]))
    assert named.read_artifacts(artifact_filter=keys) == []
    assert logging.getLogger("ovseg3r").handlers == before


def test_a_gpu_without_a_limit_is_refused_with_what_to_do(named: SyncPrefectClient, monkeypatch: Any) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "unlimited")
    with pytest.raises(InputError, match="ovseg3r cluster limits"), gpu_slot("cuda"):
        pass
    with gpu_slot("cpu"), gpu_slot(None):
        pass
    monkeypatch.setenv("OVSEG3R_OWN_GPU", "1")
    with gpu_slot("cuda"):
        pass


def test_a_slot_is_held_while_the_gpu_is_used(named: SyncPrefectClient, monkeypatch: Any) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "two-gpus")
    assert create_limits(4) == create_limits(1) == gpu_limit_name() == "ovseg3r:gpu:two-gpus"

    def active() -> tuple[int, int]:
        limit = named.read_global_concurrency_limit_by_name("ovseg3r:gpu:two-gpus")
        return limit.active_slots, limit.limit

    def work() -> None:
        with gpu_slot("cuda:1"):
            assert active() == (1, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert active() == (0, 1)


def test_who_waits_for_a_slot_gets_it_next_and_complains_of_nothing(
    named: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "one-gpu")
    monkeypatch.setattr(limits, "_LOOK", 0.5)
    create_limits(1)
    heard: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: heard.append(record.getMessage()))
    service = logging.getLogger("prefect._internal.concurrency")
    service.addHandler(handler)

    def wait() -> float:
        with gpu_slot("cuda"):
            return time.monotonic()

    try:
        with ThreadPoolExecutor(1) as pool:
            with gpu_slot("cuda"):
                waiting = pool.submit(wait)
                time.sleep(2.5)
                freed = time.monotonic()
            assert waiting.result(60) > freed
    finally:
        service.removeHandler(handler)
    assert heard == []
