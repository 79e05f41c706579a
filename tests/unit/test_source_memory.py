"""What a store remembers of sources, and under what key: it may forget, but never take what changed for done."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

import tasks.known_source
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings
from storage.source_memory import SourceMemory
from storage.store import Store
from tasks.known_source import memory_keys, same_files
from tests.unit import small_recordings
from tests.unit.mask_files import document

A, B, C = (letter * 64 for letter in "abc")


@pytest.fixture(params=["local", "memory"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> SourceMemory:
    url = str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path}"
    return SourceMemory(Store.open(url))


def test_what_is_put_is_known_also_to_others(memory: SourceMemory) -> None:
    assert (memory.known(), memory.get(A)) == ({}, None)
    memory.put(A, C)
    memory.put(A, C)
    memory.put(B, C)
    again = SourceMemory(Store.open(memory.store.url))
    assert (again.known(), again.get(A), again.get(C)) == ({A: C, B: C}, C, None)


def test_a_key_that_led_to_two_scenes_decides_nothing(memory: SourceMemory) -> None:
    memory.put(A, B)
    memory.put(A, C)
    assert memory.get(A) is None


def test_what_is_not_listed_any_more_is_forgotten(memory: SourceMemory) -> None:
    memory.put(A, B)
    memory.put(B, C)
    memory.store.put_if_absent("source-memory/another-thing", b"")
    assert memory.keep_only({C}) == 1
    assert memory.known() == {B: C}


def test_only_digests_can_be_put(memory: SourceMemory) -> None:
    for key, digest in ((A, "../x"), ("x", A)):
        with pytest.raises(InputError, match="hex digits"):
            memory.put(key, digest)


def given(folder: Path, **segment: Any) -> PipelineSettings:
    masks = folder / "masks.json"
    if not masks.exists():
        masks.parent.mkdir(exist_ok=True)
        masks.write_text(str(document()))
    return PipelineSettings.model_validate({"segment": {"masks": str(masks), **segment}})


def key(source: Path, settings: PipelineSettings, scene_id: str = "s") -> str:
    (made,) = memory_keys([(str(source), scene_id, settings)])
    assert made is not None
    assert len(made) == 64
    return made


def touched(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


def test_the_key_changes_with_all_that_decides_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_recordings.seven_scenes(tmp_path / "room")
    settings = given(tmp_path / "masks")
    positions = tmp_path / "positions.csv"
    positions.write_text("name,x,y,z\n")
    measured = settings.model_copy(
        update={"reconstruct": settings.reconstruct.model_copy(update={"scale_from": f"positions:{positions}"})}
    )
    assert key(source, settings) == key(source, settings)
    changes: list[Callable[[], str]] = [
        lambda: key(source, settings),
        lambda: key(source, settings, "t"),
        lambda: key(source, given(tmp_path / "masks", min_area=26)),
        lambda: key(source, settings.model_copy(update={"seed": 1})),
        lambda: key(source, measured),
        lambda: str(memory_keys([(str(source), "s", settings)], "scene")[0]),
    ]
    seen = {change() for change in changes}
    assert len(seen) == len(changes)
    for path, asked in (
        (source / "frame-000001.color.png", settings),
        (tmp_path / "masks" / "masks.json", settings),
        (positions, measured),
    ):
        assert path.is_file()
        touched(path)
        now = key(source, asked)
        assert now not in seen
        seen.add(now)
    monkeypatch.setitem(tasks.known_source.STAGE_VERSIONS, "lift", 99)
    assert key(source, settings) not in seen


def test_up_to_the_reconstruction_nothing_counts_that_only_labels_hang_on(tmp_path: Path) -> None:
    source = small_recordings.seven_scenes(tmp_path / "room")
    settings = given(tmp_path / "masks")
    lacking = PipelineSettings.model_validate({"segment": {"engine": "sam3", "sam3": {"weights": "/no"}}})
    finer = settings.model_copy(update={"reconstruct": settings.reconstruct.model_copy(update={"voxel": 0.01})})

    def early(asked: PipelineSettings) -> str | None:
        return memory_keys([(str(source), "s", asked)], until="reconstruct")[0]

    first = early(settings)
    assert first is not None
    assert first == early(given(tmp_path / "masks", min_area=26)) == early(lacking)
    touched(tmp_path / "masks" / "masks.json")
    assert early(settings) == first
    assert same_files(first, str(source), settings, "reconstruct")
    assert len({first, early(finer), key(source, settings)}) == 3
    touched(source / "frame-000001.color.png")
    assert early(settings) != first
    assert not same_files(first, str(source), settings, "reconstruct")


def test_the_files_beside_the_index_of_a_reconstruction_count(tmp_path: Path) -> None:
    source = small_recordings.seven_scenes(tmp_path / "room")
    index = small_recordings.nerfstudio(tmp_path / "made") / "transforms.json"
    settings = given(tmp_path / "masks")
    with_it = settings.model_copy(
        update={"reconstruct": settings.reconstruct.model_copy(update={"reconstruction": str(index)})}
    )
    before = key(source, with_it)
    touched(sorted(p for p in index.parent.rglob("*") if p.is_file() and p != index)[0])
    assert key(source, with_it) != before


def test_what_cannot_be_told_has_no_key(tmp_path: Path) -> None:
    source = small_recordings.seven_scenes(tmp_path / "room")
    settings = given(tmp_path / "masks")
    nothing_to_segment = PipelineSettings.model_validate({"segment": {"engine": "sam3", "sam3": {"weights": "/no"}}})
    asked = [
        (str(tmp_path / "nowhere"), "a", settings),
        (str(source), "b", nothing_to_segment),
        ("memory://nowhere/at/all", "c", settings),
        ("gopher://x/y", "d", settings),
        (str(source), "e", settings),
    ]
    keys = memory_keys(asked)
    assert [one is None for one in keys] == [True, True, True, True, False]


def test_what_changes_while_it_is_labelled_is_not_remembered(tmp_path: Path) -> None:
    source = small_recordings.seven_scenes(tmp_path / "room")
    settings = given(tmp_path / "masks")
    before = key(source, settings)
    assert same_files(before, str(source), settings)
    touched(tmp_path / "masks" / "masks.json")
    assert not same_files(before, str(source), settings)
    assert same_files(key(source, settings), str(source), settings)
    (source / "more.txt").write_text("")
    assert not same_files(before, str(source), settings)
    assert not same_files(before, str(tmp_path / "nowhere"), settings)


def test_sources_and_masks_behind_urls_have_keys(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pipe({"/room/1.png": b"1", "/m.json": b"{}"})
    settings = PipelineSettings.model_validate({"segment": {"masks": "memory://m.json"}})

    def now() -> str | None:
        return memory_keys([("memory://room", "s", settings)])[0]

    seen = {now(), now()}
    fs.pipe("/m.json", b"[]")
    seen.add(now())
    fs.pipe("/room/2.png", b"1")
    seen.add(now())
    assert len(seen) == 3
    assert None not in seen


def test_weights_and_words_that_change_change_the_key(tmp_path: Path) -> None:
    """Though the settings name nothing but their places."""
    source = small_recordings.pictures(tmp_path / "room")
    for name in ("detector", "sam"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"):
            (tmp_path / name / file).write_text("{}")
    words = tmp_path / "words.txt"
    words.write_text("chair\n")
    weights = {name: str(tmp_path / name) for name in ("detector", "sam")}
    settings = PipelineSettings.model_validate({"segment": {"vocabulary": str(words), "grounded_sam": weights}})
    seen = {key(source, settings), key(source, settings)}
    (tmp_path / "sam" / "model.safetensors").write_text("others")
    seen.add(key(source, settings))
    words.write_text("mug\n")
    seen.add(key(source, settings))
    assert len(seen) == 3


def test_a_thousand_sources_are_decided_on_in_seconds(tmp_path: Path) -> None:
    """One listing of the store, and the states of the files; docs/sources.md says what 5,000 took."""
    store = Store.open(tmp_path / "store")
    memory = SourceMemory(store)
    settings = given(tmp_path / "masks")
    asked = []
    for number in range(1000):
        film = tmp_path / f"{number}.mp4"
        film.write_bytes(b"film")
        asked.append((str(film), f"s{number}", settings))
    keys = memory_keys(asked)
    assert len(set(keys)) == 1000
    for made in keys:
        memory.put(str(made), A)
    start = time.perf_counter()
    known = memory.known()
    assert all(known.get(str(made)) == A for made in memory_keys(asked))
    assert time.perf_counter() - start < 5
