"""Plain video through the whole line, against the room's exact truth."""

from pathlib import Path

import numpy as np
import pytest

from flows.generate_labels import run
from flows.settings import LabelParameters
from ovseg3r_model.label_quality import lift_quality
from ovseg3r_model.rooms import Room, RoomFiles, make_room, walk, write_room
from storage.scene_store import SceneStore
from storage.store import Store

pytestmark = pytest.mark.usefixtures("prefect_api")
VIEWS = 24
KEYFRAMES = 12
"""As many pictures of a shorter way would have less parallax."""


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(0)


@pytest.fixture(scope="module")
def film(room: Room, tmp_path_factory: pytest.TempPathFactory) -> RoomFiles:
    return write_room(room, tmp_path_factory.mktemp("film") / "room", "7scenes", VIEWS, 0, size=(320, 240), video=True)


def test_an_mp4_and_masks_become_labels(room: Room, film: RoomFiles, tmp_path: Path) -> None:
    """With the cameras' places known, so that metres and the world are the room's, and nothing is aligned here."""
    poses = walk(room, VIEWS, 0)
    csv = tmp_path / "positions.csv"
    rows = (f"frame-{v:06d},{','.join(map(str, p))}\n" for v, p in enumerate(poses[:, :3, 3].tolist()))
    csv.write_text("name,x,y,z\n" + "".join(rows))
    assert film.video is not None
    given = LabelParameters.model_validate(
        {
            "sources": [str(film.video)],
            "store": str(tmp_path / "store"),
            "pipeline": {
                "ingest": {"max_views": KEYFRAMES},
                "segment": {"masks": str(film.masks)},
                "reconstruct": {"scale_from": f"positions:{csv}", "voxel": 0.03, "dense": {"short_side": 120}},
            },
        }
    )
    (result,) = run(given)
    assert result.row is not None, result.message
    assert result.row.engines["reconstruct"] == "colmap"
    scene = SceneStore(Store.open(tmp_path / "store")).read("video", result.row.digest).scene
    rec = scene.reconstruction
    assert rec.scale_known
    assert len(rec.views) == KEYFRAMES
    np.testing.assert_allclose(rec.views.world_from_camera[:, :3, 3], poses[rec.views.frame, :3, 3], atol=0.03)
    away = room.distance(rec.points.xyz)
    # positions a millimetre off on a short walk turn what is metres away
    assert np.median(away) < 0.03
    assert np.percentile(away, 90) < 0.06
    assert len(rec.points) > 10_000
    names = [scene.instances.label_names[k] for k in scene.instances.label]
    true_names = {i.id: (i.name, *i.synonyms) for i in room.instances}
    truth = room.label_points(rec.points.xyz)
    lifted = lift_quality(rec.correspondence, scene.observation, truth, names, true_names)
    assert lifted.accuracy > 0.9
    assert lifted.recall > 0.75
    (again,) = run(given)
    assert again.status == "unchanged"
