"""How far things are, counted on a store whose content is known."""

import secrets
from pathlib import Path

import pytest

from flows.display_runs import show_status
from flows.retry_settings import kept, to_retry
from flows.settings import LabelParameters, NamedSource, name_scenes
from flows.status import StoreStatus, status_of_sources, status_of_store
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings
from storage.catalog import Catalog
from storage.claims import Claims
from storage.failures import Failure, Failures
from storage.parquet_rows import utc_now
from storage.stages import Stages
from storage.store import Store
from tasks.plan import plan
from tests.unit.stored_scenes import digest, row

SECONDS = {"ingest": 1.0, "reconstruct": 4.0, "segment": 8.0, "lift": 1.0, "superpoints": 2.0, "publish": 2.0}


@pytest.fixture
def store() -> Store:
    return Store.open(f"memory://{secrets.token_hex(8)}")


def failure(scene_id: str, stage: str, done: tuple[str, ...], **settings: object) -> Failure:
    source = NamedSource(f"/rooms/{scene_id}", scene_id, ("kitchen",), PipelineSettings.model_validate(settings))
    return Failure(
        scene_id, source.source, "bad-input", stage, done, f"{source.source}: no depth", utc_now(), "here:7", "t",
        None, None, kept(source, None),
    )  # fmt: skip


def counts(found: StoreStatus) -> dict[str, tuple[int, int, int, int]]:
    return {s.stage: (s.done, s.running, s.failed, s.waiting) for s in found.stages}


def test_a_store_is_counted_by_stage(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    half = {stage: seconds / 2 for stage, seconds in SECONDS.items()}
    Catalog(store).add(row("a", 1, source="/rooms/a", timings=SECONDS))
    Catalog(store).add(row("b", 2, source="/rooms/b", timings=half))
    for scene_id, stage, done in (("x", "segment", ("ingest",)), ("y", "source", ())):
        Failures(store).record(failure(scene_id, stage, done))
    first, second = (Claims(store).take(scene_id) for scene_id in ("c", "d"))
    assert first is not None
    assert second is not None
    with first, second:
        first.at("reconstruct", ("ingest", "segment"))
        second.at("source")
        while {holder.stage for holder in Claims(store).holders()} != {"reconstruct", "source"}:
            pass
        found = status_of_store(store)
    assert [(s.scene_id, s.state) for s in found.scenes] == [
        ("a", "done"), ("b", "done"), ("c", "running"), ("d", "running"), ("x", "failed"), ("y", "failed"),
    ]  # fmt: skip
    assert counts(found) == {
        "ingest": (4, 1, 1, 0),
        "reconstruct": (2, 1, 0, 1),
        "segment": (3, 0, 1, 1),
        "lift": (2, 0, 0, 2),
        "superpoints": (2, 0, 0, 2),
        "publish": (2, 0, 0, 2),
    }
    # means are three quarters of SECONDS; c needs reconstruct, lift, superpoints and publish, d everything; two workers
    assert found.rest_seconds == pytest.approx(0.75 * ((4 + 1 + 2 + 2) + 18) / 2, abs=0.06)
    assert "2 published scenes" in found.rests_on
    assert "2 at a time" in found.rests_on
    show_status(found)
    told = capsys.readouterr().out
    assert "failed: x (segment, here:7): /rooms/x: no depth" in told
    assert "running: c (reconstruct, " in told
    assert found.plain()["scenes"] == {"done": 2, "running": 2, "failed": 2, "waiting": 0}


def test_nothing_is_known_of_how_long_the_first_scenes_take(store: Store) -> None:
    claim = Claims(store).take("a")
    assert claim is not None
    with claim:
        found = status_of_store(store)
    assert (found.rest_seconds, found.count("running")) == (None, 1)


def test_given_sources_are_looked_for_by_their_settings_or_by_name(store: Store, small_rooms: dict[str, Path]) -> None:
    recording = small_rooms["tum"]
    given = {"sources": [str(recording), "/rooms/x", "/rooms/b"], "pipeline": {"segment": {"engine": "regions"}}}
    sources = name_scenes(LabelParameters.model_validate(given))
    digests = plan(recording, "room-tum", sources[0].settings).digests
    for stage in ("ingest", "reconstruct"):  # as a queue of machines without a GPU leaves it
        stages = Stages(store)
        stages.commit(stages.begin(stage, digests[stage]), {}, 1.0)
    Catalog(store).add(row("b", 2, source="/rooms/b", timings=SECONDS))  # with other settings
    Failures(store).record(failure("x", "lift", ("ingest", "reconstruct", "segment"), segment={"engine": "regions"}))
    exact = status_of_sources(store, sources, exact=True)
    assert {s.scene_id: s.state for s in exact.scenes} == {"room-tum": "waiting", "x": "failed", "b": "waiting"}
    assert counts(exact)["reconstruct"] == (2, 0, 0, 1)
    assert counts(exact)["segment"] == (1, 0, 0, 2)
    assert counts(exact)["lift"] == (0, 0, 1, 2)
    by_name = status_of_sources(store, sources, exact=False)
    assert {s.scene_id: s.state for s in by_name.scenes} == {"room-tum": "waiting", "x": "failed", "b": "done"}
    assert by_name.rest_seconds == 18.0
    Catalog(store).add(row("room-tum", 3, digest=digests["publish"], source=str(recording), timings=SECONDS))
    assert digests["publish"] != digest(3)
    assert status_of_sources(store, sources, exact=True).count("done") == 1


def test_what_failed_is_found_again_with_its_settings(store: Store) -> None:
    Failures(store).record(failure("x", "lift", (), segment={"engine": "regions", "min_area": 33}))
    Failures(store).record(failure("y", "lift", ()))
    ((source, until),) = to_retry(store, ("x",)).labels
    assert (source.source, source.scene_id, source.tags, until) == ("/rooms/x", "x", ("kitchen",), None)
    assert source.settings.segment.min_area == 33
    assert len(to_retry(store, ())) == 2
    with pytest.raises(InputError, match="no failure of z"):
        to_retry(store, ("x", "z"))
    older = failure("x", "lift", ())
    older.parameters["settings"]["no such setting"] = 1
    Failures(store).record(older)
    with pytest.raises(InputError, match="label /rooms/x again"):
        to_retry(store, ("x",))
