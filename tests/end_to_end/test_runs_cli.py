"""`ovseg3r status` and `retry` at the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.retry_settings import kept
from flows.settings import NamedSource
from ovseg3r_model.settings import PipelineSettings
from storage.failures import Failure, Failures
from storage.parquet_rows import utc_now
from storage.store import Store
from tests.end_to_end.conftest import Cli, Finished
from tests.rooms import VOXEL


def test_status_counts_and_says_why(
    here: Callable[..., Finished], store: Path, small_rooms: dict[str, Path], tmp_path: Path
) -> None:
    done = here("status", "--store", store, "--json").json()
    assert done["scenes"] == {"done": 1, "running": 0, "failed": 0, "waiting": 0}
    assert [stage["done"] for stage in done["stages"]] == [1] * 6
    assert (done["rest_seconds"], done["failed"], done["running"]) == (0.0, [], [])
    rooms = (small_rooms["7scenes"], small_rooms["tum"])
    asked = here("status", *rooms, "--store", store)
    assert asked.code == 0
    assert "2 scenes: 1 done, 0 running, 0 failed, 1 waiting" in asked.out
    assert "the stages' mean seconds in 1 published scene, one scene at a time" in asked.out
    config = tmp_path / "label.json"
    config.write_text(json.dumps({"pipeline": {"segment": {"engine": "regions"}}, "sources": [str(r) for r in rooms]}))
    exact = here("status", "--config", config, "--store", store, "--json").json()
    assert exact["scenes"]["waiting"] == 2  # with these settings none was labelled
    (tmp_path / "sources.csv").write_text(f"url\n{rooms[0]}\n")
    listed = here("status", "--manifest", tmp_path / "sources.csv", "--store", store, "--json").json()
    assert listed["scenes"]["done"] == 1


def test_what_failed_is_tried_again(
    cli: Cli, here: Callable[..., Finished], small_rooms: dict[str, Path], tmp_path: Path
) -> None:
    room, place = tmp_path / "room", tmp_path / "store"
    given = {"reconstruct": {"voxel": VOXEL}, "segment": {"engine": "regions"}}
    source = NamedSource(str(room), "room", (), PipelineSettings.model_validate(given))
    names: dict[str, Any] = {
        "status": "bad-input",
        "stage": "source",
        "message": f"{room} is not there",
        "when": utc_now(),
    }
    more: dict[str, Any] = {"done": (), "worker": "here:1", "attempt": "a", "digest": None, "key": None}
    Failures(Store.open(place)).record(Failure("room", source.source, parameters=kept(source, None), **names, **more))
    (failed,) = here("status", "--store", place, "--json").json()["failed"]
    assert (failed["scene_id"], str(room) in failed["message"]) == ("room", True)
    assert here("retry", "--store", place).code == 2
    assert "no failure of attic" in here("retry", "--scene", "attic", "--store", place).err
    shutil.copytree(small_rooms["tum"], room)
    (done,) = cli.run("retry", "--failed", "--store", place, "--json").json()
    assert (done["scene_id"], done["status"]) == ("room", "published")
    assert json.loads(done["row"]["settings"])["reconstruct"]["voxel"] == VOXEL
    nothing = here("retry", "--failed", "--store", place)
    assert (nothing.code, nothing.out) == (0, "no scene has failed\n")
