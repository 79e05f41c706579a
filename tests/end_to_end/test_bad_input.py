"""Bad input: exit code 2 and a sentence that names the file, never a traceback."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.end_to_end.conftest import Cli, Finished
from tests.rooms import VOXEL, masks_of

_LARGEST_FILE = 100_000
Run = Callable[..., Finished]


def _empty_folder(target: Path, room: Path) -> Path:
    target.mkdir()
    return target


def _truncated_video(target: Path, room: Path) -> Path:
    video = target.with_suffix(".mp4")
    video.write_bytes(room.with_name("video.mp4").read_bytes()[:3000])
    return video


def _text_as_video(target: Path, room: Path) -> Path:
    video = target.with_suffix(".mp4")
    video.write_text("no video\n")
    return video


def _video_of_a_wall(target: Path, room: Path) -> Path:
    video = target.with_suffix(".mp4")
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for k in range(20):
            wall = np.full((120, 160, 3), 180 + k % 3, np.uint8)
            wall[30:90, 60:110] = 120  # a door, for the 2D engine
            container.mux(stream.encode(av.VideoFrame.from_ndarray(wall, format="rgb24")))
        container.mux(stream.encode())
    return video


def _missing_pose(target: Path, room: Path) -> Path:
    pose = shutil.copytree(room, target) / "frame-000003.pose.txt"
    pose.unlink()
    return pose


def _nan_pose(target: Path, room: Path) -> Path:
    pose = shutil.copytree(room, target) / "frame-000005.pose.txt"
    pose.write_text(pose.read_text().replace(pose.read_text().split()[0], "nan", 1))
    return pose


def _odd_depth(target: Path, room: Path) -> Path:
    depth = shutil.copytree(room, target) / "frame-000004.depth.png"
    cv2.imwrite(str(depth), cv2.imread(str(depth), cv2.IMREAD_UNCHANGED)[:100])
    return depth


def _empty_picture(target: Path, room: Path) -> Path:
    picture = shutil.copytree(room, target) / "frame-000004.color.png"
    picture.write_bytes(b"")
    return picture


def _nothing_there(target: Path, room: Path) -> Path:
    return target


BROKEN: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "empty-folder": (_empty_folder, "is empty"),
    "truncated-video": (_truncated_video, "cut off"),
    "text-as-video": (_text_as_video, "no video"),
    "video-of-a-wall": (_video_of_a_wall, "hardly any texture"),
    "missing-pose": (_missing_pose, "is missing"),
    "nan-pose": (_nan_pose, "NaN"),
    "odd-depth": (_odd_depth, "160x100"),
    "empty-picture": (_empty_picture, "0 bytes"),
    "nothing-there": (_nothing_there, "does not exist"),
}
"""By name: what breaks a copy of the room and gives the path at fault, and what the sentence says of it."""


@pytest.fixture(scope="module")
def verdicts(
    tmp_path_factory: pytest.TempPathFactory, small_rooms: dict[str, Path], prefect_api: str
) -> tuple[Finished, dict[str, Path]]:
    """One run over all broken sources, and the path at fault of each."""
    folder = tmp_path_factory.mktemp("broken")
    at_fault = {name: breaks(folder / name, small_rooms["7scenes"]) for name, (breaks, _) in BROKEN.items()}
    sources = [path if path.suffix == ".mp4" else folder / name for name, path in at_fault.items()]
    return Cli(folder, prefect_api).run(
        "label", *sources, "--segment", "regions", "--store", "store", "--json"
    ), at_fault


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_source_is_named(verdicts: tuple[Finished, dict[str, Path]], name: str) -> None:
    done, at_fault = verdicts
    assert done.code == 2
    assert done.err == ""
    (result,) = (r for r in json.loads(done.out) if r["scene_id"] == name)
    assert result["status"] == "bad-input"
    assert str(at_fault[name]) in result["message"]
    assert BROKEN[name][1] in result["message"]
    assert result["row"] is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--reconstruct", "magic"], "reconstruct.engine"),
        (["--segment", "magic"], "segment.engine"),
        (["--voxel", "-1"], "reconstruct.voxel"),
        (["--voxel", "nan"], "reconstruct.voxel"),
        (["--workers", "0"], "workers"),
        (["--max-views", "1"], "max_views"),
        (["--color-intrinsics", "1,2"], "color_intrinsics"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--config", "unknown.yaml"], "pipeline.voxels"),
        (["--config", "list.yaml"], "list.yaml"),
        (["--config", "broken.yaml"], "broken.yaml"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_starts(
    here: Run, tmp_path: Path, options: list[str], sentence: str
) -> None:
    (tmp_path / "unknown.yaml").write_text("pipeline: {voxels: 1}\n")
    (tmp_path / "list.yaml").write_text("[1, 2]\n")
    (tmp_path / "broken.yaml").write_text("pipeline: {voxels: \n")
    _refused(here("label", "room", *options, "--store", "store"), sentence)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--scene-id", "../outside"], "scene id '../outside' cannot be used"),
        (["--store", "ftp://host/store"], "ftp://host/store: ftp:// cannot hold a store"),
        (["--store", "file/below"], "file/below: the folder cannot be made"),  # root may write anywhere but here
    ],
)
def test_a_run_that_cannot_be_placed_is_refused(
    here: Run, tmp_path: Path, small_rooms: dict[str, Path], options: list[str], sentence: str
) -> None:
    (tmp_path / "file").touch()
    _refused(here("label", small_rooms["tum"], "--segment", "regions", "--store", "store", *options), sentence)


def test_masks_of_other_frames_are_refused(cli: Cli, small_rooms: dict[str, Path]) -> None:
    room = small_rooms["tum"]
    masks = json.loads(Path(masks_of(room)).read_text())
    for image in masks["images"]:
        image["file_name"] = f"other-{image['id']}.png"
    (cli.folder / "other.json").write_text(json.dumps(masks))
    done = cli.run("label", room, "--masks", "other.json", "--voxel", str(VOXEL), "--store", "store")
    assert done.code == 2
    assert "other.json" in done.out
    assert "Traceback" not in done.err


def test_a_full_disk_is_told_and_nothing_is_listed(cli: Cli, small_rooms: dict[str, Path]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))

    store = cli.folder / "store"
    command = ("label", small_rooms["tum"], "--segment", "regions", "--voxel", str(VOXEL), "--store", store, "--json")
    done = cli.run(*command, preexec=limit)
    assert done.code == 2
    assert done.err == ""
    assert f"{store.as_uri()}: no space left" in done.json()[0]["message"]
    assert cli.run("catalog", "--store", store, "--json").json() == []
    left = [path for path in store.rglob("*") if path.is_file()]
    assert left == [store / "failures" / "room-tum.json"]  # the disk has its space back


@pytest.mark.parametrize("command", [["catalog"], ["show", "room"], ["gc"]])
def test_a_store_that_is_not_there_is_not_made(here: Run, tmp_path: Path, command: list[str]) -> None:
    _refused(here(*command, "--store", "nowhere"), "there is no store")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("scene", ["unknown", "../room-7scenes"])
def test_a_scene_that_is_not_listed_is_refused(here: Run, labelled_store: Path, scene: str) -> None:
    _refused(here("show", scene, "--store", labelled_store), scene)


def _refused(done: Finished, sentence: str) -> None:
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert sentence in done.err
    assert done.err.count("\n") == 1
