import io
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow, row_of
from storage.garbage import GcReport, collect_garbage
from storage.parquet_rows import from_parquet, schema_of, to_parquet, utc_now
from storage.scene_store import SceneStore
from storage.stages import Stages
from storage.store import Store
from tests.unit.stored_scenes import digest, row, scene


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def publish(store: Store, number: int, published_at: str | None = None) -> CatalogRow:
    base = scene()
    published = SceneStore(store).publish(base, "room", digest(number), {}, {})
    entry = row_of(
        published,
        base,
        source="s",
        source_digest="d",
        timings={"lift": 1.0},
        settings={"b": 1},
        engines={},
        published_at=published_at,
    )
    Catalog(store).add(entry)
    return entry


def test_rows_come_back(store: Store) -> None:
    entry = row()
    assert Catalog(store).add(entry)
    assert Catalog(store).rows() == [entry]
    table = pq.read_table(next(Path(store.root or "").rglob("*.parquet")))
    assert table.schema.equals(schema_of(CatalogRow))
    assert set(table.schema.names) == set(asdict(entry))
    assert table.column("tags").to_pylist() == [["kitchen", "split:train"]]


def test_adding_twice_adds_nothing_even_after_a_compaction(store: Store) -> None:
    catalog, entry = Catalog(store), row()
    assert catalog.add(entry)
    assert not catalog.add(replace(entry, published_at=utc_now(), source="later"))
    catalog.add(row("other"))
    assert catalog.compact() == 2
    assert not catalog.add(replace(entry, published_at=utc_now(), source="later"))
    assert [r.source for r in catalog.rows(latest_only=False)] == ["a test", "a test"]


def test_latest_is_by_time_of_publishing(store: Store) -> None:
    catalog = Catalog(store)
    times = ["2026-01-02T00:00:00.000000Z", "2026-01-03T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"]
    for number, published_at in enumerate(times):
        catalog.add(row(number=number, published_at=published_at))
    catalog.add(row("other"))
    assert [(r.scene_id, r.published_at) for r in catalog.rows()][1] == ("room", times[1])
    assert len(catalog.rows()) == 2
    assert len(catalog.rows(latest_only=False)) == 4


def test_compacting_again_changes_nothing(store: Store) -> None:
    catalog = Catalog(store)
    assert catalog.compact() == 0
    for number in range(3):
        catalog.add(row(f"room-{number}"))
    before = catalog.rows()
    assert catalog.compact() == 3
    assert catalog.rows() == before
    assert catalog.compact() == 0
    catalog.add(row("room-3"))
    assert catalog.compact() == 2
    assert len(catalog.rows()) == 4


def test_a_killed_compaction_loses_and_doubles_nothing(store: Store) -> None:
    catalog = Catalog(store)
    for number in range(3):
        catalog.add(row(f"room-{number}"))
    small = {entry.key: store.get(entry.key) for entry in store.list("catalog")}
    catalog.compact()
    for key, data in small.items():  # as if killed before it deleted them
        store.put_if_absent(key, data or b"")
    assert len(catalog.rows(latest_only=False)) == 3
    assert catalog.compact() == 3


def test_a_late_compaction_does_not_bring_a_removed_row_back(store: Store) -> None:
    catalog = Catalog(store)
    catalog.add(row(number=1))
    catalog.add(row(number=2))
    late = {entry.key: store.get(entry.key) for entry in store.list("catalog")}
    catalog.remove("room", digest(1))
    for key, data in late.items():
        store.put_if_absent(key, data or b"")
    assert [r.digest for r in catalog.rows(latest_only=False)] == [digest(2)]
    assert catalog.add(row(number=1))
    assert len(catalog.rows(latest_only=False)) == 2
    assert catalog.rows()[0].digest == digest(1)


def test_a_removed_row_in_a_compacted_file_can_be_listed_again(store: Store) -> None:
    catalog = Catalog(store)
    for number in (1, 2):
        catalog.add(row(number=number))
    catalog.compact()
    catalog.remove("room", digest(1))
    assert len(catalog.rows(latest_only=False)) == 1
    again = row(number=1, source="again")
    assert catalog.add(again)
    assert catalog.rows() == [again]
    catalog.compact()
    assert catalog.rows() == [again]


def test_a_foreign_file_is_named(store: Store) -> None:
    store.put_if_absent("catalog/x.parquet", b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        Catalog(store).rows()


def test_a_row_refuses_other_times() -> None:
    with pytest.raises(ValueError, match="not written like"):
        row(published_at="2026-01-01 00:00:00")


@pytest.mark.parametrize("tag", ["", "Kitchen", "a b", "-x", "ä", "a" * 65, "split/train", "a\n"])
def test_a_row_refuses_other_tags(tag: str) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        row(tags=("kitchen", tag))


def test_a_newer_programs_column_is_left_out() -> None:
    entry = row()
    table = pq.read_table(io.BytesIO(to_parquet([entry, entry], CatalogRow)))
    sink = io.BytesIO()
    pq.write_table(table.append_column("mood", [["good", "bad"]]), sink)
    assert from_parquet(sink.getvalue(), CatalogRow, "x") == [entry, entry]


def test_other_tags_take_the_place_of_the_first(store: Store) -> None:
    catalog, first, second = Catalog(store), row(number=1), row(number=2)
    catalog.add(first)
    catalog.add(second)
    tagged = catalog.tag(first, ["b", "a", "b"])
    assert (tagged.tags, tagged.published_at) == (("a", "b"), first.published_at)
    for _ in range(2):  # before a compaction and after
        assert catalog.rows(latest_only=False) == [tagged, second]
        assert catalog.rows() == [second]  # older settings stay the older ones
        catalog.compact()
    assert not catalog.add(first)
    again = catalog.tag(tagged, [])
    assert catalog.rows(latest_only=False) == [again, second]


def test_a_late_compaction_does_not_bring_old_tags_back(store: Store) -> None:
    catalog, first = Catalog(store), row()
    catalog.add(first)
    catalog.add(row("other"))
    catalog.compact()
    late = {entry.key: store.get(entry.key) for entry in store.list("catalog")}
    tagged = catalog.tag(first, ["new"])
    catalog.compact()
    for key, data in late.items():
        store.put_if_absent(key, data or b"")
    assert catalog.rows()[1] == tagged
    catalog.remove(first.scene_id, first.digest)
    assert [r.scene_id for r in catalog.rows(latest_only=False)] == ["other"]


def age(store: Store, hours: float = 48) -> None:
    """Makes everything in the store look as if it was written that long ago."""
    past = time.time() - hours * 3600
    for path in Path(store.root or "").rglob("*"):
        if path.is_file():
            os.utime(path, (past, past))


def messy(store: Store) -> None:
    """A store with one of everything: listed, unlisted, committed, killed and half-written."""
    stages, scenes = Stages(store), SceneStore(store)
    killed = stages.begin("lift", digest(1))
    killed.put("x", b"12345")
    stages.put_part("segment", digest(1), "view-0", b"ids")
    done = stages.begin("fuse", digest(1))
    done.put("x", b"ok")
    stages.commit(done, {}, 0.0)
    beaten = stages.begin("fuse", digest(1))
    beaten.put("x", b"late")
    publish(store, 1, "2026-01-01T00:00:00.000000Z")
    publish(store, 2, "2026-01-02T00:00:00.000000Z")
    scenes.publish(scene(), "unlisted", digest(3), {}, {})
    scenes.write(scene(), {}, {}, f"scenes/half/{digest(4)}/0123456789abcdef")
    root = store.root or Path()
    (root / "catalog" / "x.parquet#1").write_bytes(b"123")
    (root / "a foreign file.txt").write_bytes(b"")


def test_gc_takes_what_nobody_can_see(store: Store) -> None:
    messy(store)
    age(store)
    report = collect_garbage(store, 24, dry_run=False)
    assert report == GcReport(2, 1, 0, 0, 0, 1, 1, report.objects, report.bytes, False)
    assert Stages(store).committed("fuse", digest(1)) is not None
    assert SceneStore(store).published("unlisted", digest(3)) is not None
    assert len(Catalog(store).rows(latest_only=False)) == 2
    for number in (1, 2):
        assert SceneStore(store).verify("room", digest(number)) == []
    assert store.list("scenes/half") == []
    root = store.root or Path()
    assert (root / "a foreign file.txt").exists()
    assert not list(root.rglob("*#1"))
    assert collect_garbage(store, 24, dry_run=False).objects == 0


def test_gc_leaves_what_is_young(store: Store) -> None:
    messy(store)
    assert collect_garbage(store, 24, intermediates=True, superseded=True, dry_run=False).objects == 0
    age(store)
    Stages(store).put_part("segment", digest(1), "view-1", b"ids")  # its stage has gone on
    assert collect_garbage(store, 24, dry_run=False).parts == 0
    assert Stages(store).part("segment", digest(1), "view-0") == b"ids"


def test_a_dry_run_tells_and_touches_nothing(store: Store) -> None:
    messy(store)
    age(store)
    before = store.list("")
    told = collect_garbage(store, 24, intermediates=True, superseded=True)
    assert store.list("") == before
    assert len(Catalog(store).rows(latest_only=False)) == 2
    done = collect_garbage(store, 24, intermediates=True, superseded=True, dry_run=False)
    assert replace(told, dry_run=False) == done
    assert done.bytes > 1000


def test_gc_of_intermediates_and_superseded(store: Store) -> None:
    messy(store)
    age(store)
    report = collect_garbage(store, 24, intermediates=True, superseded=True, dry_run=False)
    assert (report.outputs, report.scenes) == (1, 1)
    assert store.list("stages") == []
    assert [r.digest for r in Catalog(store).rows(latest_only=False)] == [digest(2)]
    assert SceneStore(store).published("room", digest(1)) is None
    assert SceneStore(store).verify("room", digest(2)) == []
    publish(store, 1)  # the old settings again
    assert Catalog(store).rows()[0].digest == digest(1)


def test_a_scene_superseded_just_now_stays_for_its_readers(store: Store) -> None:
    publish(store, 1, "2026-01-01T00:00:00.000000Z")
    publish(store, 2)
    age(store)
    assert collect_garbage(store, 24, superseded=True, dry_run=False).scenes == 0
    assert len(Catalog(store).rows(latest_only=False)) == 2


def test_gc_finishes_what_a_killed_gc_began(store: Store) -> None:
    publish(store, 1, "2026-01-01T00:00:00.000000Z")
    publish(store, 2, "2026-01-02T00:00:00.000000Z")
    Catalog(store).remove("room", digest(1))  # and killed before the data went
    age(store)
    assert collect_garbage(store, 24, dry_run=False).scenes == 1
    assert store.list(f"scenes/room/{digest(1)}") == []
