"""What is wrong in a folder of pointmaps is said in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Recording
from tests.given_reconstructions import view_of, write_index, write_views
from tests.unit.imported_reconstruction.judged import reconstruct


def spoilt(change: Any) -> Any:
    """A test's case: the first view with ``change`` made to its arrays."""

    def spoil(folder: Path, room: Recording) -> None:
        view = view_of(room, 0)
        change(view)
        np.savez(folder / f"{room.names[0]}.npz", **view)

    return spoil


def renamed(folder: Path, room: Recording) -> None:
    for k, name in enumerate(room.names):
        (folder / f"{name}.npz").rename(folder / f"view{'abcdefgh'[k]}.npz")


def linked_out(folder: Path, room: Recording) -> None:
    file = folder / f"{room.names[0]}.npz"
    file.rename(folder.parent / "elsewhere.npz")
    file.symlink_to(folder.parent / "elsewhere.npz")


BAD = {
    "no points": (spoilt(lambda v: v.pop("points")), "has no array points"),
    "no pose": (spoilt(lambda v: v.pop("world_from_camera")), "has no array world_from_camera"),
    "flat points": (spoilt(lambda v: v.update(points=v["points"].reshape(-1, 3))), r"has the shape \(6912, 3\)"),
    "other confidence": (spoilt(lambda v: v.update(confidence=np.ones((3, 4)))), r"confidence has the shape \(3, 4\)"),
    "3x4 pose": (spoilt(lambda v: v.update(world_from_camera=np.eye(4)[:3])), r"shape \(3, 4\), not \(4, 4\)"),
    "pickle": (spoilt(lambda v: v.update(confidence=np.full((72, 96), None))), "holds no plain numbers"),
    "scaled pose": (spoilt(lambda v: v.update(world_from_camera=2 * v["world_from_camera"])), "last row|not rigid"),
    "sheared": (spoilt(lambda v: v.update(world_from_camera=np.diag([1.5, 1, 1, 1]))), "not rigid"),
    "nan pose": (spoilt(lambda v: v.update(world_from_camera=np.full((4, 4), np.nan))), "NaN"),
    "camera_from_world": (
        spoilt(lambda v: v.update(world_from_camera=np.linalg.inv(v["world_from_camera"]))),
        "behind its camera|not seen where",
    ),
    "in the camera": (
        spoilt(lambda v: v.update(points=v["points"] @ v["world_from_camera"][:3, :3])),
        "behind its camera|not seen where",
    ),
    "bad camera": (spoilt(lambda v: v.update(intrinsics=np.diag([-5.0, 5, 1]))), "focal lengths must be positive"),
    "box elsewhere": (spoilt(lambda v: v.update(box=np.array([200, 0, 300, 90]))), "lies outside the picture"),
    "box turned": (spoilt(lambda v: v.update(box=np.array([90, 0, 3, 90]))), "x0 < x1"),
    "no zip": (lambda f, r: (f / f"{r.names[0]}.npz").write_bytes(b"nonsense"), "no readable .npz"),
    "cut off": (
        lambda f, r: (f / f"{r.names[0]}.npz").write_bytes((f / f"{r.names[0]}.npz").read_bytes()[:-300]),
        "no readable .npz",
    ),
    "version": (lambda f, r: write_index(f, version=2), "only version 1 is read"),
    "format": (lambda f, r: write_index(f, format="other"), '"format": "ovseg3r-views"'),
    "metric": (lambda f, r: write_index(f, metric="yes"), "metric must be true or false"),
    "unknown field": (lambda f, r: write_index(f, gravity=True), "'gravity' is no field"),
    "box text": (lambda f, r: write_index(f, box=[0, 0, "w", 1]), "x0 < x1"),
    "no json": (lambda f, r: (f / "reconstruction.json").write_text("{"), "not valid JSON"),
    "other names": (renamed, "views in .* are for other frames"),
    "outside": (linked_out, "leads out of"),
    "nothing": (lambda f, r: [p.unlink() for p in f.glob("*.npz")], "holds no NAME.npz"),
    "empty": (spoilt(lambda v: v.update(points=np.full((72, 96, 3), np.nan))), None),
    "wrong unit": (lambda f, r: [np.savez(p, **_thousandfold(p)) for p in f.glob("*.npz")], "median depth would be"),
}


def _thousandfold(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        view = dict(arrays)
    view["points"] *= 1000
    view["world_from_camera"][:3, 3] *= 1000
    return view


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_in_one_sentence(room: Recording, tmp_path: Path, what: str):
    spoil, sentence = BAD[what]
    folder = write_views(tmp_path / "views", room)
    spoil(folder, room)
    if sentence is None:  # one view without a point is no reason to stop
        assert len(reconstruct(folder, room).points) > 500
        return
    with pytest.raises(InputError, match=sentence) as error:
        reconstruct(folder, room)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
