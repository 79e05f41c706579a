"""Embeddings kept on the disk: never trusted beyond what they are, shared by many processes."""

import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32
from ovseg3r_model.text import TextEncoder, TextSettings, build_text_encoder
from ovseg3r_model.text import cache as cache_module
from ovseg3r_model.text.cache import EmbeddingCache, cache_folder
from tests.conftest import TinyModels


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tiny_models: TinyModels, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models("clip"), tmp_path / "clip"))


def build(folder: Path) -> TextEncoder:
    return build_text_encoder(TextSettings(engine="clip", weights=str(folder)))


def rows(*values: float) -> dict[str, Float32]:
    return {str(value): np.full(3, value, np.float32) for value in values}


def same(found: dict[str, Float32], wanted: dict[str, Float32]) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)


def break_unseen(file: Path) -> None:
    """Another content of the same size and time, which the digest of the weights does not see in this process."""
    state = file.stat()
    file.write_bytes(bytes(state.st_size))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_what_is_in_the_cache_needs_no_network(folder: Path) -> None:
    first = build(folder).encode(["sofa", "tv"])
    break_unseen(folder / "model.safetensors")
    assert build(folder).encode(["tv", "sofa"]).tobytes() == first[::-1].tobytes()
    with pytest.raises(InputError, match="the weights cannot be read"):
        build(folder).encode(["tv", "kettle"])


def test_other_weights_or_templates_are_another_file(folder: Path) -> None:
    settings = TextSettings(engine="clip", weights=str(folder), templates=("{}",))
    for encoder in (build(folder), build_text_encoder(settings), build(folder)):
        encoder.encode(["sofa"])
    assert len(list(cache_folder().iterdir())) == 2


def test_many_names_are_one_file_and_quick_to_read(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((1000, 768)).astype(np.float32)
    wanted = {f"thing {k} – \n": row for k, row in enumerate(table)}
    cache = EmbeddingCache(tmp_path, "some", 768)
    cache.add(dict(list(wanted.items())[:600]))
    cache.add(dict(list(wanted.items())[500:]))
    assert same(cache.read(), wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["some.safetensors"]


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "text", "folder", "other encoder", "other size"])
def test_a_file_that_is_damaged_or_anothers_is_made_anew(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "mine.safetensors"
    cache = EmbeddingCache(tmp_path, "mine", 3)
    cache.add(rows(1, 2))
    content = path.read_bytes()
    if harm in ("other encoder", "other size"):
        encoder, size = ("other", 3) if harm == "other encoder" else ("mine", 4)
        EmbeddingCache(tmp_path / "aside", encoder, size).add({"5": np.ones(size, np.float32)})
        shutil.copyfile(next((tmp_path / "aside").iterdir()), path)
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes({"cut": content[:-5], "flipped": flipped, "empty": b"", "text": b"no tensors" * 9}[harm])
    assert cache.read() == {}
    cache.add(rows(3))
    if harm != "folder":
        assert same(cache.read(), rows(3))


def test_a_file_without_what_is_expected_is_not_used(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "mine", 3)
    cache.add(rows(1))
    path = tmp_path / "mine.safetensors"
    for lacking in ("texts", "embeddings"):
        tensors = load_file(path)
        del tensors[lacking]
        save_file(tensors, path, {"encoder": "mine"})
        assert cache.read() == {}
        cache.add(rows(1))
        assert same(cache.read(), rows(1))


def test_a_file_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MOST", 3)
    cache = EmbeddingCache(tmp_path, "mine", 3)
    cache.add(rows(1, 2))
    cache.add(rows(2, 3))
    assert same(cache.read(), rows(1, 2, 3))
    cache.add(rows(4))
    assert same(cache.read(), rows(4))


def test_a_disk_that_cannot_be_written_is_no_failure(folder: Path, home: Path) -> None:
    home.write_text("a file where the folder should be")
    assert build(folder).encode(["sofa"]).shape == (1, 24)
    assert home.is_file()


def _write(folder: Path, first: int) -> None:
    cache = EmbeddingCache(folder, "mine", 3)
    for k in range(first, first + 60):
        cache.add(rows(k))
        assert all(row.tolist() == [float(text)] * 3 for text, row in cache.read().items())


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, 100 * k)) for k in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    found = EmbeddingCache(tmp_path, "mine", 3).read()
    assert found
    assert all(row.tolist() == [float(text)] * 3 for text, row in found.items())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]
