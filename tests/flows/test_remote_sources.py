"""Sources behind URLs through the whole flow."""

import secrets
from pathlib import Path

import fsspec
import pytest

from flows.generate_labels import run
from flows.settings import LabelParameters
from ovseg3r_model.sources import open_recording
from storage.scene_store import SceneStore
from storage.store import Store
from tests.given_reconstructions import write_views
from tests.rooms import VOXEL

pytestmark = pytest.mark.usefixtures("prefect_api")


def labels(source: str, store: str, masks: str) -> LabelParameters:
    pipeline = {"reconstruct": {"voxel": VOXEL}, "segment": {"masks": masks}}
    return LabelParameters.model_validate({"sources": [source], "store": store, "pipeline": pipeline})


def test_a_source_behind_a_url_is_labelled_as_the_same_here(
    small_rooms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVSEG3R_CACHE", str(tmp_path / "cache"))
    room = small_rooms["tum"]
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for file in (p for p in room.rglob("*") if p.is_file()):
        fs.pipe(f"/rooms/{room.name}/{file.relative_to(room).as_posix()}", file.read_bytes())
    fs.pipe("/masks.json", (room.parent / "masks.json").read_bytes())
    store, url = f"memory://{secrets.token_hex(8)}", f"memory://rooms/{room.name}"
    (here,) = run(labels(str(room), f"memory://{secrets.token_hex(8)}", str(room.parent / "masks.json")))
    (there,) = run(labels(url, store, "memory://masks.json"))
    assert here.row is not None
    assert there.row is not None
    assert (there.status, there.scene_id, there.row.source) == ("published", here.scene_id, url)
    assert (there.row.digest, there.row.source_digest) == (here.row.digest, here.row.source_digest)
    assert SceneStore(Store.open(store)).verify(there.scene_id, there.row.digest) == []

    monkeypatch.setenv("OVSEG3R_CACHE", str(tmp_path / "another"))
    (again,) = run(labels(url, store, "memory://masks.json"))
    assert again.status == "unchanged"
    assert not (tmp_path / "another").exists()  # nothing was fetched to find that out

    write_views(tmp_path / "views", open_recording(room))
    for file in (tmp_path / "views").iterdir():
        fs.pipe(f"/views/{file.name}", file.read_bytes())
    part = {"sources": [url], "store": store, "until": "reconstruct"}
    part["pipeline"] = {"reconstruct": {"reconstruction": "memory://views"}, "segment": {"masks": "memory://none.json"}}
    (reconstructed,) = run(LabelParameters.model_validate(part))
    assert reconstructed.status == "reconstructed", reconstructed.message

    bad = fs.cat_file("/masks.json")[:-9]
    fs.pipe("/masks.json", bad)
    (result,) = run(labels(url, store, "memory://masks.json"))
    assert result.status == "bad-input"
    assert "memory://masks.json" in result.message
    assert str(tmp_path) not in result.message
