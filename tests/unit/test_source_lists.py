"""What sources stand for: paths, URLs, patterns, and the rows of a manifest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.manifest import read_manifest
from flows.settings import LabelParameters, NamedSource, checked, name_scenes
from flows.sources import found_sources
from ovseg3r_model.errors import InputError


def named(**values: Any) -> list[NamedSource]:
    return name_scenes(checked(values))


@pytest.fixture
def memory() -> Any:
    """fsspec's file system in memory, empty."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    return fs


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with recordings/{b,a,B2} and recordings/c[1].mp4."""
    monkeypatch.chdir(tmp_path)
    for name in ("b", "a", "B2"):
        (tmp_path / "recordings" / name).mkdir(parents=True)
    (tmp_path / "recordings" / "c[1].mp4").write_bytes(b"film")
    return tmp_path


def test_a_pattern_stands_for_what_fits_in_order(rooms: Path) -> None:
    base = rooms / "recordings"
    assert found_sources(["recordings/[ab]"]) == [str(base / "a"), str(base / "b")]
    assert [scene.scene_id for scene in named(sources=["recordings/*"])] == ["b2", "a", "b", "c-1"]


def test_a_path_that_exists_is_that_path_whatever_signs_are_in_it(rooms: Path) -> None:
    assert found_sources(["recordings/c[1].mp4"]) == [str(rooms / "recordings" / "c[1].mp4")]
    assert found_sources([f"file://{rooms}/recordings/c%5B1%5D.mp4"]) == [str(rooms / "recordings" / "c[1].mp4")]


def test_what_finds_nothing_or_is_no_place_is_told(rooms: Path) -> None:
    for text, words in {
        "nowhere/*": "nothing fits",
        " ": "is empty",
        "file://other/x": "another machine",
        "gopher://host/*": "gopher",
        "memory://nothing*": "nothing fits",
        "s3://": "names no file",
        "zip://a::https://h/b.zip": "chain",
    }.items():
        with pytest.raises(InputError, match=words) as told:
            found_sources([text])
        assert str(told.value).count("\n") == 0


def test_ids_of_urls_are_those_of_the_same_names_here(memory: Any) -> None:
    memory.pipe({"/set/Küche 1.mp4": b"1", "/set/room.v2/color/1.png": b"2", "/set/hall/1.png": b"3"})
    scenes = named(sources=["memory://set/*"])
    assert [(scene.source, scene.scene_id) for scene in scenes] == [
        ("memory://set/Küche 1.mp4", "kuche-1"),
        ("memory://set/hall", "hall"),
        ("memory://set/room.v2", "room-v2"),
    ]
    assert named(sources=["https://host/a%20room.mp4"])[0].scene_id == "a-room"
    assert named(sources=["s3://bucket/rooms/one/"])[0].source == "s3://bucket/rooms/one"


def test_two_sources_of_one_name_are_refused(rooms: Path) -> None:
    with pytest.raises(InputError, match="would both be scene a"):
        named(sources=["recordings/a", "memory://x/a.mp4"])


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hush@host/a.mp4",
        "https://hush@host/a.mp4",
        "https://host/a.mp4?X-Amz-Signature=hush",
        "https://host/a.mp4?sig=hush",
        "s3://key:hush@bucket/a.mp4",
    ],
)
def test_no_url_may_carry_a_secret(url: str) -> None:
    for values in ({"sources": [url]}, {"manifest": url}, {"sources": ["a"], "store": url}):
        with pytest.raises(InputError, match=r"password or a signature|may hold no") as told:
            checked(values)
        assert "hush" not in str(told.value)
        with pytest.raises(ValueError, match="validation error") as raw:
            LabelParameters.model_validate(values)
        assert "hush" not in str(raw.value)  # Prefect shows this one


def test_something_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"give sources .* or a manifest"):
        checked({})
    monkeypatch.setenv("OVSEG3R_STORE", "s3://bucket/labels")
    assert checked({"manifest": "m.csv"}).store == "s3://bucket/labels"
    monkeypatch.delenv("OVSEG3R_STORE")
    assert checked({"manifest": "m.csv"}).store == "ovseg3r-store"


def as_csv(folder: Path) -> Path:
    path = folder / "set.csv"
    path.write_text(
        "id,url,format,masks,tags\n"
        "007,films/a.mp4,video,masks/{scene_id}.json,kitchen; split:train\n"
        '"","s3://bucket/b, or c.mp4",,,\n'
        "hall,../hall,,s3://bucket/hall.json,\n"
    )
    return path


def as_parquet(folder: Path) -> Path:
    path = folder / "set.parquet"
    columns = {
        "url": ["films/a.mp4", "s3://bucket/b, or c.mp4", "../hall"],
        "tags": [["kitchen", "split:train"], None, []],
        "id": ["007", None, "hall"],
        "format": ["video", None, None],
        "masks": ["masks/{scene_id}.json", None, "s3://bucket/hall.json"],
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_a_manifest_says_what_to_label_and_how(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    scenes = named(manifest=str(write(folder)), tags=["mine"])
    assert [(scene.source, scene.scene_id, scene.tags) for scene in scenes] == [
        (str(folder / "films" / "a.mp4"), "007", ("kitchen", "mine", "split:train")),
        ("s3://bucket/b, or c.mp4", "b-or-c", ("mine",)),
        (str(tmp_path / "hall"), "hall", ("mine",)),
    ]
    masks = [scene.settings.segment.masks for scene in scenes]
    assert masks == [str(folder / "masks" / "007.json"), None, "s3://bucket/hall.json"]
    assert [scene.settings.ingest.source_format for scene in scenes] == ["video", "auto", "auto"]


def test_a_manifest_behind_a_url_names_what_lies_beside_it(memory: Any) -> None:
    memory.pipe("/sets/one/m.csv", b"url,masks\na.mp4,./m/a.json\n../two/b.mp4,\n/data/c.mp4,\n")
    rows = read_manifest("memory://sets/one/m.csv")
    assert [row.source for row in rows] == ["memory://sets/one/a.mp4", "memory://sets/two/b.mp4", "/data/c.mp4"]
    assert rows[0].masks == "memory://sets/one/m/a.json"
    memory.pipe("/sets/m.csv", b"url\n../../b.mp4\n")
    with pytest.raises(InputError, match=r"row 1: .*leads out"):
        read_manifest("memory://sets/m.csv")


def test_sources_and_a_manifest_go_together(rooms: Path) -> None:
    (rooms / "m.csv").write_text("url\nrecordings/b\n")
    assert [scene.scene_id for scene in named(sources=["recordings/a"], manifest="m.csv")] == ["a", "b"]
    with pytest.raises(InputError, match="both be scene b"):
        named(sources=["recordings/b"], manifest="m.csv")
    assert named(manifest="m.csv", scene_id="mine")[0].scene_id == "mine"


def test_masks_of_one_row_are_not_those_of_another(rooms: Path) -> None:
    (rooms / "m.csv").write_text("url,masks\na,one.json\nb,one.json\n")
    with pytest.raises(InputError, match="masks cannot be that of 2"):
        named(manifest="m.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,url,colour\na,b,c\n", "unknown column 'colour'"),
        ("id\na\n", "a column url"),
        ("url,url\na,b\n", "each column once"),
        ("url\n", "no rows"),
        ("", "no CSV or Parquet"),
        ("id,url\na,\n", "row 1: there is no url"),
        ("id,url\na,x\nB!,y\n", "row 2: scene id 'B!'"),
        ("id,url\na,x\nb,y\na,z\n", "rows 1 and 3 are both of scene a"),
        ("url,format\nx,vhs\n", "row 1: the format 'vhs'"),
        ("url,tags\nx,two words\n", "row 1: tag 'two words'"),
        ("url\nx,y\n", "no CSV or Parquet"),
        ("url\nhttps://a:hush@b/c.mp4\n", "row 1: .*password"),
        ("url\n\xff\xfe", "no CSV or Parquet"),
    ],
)
def test_a_wrong_manifest_is_told_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=words) as told:
        read_manifest(str(path))
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)
    assert "hush" not in str(told.value)


def test_a_manifest_of_other_types_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"url": ["a", "b"], "id": [1, 2]}), path)
    with pytest.raises(InputError, match="row 1: id is 1, and no text"):
        read_manifest(str(path))
    pq.write_table(pa.table({"url": ["a"], "tags": [[1]]}), path)
    with pytest.raises(InputError, match="row 1: tags"):
        read_manifest(str(path))
    pq.write_table(pa.table({"url": ["a" * 1000] * 3000}), path)  # a few hundred bytes on the disk
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("flows.manifest.MOST_BYTES", 100_000)
    with pytest.raises(InputError, match="holds more than"):
        read_manifest(str(path))
    (tmp_path / "m.csv").write_text("url\n" + "a" * 100_000)
    with pytest.raises(InputError, match="larger than"):
        read_manifest(str(tmp_path / "m.csv"))
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(str(tmp_path))
