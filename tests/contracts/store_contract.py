"""What every store must do, whatever lies below; a store's tests inherit it and give ``store``."""

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from storage.arrays import FrameWriter, StoredImages, create_array, open_array, read_array, write_array
from storage.catalog import Catalog, ModelCatalog
from storage.model_store import ModelStore, PublishedModel
from storage.scene_store import SceneStore
from storage.stages import Attempt, StageRef, Stages
from storage.store import Store
from tests.unit.stored_scenes import digest, mesh, model_row, row, scene


class StoreContract:
    """Subclasses define the fixture ``store``: an empty, writable Store. commits: that many writers compete for."""

    commits = 20

    def test_put_if_absent_never_overwrites(self, store: Store) -> None:
        assert store.put_if_absent("a/b", b"first")
        assert not store.put_if_absent("a/b", b"second")
        assert store.get("a/b") == b"first"

    def test_what_is_not_there(self, store: Store) -> None:
        assert store.get("nothing/here") is None
        assert store.list("nothing") == []
        store.delete(["nothing/here"])
        store.delete_prefix("nothing")
        with pytest.raises(FileNotFoundError):
            store.open_group("nothing")

    def test_listing_goes_by_folders(self, store: Store) -> None:
        for key in ("a/2", "a/1", "ab/3", "a/deep/4"):
            store.put_if_absent(key, b"12")
        assert [entry.key for entry in store.list("a")] == ["a/1", "a/2", "a/deep/4"]
        assert {entry.size for entry in store.list("a")} == {2}
        store.delete_prefix("a")
        assert [entry.key for entry in store.list("")] == ["ab/3"]

    def test_listing_goes_by_beginnings_of_names(self, store: Store) -> None:
        for key in ("a/x@1", "a/x@2", "a/x-y@1", "a/w", "a/xx@1", "b/x@1", "ab"):
            store.put_if_absent(key, b"1")
        assert [entry.key for entry in store.list_starting("a/x@")] == ["a/x@1", "a/x@2"]
        assert [entry.key for entry in store.list_starting("a")] == ["a/w", "a/x-y@1", "a/x@1", "a/x@2", "a/xx@1", "ab"]
        assert store.list_starting("a/z") == store.list_starting("c/x") == []

    def test_deleting_goes_on_after_a_missing_one(self, store: Store) -> None:
        store.put_if_absent("a", b"")
        store.put_if_absent("c", b"")
        store.delete(["a", "b", "c"])
        assert store.list("") == []

    def test_it_is_writable_and_travels(self, store: Store) -> None:
        store.check_writable()
        assert store.list("") == []
        store.put_if_absent("k", b"v")
        there = pickle.loads(pickle.dumps(store))  # noqa: S301 - how Dask and Ray move arguments; nothing is stored so
        assert there.get("k") == b"v"
        assert Store.open(store.url).get("k") == b"v"

    def test_a_group_leaves_its_parents_alone(self, store: Store) -> None:
        write_array(store.create_group("x/y/g.zarr", {"a": 1}), "deep/array", np.arange(10))
        keys = [entry.key for entry in store.list("")]
        assert all(key.startswith("x/y/g.zarr/") for key in keys)
        group = store.open_group("x/y/g.zarr")
        assert group.attrs["a"] == 1
        assert sorted(group["deep"].array_keys()) == ["array"]  # type: ignore[union-attr]
        np.testing.assert_array_equal(read_array(group, "deep/array"), np.arange(10))
        with pytest.raises(ValueError, match="read-only"):
            open_array(group, "deep/array")[0] = 5

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "uint16", "uint32", "int64", "bool"])
    @pytest.mark.parametrize("length", [0, 1, 300_000])
    def test_arrays_come_back(self, store: Store, dtype: str, length: int) -> None:
        data = (np.arange(length * 2).reshape(length, 2) % 100).astype(dtype)
        group = store.create_group("g")
        write_array(group, "a", data)
        back = read_array(store.open_group("g"), "a")
        assert back.dtype == data.dtype
        np.testing.assert_array_equal(back, data)

    def test_objects_are_refused(self, store: Store) -> None:
        group = store.create_group("g")
        for dtype in (object, "U5", "datetime64[s]"):
            with pytest.raises(TypeError, match="not stored"):
                create_array(group, "a", (3,), dtype)

    def test_frames_are_written_a_shard_at_a_time(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("storage.arrays.SHARD_BYTES", 4 * 6 * 8 * 4)
        frames = np.arange(10 * 6 * 8, dtype=np.uint32).reshape(10, 6, 8) + 1
        array = create_array(store.create_group("g"), "ids", frames.shape, np.uint32, "frames")
        assert (array.chunks, array.shards) == ((1, 6, 8), (4, 6, 8))
        counts = []
        with FrameWriter(array) as writer:
            for frame in frames:
                writer.append(frame)
                counts.append(len(store.list("g/ids/c")))
        assert counts == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
        images = StoredImages(open_array(store.open_group("g"), "ids"))
        assert len(images) == 10
        np.testing.assert_array_equal(np.stack(list(images)), frames)  # type: ignore[call-overload]

    def test_frames_must_fit_and_be_complete(self, store: Store) -> None:
        array = create_array(store.create_group("g"), "ids", (2, 3, 4), np.uint32, "frames")
        with pytest.raises(ValueError, match="a frame is"), FrameWriter(array) as writer:
            writer.append(np.zeros((3, 4), dtype=np.int64))
        with pytest.raises(ValueError, match="1 of 2"), FrameWriter(array) as writer:
            writer.append(np.zeros((3, 4), dtype=np.uint32))
        writer = FrameWriter(array)
        writer.append(np.zeros((3, 4), dtype=np.uint32))
        writer.append(np.zeros((3, 4), dtype=np.uint32))
        with pytest.raises(ValueError, match="more than"):
            writer.append(np.zeros((3, 4), dtype=np.uint32))

    def test_an_attempt_is_invisible_until_committed(self, store: Store) -> None:
        stages = Stages(store)
        killed = stages.begin("lift", digest(1))
        killed.put("half", b"x")
        write_array(killed.group(), "a", np.zeros(3))
        assert stages.committed("lift", digest(1)) is None
        assert stages.digests("lift") == set()
        attempt = stages.begin("lift", digest(1))
        attempt.put("note", b"whole")
        write_array(attempt.group(), "a", np.arange(3))
        stages.commit(attempt, {"points": 3, "share": 0.5}, 1.25)
        ref = stages.committed("lift", digest(1))
        assert ref is not None
        assert (ref.summary, ref.seconds, ref.get("note")) == ({"points": 3, "share": 0.5}, 1.25, b"whole")
        assert (stages.digests("lift"), stages.digests("ingest")) == ({digest(1)}, set())
        np.testing.assert_array_equal(read_array(ref.group(), "a"), np.arange(3))
        with pytest.raises(KeyError):
            ref.get("half")

    def test_a_failed_attempt_is_discarded(self, store: Store) -> None:
        stages = Stages(store)
        for committing in (False, True):
            attempt = stages.begin("lift", digest(1))
            attempt.put("note", b"x")
            with pytest.raises(RuntimeError, match="a defect"), attempt:
                self._fail(stages, attempt, committing)
            assert len(store.list("stages")) == (2 if committing else 0)

    @staticmethod
    def _fail(stages: Stages, attempt: Attempt, committing: bool) -> None:
        if committing:
            stages.commit(attempt, {}, 0.0)
        raise RuntimeError("a defect")

    def test_committing_twice_is_committing_once(self, store: Store) -> None:
        stages = Stages(store)
        attempt = stages.begin("lift", digest(1))
        attempt.put("note", b"x")
        first = stages.commit(attempt, {}, 1.0)
        assert stages.commit(attempt, {}, 2.0) == first
        assert first.get("note") == b"x"

    def test_parts_outlive_an_attempt(self, store: Store) -> None:
        stages = Stages(store)
        assert stages.part("segment", digest(1), "view-0") is None
        assert stages.put_part("segment", digest(1), "view-0", b"ids")
        assert not stages.put_part("segment", digest(1), "view-0", b"other")
        assert stages.part("segment", digest(1), "view-0") == b"ids"
        assert stages.part("segment", digest(2), "view-0") is None
        stages.commit(stages.begin("segment", digest(1)), {}, 0.0)
        assert stages.part("segment", digest(1), "view-0") is None

    def test_one_of_many_writers_wins(self, store: Store) -> None:
        stages, start = Stages(store), threading.Barrier(8)

        def work(writer: int) -> list[StageRef]:
            start.wait()
            return [self._commit(stages, number, writer) for number in range(self.commits)]

        with ThreadPoolExecutor(8) as pool:
            by_writer = list(pool.map(work, range(8)))
        for number in range(self.commits):
            refs = {refs[number].prefix: refs[number] for refs in by_writer}
            assert len(refs) == 1
            (ref,) = refs.values()
            assert ref.get("writer") == str(ref.summary["writer"]).encode()
            assert [e.key for e in store.list(f"stages/s/{digest(number)}")] == [
                *sorted([f"{ref.prefix}/writer", f"stages/s/{digest(number)}/commit.json"])
            ]

    @staticmethod
    def _commit(stages: Stages, number: int, writer: int) -> StageRef:
        attempt = stages.begin("s", digest(number))
        attempt.put("writer", str(writer).encode())
        return stages.commit(attempt, {"writer": writer}, 0.0)

    @pytest.mark.parametrize("bad", ["", "../x", "A", "a/b", "-a", "a" * 65, "a\n", "a b"])
    def test_names_cannot_leave_their_folder(self, store: Store, bad: str) -> None:
        attempt = Stages(store).begin("s", digest(1))
        calls: list[Callable[[], object]] = [
            lambda: SceneStore(store).published(bad, digest(1)),
            lambda: SceneStore(store).published("room", bad),
            lambda: Stages(store).begin(bad, digest(1)),
            lambda: Stages(store).committed("s", bad),
            lambda: row(bad),
            lambda: ModelStore(store).publish(bad, digest(1), {}, {}),
            lambda: ModelStore(store).published("net", bad),
            lambda: model_row(bad),
        ]
        for call in calls:
            with pytest.raises(InputError):
                call()
        for name in ("", "../x", "/x", "a//b", ".hidden", "a/..", "x#1"):
            with pytest.raises(InputError):
                attempt.put(name, b"")
            with pytest.raises(InputError):
                ModelStore(store).publish("net", digest(1), {name: b""}, {})
        assert store.list("") == []

    def test_a_scene_comes_back(self, store: Store) -> None:
        published = SceneStore(store).publish(scene(), "room", digest(1), {"seed": 1}, {"a.png": b"png"})
        stored = SceneStore(store).read("room", digest(1))
        assert stored.published == published
        assert stored.attributes["seed"] == 1
        np.testing.assert_array_equal(stored.scene.superpoint, scene().superpoint)
        assert SceneStore(store).verify("room", digest(1)) == []

    def test_a_mesh_without_views_comes_back(self, store: Store) -> None:
        SceneStore(store).publish(mesh(), "mesh", digest(1), {}, {})
        back = SceneStore(store).read("mesh", digest(1)).scene
        assert (len(back.mask_ids), len(back.instances), back.annotation) == (0, 0, "scene")
        assert back.truth is not None
        np.testing.assert_array_equal(back.truth.instance, np.arange(50) % 3)
        assert SceneStore(store).verify("mesh", digest(1)) == []

    def test_a_model_comes_back(self, store: Store) -> None:
        files = {"model.safetensors": bytes(range(256)), "text/names.json": b"[]"}
        published = ModelStore(store).publish("net", digest(1), files, {"loss": 0.5, "names": ["chair"]})
        model = ModelStore(store).read("net", digest(1))
        assert model == published
        assert {name: model.get(name) for name in model.checksums} == files
        assert model.manifest == {"loss": 0.5, "names": ["chair"]}

    def test_one_of_two_trainers_wins(self, store: Store) -> None:
        start = threading.Barrier(2)

        def work(writer: int) -> list[PublishedModel]:
            start.wait()
            files = {name: f"{writer}".encode() for name in ("a", "b")}
            return [ModelStore(store).publish("net", digest(n), files, {"writer": writer}) for n in range(30)]

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(work, range(2))
        assert first == second
        for number, model in enumerate(first):
            writer = str(model.manifest["writer"]).encode()
            assert (model.get("a"), model.get("b")) == (writer, writer)
            assert len(store.list(f"models/net/{digest(number)}")) == 3

    def test_two_give_tags_at_the_same_time(self, store: Store) -> None:
        catalog, first = Catalog(store), row()
        catalog.add(first)
        with ThreadPoolExecutor(2) as pool:
            given = list(pool.map(lambda tag: catalog.tag(first, [tag]), ["a", "b"]))
            list(pool.map(lambda _: catalog.compact(), range(2)))
        (kept,) = catalog.rows(latest_only=False)
        assert kept == max(given, key=lambda tagged: tagged.tagged_at)

    def test_the_rows_of_one_scene(self, store: Store) -> None:
        catalog = Catalog(store)
        names = ["room", "room-1", "roo", "room", "zoo"]
        rows = [row(name, number) for number, name in enumerate(names)]
        for entry in rows[:3]:
            catalog.add(entry)
        assert catalog.compact(least=4) == 0
        assert catalog.compact(least=3) == 3
        for entry in rows[3:]:
            catalog.add(entry)
        assert catalog.rows_of("room") == [rows[0], rows[3]]
        catalog.remove("room", rows[0].digest)
        assert catalog.rows_of("room") == [rows[3]]
        assert catalog.rows_of("roo") == [rows[2]]
        assert catalog.rows_of("nothing") == []
        assert not catalog.add(rows[2])
        assert catalog.add(rows[0])
        assert catalog.rows_of("room") == [rows[0], rows[3]]

    def test_rows_of_models_survive_a_compaction(self, store: Store) -> None:
        catalog, rows = ModelCatalog(store), [model_row(f"net-{number}") for number in range(5)]
        for entry in rows:
            assert catalog.add(entry)
        assert catalog.compact() == 5
        assert catalog.rows() == rows

    def test_rows_survive_compactions_beside_writers_and_readers(self, store: Store) -> None:
        catalog, writing = Catalog(store), threading.Event()
        catalog.add(row("early"))

        def add(writer: int) -> None:
            for number in range(10):
                assert catalog.add(row(f"room-{writer}-{number}"))

        def compact() -> None:
            while not writing.is_set():
                catalog.compact()

        def read() -> None:
            least = 0
            while not writing.is_set():
                count = len(catalog.rows())
                assert count >= least
                least = count
                assert len(catalog.rows_of("early")) == 1

        with ThreadPoolExecutor(7) as pool:
            others = [pool.submit(compact), pool.submit(compact), pool.submit(read)]
            for future in [pool.submit(add, writer) for writer in range(4)]:
                future.result()
            writing.set()
            for future in others:
                future.result()
        assert len(catalog.rows()) == 41
        catalog.compact()
        assert len(store.list("catalog")) == 1
        assert {r.scene_id for r in catalog.rows()} == {
            "early",
            *(f"room-{w}-{n}" for w in range(4) for n in range(10)),
        }
