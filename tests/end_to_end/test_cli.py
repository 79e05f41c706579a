import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from storage.source_memory import SourceMemory
from storage.stages import Stages
from storage.store import Store
from tests.end_to_end.conftest import Cli, Finished
from tests.rooms import VOXEL, masks_of

COMMANDS = ("label", "reconstruct", "catalog", "show", "gc", "doctor", "demo", "weights")
SCENE = "room-7scenes"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_appears_at_once(offline_cli: Cli, command: str) -> None:
    start = os.times().children_user
    done = offline_cli.run(*([command] if command else []), "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: ovseg3r")
    assert done.err == ""
    assert os.times().children_user - start < 1  # seconds of work, whatever else the machine does
    assert command or all(name in done.out for name in COMMANDS)


def test_catalog_lists_what_was_labelled(offline_cli: Cli, labelled_store: Path, small_rooms: dict[str, Path]) -> None:
    (row,) = offline_cli.run("catalog", "--store", labelled_store, "--json").json()
    assert row["scene_id"] == SCENE
    assert row["source"] == str(small_rooms["7scenes"])
    assert row["views"] == 12
    assert row["points"] > 5000
    assert row["uri"].startswith(labelled_store.as_uri())
    assert Path(row["uri"].removeprefix("file://"), "zarr.json").is_file()
    table = offline_cli.run("catalog", "--store", labelled_store)
    assert table.code == 0
    assert SCENE in table.out
    assert f"{row['points']:,}" in table.out


def test_show_tells_all_of_a_scene_and_writes_its_pictures(offline_cli: Cli, labelled_store: Path) -> None:
    options = ("--store", labelled_store, "--verify", "--pictures", "seen here")
    described = offline_cli.run("show", SCENE, *options, "--json").json()
    assert described["faults"] == []
    assert described["counts"]["views"] == 12
    assert described["labels"]["bed"] == 12
    assert described["settings"]["reconstruct"]["voxel"] == VOXEL
    arrays = {array["name"]: array for array in described["arrays"]}
    assert arrays["masks/ids"]["shape"] == [12, 120, 160]
    assert arrays["points/xyz"]["shape"] == [described["counts"]["points"], 3]
    assert sum(array["stored_bytes"] for array in arrays.values()) < described["bytes"]
    pictures = {Path(path).name.removeprefix(f"{SCENE}-"): path for path in described["pictures"]}
    assert pictures.keys() == {"cloud.png", "superpoints.png", "instances.png", "masks.png"}
    for path in pictures.values():
        with Image.open(offline_cli.folder / path) as picture:
            colors = picture.convert("RGB").getcolors(picture.width * picture.height)
        assert len(colors) > 20  # something is drawn
    text = offline_cli.run("show", SCENE, *options)
    assert text.code == 0
    assert described["content_digest"] in text.out


def test_show_finds_a_damaged_scene(offline_cli: Cli, store: Path) -> None:
    (xyz,) = store.glob("scenes/*/*/*/scene.zarr/points/rgb/c/0/0")
    data = bytearray(xyz.read_bytes())
    data[len(data) // 2] ^= 0xFF
    xyz.write_bytes(data)
    done = offline_cli.run("show", SCENE, "--store", store, "--verify", "--json")
    assert done.code == 1
    assert SCENE in done.json()["faults"][0]


def test_garbage_collection_keeps_what_is_listed(cli: Cli, store: Path, small_rooms: dict[str, Path]) -> None:
    options = ("--store", store, "--older-than", "0", "--intermediates", "--json")
    would = cli.run("gc", *options).json()
    assert would["dry_run"]
    assert would["outputs"] == 5
    assert (store / "stages").is_dir()
    did = cli.run("gc", *options, "--delete").json()
    assert did == {**would, "dry_run": False}
    assert not list((store / "stages").rglob("commit.json"))
    assert cli.run("gc", *options).json()["objects"] == 0
    assert cli.run("show", SCENE, "--store", store, "--verify", "--json").json()["faults"] == []
    room = small_rooms["7scenes"]
    again = cli.run("label", room, "--masks", masks_of(room), "--voxel", str(VOXEL), "--store", store, "--json")
    assert [r["status"] for r in again.json()] == ["unchanged"]
    assert again.err == ""


def test_garbage_collection_forgets_the_way_to_what_is_gone(here: Callable[..., Finished], tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    memory, stages = SourceMemory(store), Stages(store)
    done, gone = "d" * 64, "e" * 64
    stages.commit(stages.begin("reconstruct", done), {}, 1.0)
    memory.put("a" * 64, done)
    memory.put("b" * 64, gone)
    assert here("gc", "--store", "store", "--delete").code == 0
    assert memory.known() == {"a" * 64: done}


def test_doctor_finds_this_machine_fit(offline_cli: Cli) -> None:
    done = offline_cli.run("doctor", "--json")
    findings = {f["what"]: f for f in done.json()}
    assert done.code == 0, done.out
    assert all(f["good"] for f in findings.values() if f["needed"])
    assert {"Python", "Open3D", "Store", "zarr"} <= findings.keys()


def test_doctor_says_what_to_do_about_a_bad_store(here: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = here("doctor", "--store", "file")
    assert done.code == 1
    assert "OVSEG3R_STORE" in done.out


def test_a_configuration_equals_options_and_many_sources_go_on_without_the_broken_one(
    cli: Cli, small_rooms: dict[str, Path], labelled_store: Path
) -> None:
    room, store = small_rooms["7scenes"], cli.folder / "store"
    shutil.copytree(labelled_store, store)
    missing = cli.folder / "missing"
    for scene in (SCENE, "room-tum"):
        shutil.copy(masks_of(room), cli.folder / f"{scene}.json")
    config = {
        "sources": [str(room), str(missing), str(small_rooms["tum"])],
        "workers": 3,
        "pipeline": {"reconstruct": {"voxel": 0.5}, "segment": {"masks": "{scene_id}.json"}},
    }
    (cli.folder / "run.yaml").write_text(yaml.safe_dump(config))
    done = cli.run("label", "--config", "run.yaml", "--voxel", str(VOXEL), "--store", store, "--json")
    results = {r["scene_id"]: r for r in done.json()}
    assert done.code == 1
    assert done.err == ""
    # the options that made the labelled store, told by a file: the same scene, so nothing is to be done
    assert results[SCENE]["status"] == "unchanged"
    assert results["missing"]["status"] == "bad-input"
    assert str(missing) in results["missing"]["message"]
    assert results["room-tum"]["status"] == "published"


def test_a_run_of_its_own_leaves_no_server_and_no_folder_behind(offline_cli: Cli, small_rooms: dict[str, Path]) -> None:
    temporary = offline_cli.folder / "tmp"
    temporary.mkdir()
    offline_cli = replace(offline_cli, more={"TMPDIR": str(temporary)})
    command = ("label", small_rooms["tum"], "--segment", "regions", "--voxel", str(VOXEL))
    killed = offline_cli.start(*command)
    server = _server_of(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    _wait_until(lambda: not Path(f"/proc/{server}").exists() and not list(temporary.iterdir()))

    running = offline_cli.start(*command, "--store", "store")
    server = _server_of(running.pid)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert "room-tum" in out
    assert "Traceback" not in err
    assert not Path(f"/proc/{server}").exists()
    assert list(temporary.iterdir()) == []


def test_what_is_done_is_told_without_a_server(
    offline_cli: Cli, labelled_store: Path, small_rooms: dict[str, Path]
) -> None:
    room, cache = small_rooms["7scenes"], offline_cli.folder / "cache"
    offline_cli = replace(offline_cli, more={"XDG_CACHE_HOME": str(cache)})  # where a server leaves its database
    options = ("--masks", masks_of(room), "--voxel", str(VOXEL), "--store", labelled_store)
    done = offline_cli.run("label", room, *options, "--json")
    (result,) = done.json()
    assert (result["status"], result["row"]["scene_id"], done.err) == ("unchanged", SCENE, "")
    assert not list(cache.rglob("prefect*"))


def test_ctrl_c_says_that_the_run_can_be_continued(cli: Cli, small_rooms: dict[str, Path]) -> None:
    store = cli.folder / "store"
    running = cli.start("label", small_rooms["tum"], "--segment", "regions", "--voxel", "0.004", "--store", store)
    _wait_until(lambda: bool(list(store.glob("stages/ingest/*/commit.json"))))
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert err.endswith("stopped; the same command goes on where it was\n")
    assert "Traceback" not in err
    assert cli.run("catalog", "--store", store, "--json").json() == []


def test_the_store_can_be_named_by_the_environment(offline_cli: Cli, labelled_store: Path) -> None:
    named = replace(offline_cli, more={"OVSEG3R_STORE": str(labelled_store)})
    done = named.run("catalog", "--json")
    assert [row["scene_id"] for row in done.json()] == [SCENE]


def _server_of(parent: int) -> int:
    """The Prefect server that a run has started."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    found: list[int] = []

    def look() -> bool:
        found[:] = [int(pid) for pid in children.read_text().split() if _is_server(int(pid))]
        return bool(found)

    _wait_until(look)
    time.sleep(1)  # so that it is at work
    return found[0]


def _is_server(pid: int) -> bool:
    return b"flows.local_server" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "that did not happen in time"
        time.sleep(0.02)
