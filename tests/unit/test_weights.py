"""Weights on this machine: what counts as such, and what their digest depends on."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import GroundedSamSettings, Sam3Settings
from ovseg3r_model.weights import KNOWN, content_digest, find, weights_home
from ovseg3r_model.weights.local import MANIFEST, file_sha256
from ovseg3r_model.weights.registry import KnownWeights

SAM = next(entry for entry in KNOWN if entry.name == "sam-vit-base")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SAM with random weights, as save_pretrained writes it. Not to be written to."""
    from tests.tiny_models import save_tiny

    return save_tiny("sam", tmp_path_factory.mktemp("saved") / "sam")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy, to change."""
    return Path(shutil.copytree(saved, tmp_path / "mine"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVSEG3R_WEIGHTS", str(tmp_path / "home"))
    return tmp_path / "home"


def install(saved: Path, entry: KnownWeights = SAM, **changed: str) -> Path:
    """The folder as a fetch leaves it."""
    to = Path(shutil.copytree(saved, weights_home() / entry.name))
    files = {
        path.name: {"size": path.stat().st_size, "sha256": file_sha256(path), "mtime_ns": path.stat().st_mtime_ns}
        for path in to.iterdir()
    }
    value = {"hub_id": entry.hub_id, "revision": entry.revision, "licence": entry.licence, "files": files} | changed
    (to / MANIFEST).write_text(json.dumps(value))
    return to


def shard(folder: Path) -> None:
    """The weights of ``folder`` in two files with an index, as save_pretrained writes large ones."""
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    index["weight_map"]["b"] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copyfile(folder / "model.safetensors", folder / "model-00002-of-00002.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def test_every_known_name_is_pinned_as_far_as_it_is_known() -> None:
    names = [entry.name for entry in KNOWN] + [entry.hub_id for entry in KNOWN]
    assert len(set(names)) == len(names)
    assert {GroundedSamSettings().detector, GroundedSamSettings().sam, Sam3Settings().weights} <= set(names)
    for entry in KNOWN:
        assert entry.revision is None or re.fullmatch("[0-9a-f]{40}", entry.revision)
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in entry.sha256.values())
        assert bool(entry.sha256) == (entry.revision is not None)
        assert entry.bytes > 1e8
        assert entry.licence
        assert entry.purpose
    assert [entry.name for entry in KNOWN if entry.gated] == ["sam3"]


@pytest.mark.parametrize("weights", [SAM.name, SAM.hub_id])
def test_known_weights_are_found_where_a_fetch_leaves_them(saved: Path, weights: str) -> None:
    with pytest.raises(
        InputError, match=r"not on this machine \(375 MB, Apache-2.0\).*: ovseg3r weights fetch sam-vit"
    ):
        find(weights)
    assert find(str(install(saved))) == find(weights) == weights_home() / SAM.name


def test_a_folder_of_ones_own_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(str(folder)) == folder
    monkeypatch.setenv("HOME", str(folder.parent))
    assert find("~/mine") == folder
    shard(folder)
    assert find(str(folder)) == folder


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no \*.safetensors \(safetensors only"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "pytorch_model.bin may run",
        ),
        (lambda folder: (shard(folder), (folder / "model-00002-of-00002.safetensors").unlink()), "00002.* is missing"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("[]"), "is no index"),
        (shutil.rmtree, "neither a folder with weights nor a known name; the names are grounding-dino-tiny, .*, sam3"),
    ],
)
def test_a_folder_without_safe_weights_is_refused(folder: Path, harm: Callable[[Path], object], told: str) -> None:
    harm(folder)
    with pytest.raises(InputError, match=told) as raised:
        find(str(folder))
    assert str(folder) in str(raised.value)


def test_known_weights_count_only_whole_and_at_the_pinned_revision(saved: Path) -> None:
    folder = install(saved)
    (folder / MANIFEST).rename(folder / "aside")
    with pytest.raises(InputError, match="not on this machine"):
        find(SAM.name)
    (folder / "aside").rename(folder / MANIFEST)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(
        InputError, match=r"preprocessor_config.json: is missing or not whole; .*weights fetch sam-vit-base"
    ):
        find(SAM.name)
    shutil.rmtree(folder)
    install(saved, revision="f" * 40)
    with pytest.raises(
        InputError, match=f"at ffffffffffff, but .* at {str(SAM.revision)[:12]} is needed; .* fetch sam-vit"
    ):
        find(SAM.name)


def test_the_digest_is_of_what_decides(folder: Path, tmp_path: Path) -> None:
    before = content_digest(folder)
    assert re.fullmatch("[0-9a-f]{64}", before)
    (folder / "README.md").write_text("# read me")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert content_digest(folder) == before
    assert content_digest(Path(shutil.copytree(folder, tmp_path / "elsewhere"))) == before

    seen = {before}
    for name in ("preprocessor_config.json", "config.json", "model.safetensors"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1] + b" ")
        seen.add(content_digest(folder))
        (folder / name).write_bytes(data)
    (folder / "vocab.txt").write_text("chair")
    seen.add(content_digest(folder))
    (folder / "vocab.txt").rename(folder / "merges.txt")
    seen.add(content_digest(folder))
    (folder / "merges.txt").unlink()
    assert content_digest(folder) == before
    shard(folder)
    seen.add(content_digest(folder))
    assert len(seen) == 7


def test_the_digest_is_cheap_the_second_time(folder: Path, saved: Path) -> None:
    before = content_digest(folder)
    _change_unseen(folder / "model.safetensors")
    assert content_digest(folder) == before  # not read again
    fetched = install(saved)
    _change_unseen(fetched / "model.safetensors")
    assert content_digest(fetched) == before  # not read at all
    os.utime(fetched / "model.safetensors")
    assert content_digest(fetched) != before


def _change_unseen(file: Path) -> None:
    state = file.stat()
    file.write_bytes(bytes(state.st_size))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_the_doctor_says_what_to_fetch(saved: Path) -> None:
    from flows.doctor import learned_engines

    def told() -> dict[str, tuple[bool, str, str]]:
        return {each.what.split()[-1]: (each.good, each.state, each.advice) for each in learned_engines()}

    good, state, advice = told()["grounded-sam"]
    assert (good, state) == (False, "weights here: none")
    assert "ovseg3r weights fetch grounding-dino-tiny sam-vit-base (1,065 MB, Apache-2.0)" in advice
    good, _, advice = told()["sam3"]
    assert not good
    assert re.search("accept the terms at .*facebook/sam3; hf auth login; ovseg3r weights fetch sam3", advice)
    install(saved)
    good, state, advice = told()["grounded-sam"]
    assert (good, state) == (False, "weights here: sam-vit-base")
    assert "fetch grounding-dino-tiny (690 MB" in advice
    install(saved, next(entry for entry in KNOWN if entry.name == "mm-grounding-dino-base"), revision="e" * 40)
    good, state, _ = told()["grounded-sam"]
    assert (good, state) == (True, "weights here: mm-grounding-dino-base, sam-vit-base")


def test_where_fetched_weights_lie(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert weights_home() == home
    monkeypatch.setenv("OVSEG3R_WEIGHTS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weights_home() == Path("/cache/ovseg3r/weights")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert weights_home() == Path("/home/me/.cache/ovseg3r/weights")


def test_a_manifest_that_is_cut_off_counts_as_none(saved: Path) -> None:
    folder = install(saved)
    text = (folder / MANIFEST).read_text()
    for broken in (text[: len(text) // 2], "[]", "{}", '{"files": []}'):
        (folder / MANIFEST).write_text(broken)
        with pytest.raises(InputError, match="not on this machine"):
            find(SAM.name)
