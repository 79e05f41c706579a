"""The truth of reconstructed rooms, beside what the room itself says of a place, and beside a slow count."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from ovseg3r_model.annotated.rooms import truth_of_points
from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.records import Correspondence, Reconstruction
from ovseg3r_model.rooms import Room, make_room, write_room
from ovseg3r_model.rooms.truth import RoomTruth, read_truth
from ovseg3r_model.settings import ReconstructSettings
from ovseg3r_model.sources import open_recording


@dataclass(frozen=True)
class Filmed:
    room: Room
    truth: RoomTruth
    scene: Reconstruction


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """A room with exact depth and poses."""
    room = make_room(3)
    files = write_room(room, tmp_path_factory.mktemp("rooms") / "room", "7scenes", 10, 3, size=(160, 120))
    scene = PosedRgbd(ReconstructSettings(voxel=0.03)).reconstruct(open_recording(files.recording))
    return Filmed(room, read_truth(files.folder), scene)


def test_points_have_the_instance_of_the_surface_that_they_lie_on(filmed: Filmed) -> None:
    found = truth_of_points(filmed.truth, filmed.scene)
    names = {0: ""} | {thing.id: thing.name for thing in filmed.room.instances}
    exact = filmed.room.label_points(filmed.scene.points.xyz)
    right = np.array([names[k] for k in exact]) == np.array(["", *found.names])[found.instance]
    assert right.mean() > 0.97
    assert right[exact > 0].mean() > 0.97
    assert len(found.names) == found.instance.max() >= 5
    pairs = {(int(a), int(b)) for a, b in zip(found.instance, exact, strict=True) if a > 0}
    of_number = [Counter(b for a, b in pairs if a == k + 1) for k in range(len(found.names))]
    assert all(of_number)  # every instance that is named has points


def test_it_is_the_majority_and_the_smaller_id_of_equals(filmed: Filmed) -> None:
    """Against a count in plain Python."""
    corr, views = filmed.scene.correspondence, filmed.scene.views
    with filmed.truth.maps() as maps:
        shown = [maps[int(frame)] for frame in views.frame]
    expected, draws = [], 0
    for first, last in zip(corr.indptr, corr.indptr[1:], strict=False):
        count = Counter(int(shown[corr.view[m]][corr.pixel[m, 1], corr.pixel[m, 0]]) for m in range(first, last))
        most = max(count.values())
        best = [k for k, n in count.items() if n == most]
        draws += len(best) > 1
        expected.append(min(best))
    assert draws > 20
    found = truth_of_points(filmed.truth, filmed.scene)
    used = sorted({k for k in expected if k})
    np.testing.assert_array_equal(np.array([0, *used])[found.instance], expected)
    assert found.names == tuple(filmed.truth.instances[k - 1].name for k in used)


def test_the_frames_of_the_views_are_asked(filmed: Filmed) -> None:
    """Every second keyframe, as a longer recording's would be: view v is frame 2 v."""
    corr, views = filmed.scene.correspondence, filmed.scene.views
    kept = corr.view % 2 == 0
    indptr = np.concatenate([[0], np.cumsum(np.bincount(corr.point()[kept], minlength=len(corr.indptr) - 1))])
    every = slice(None, None, 2)
    scene = replace(
        filmed.scene,
        correspondence=Correspondence(indptr, corr.view[kept] // 2, corr.pixel[kept]),
        views=replace(
            views,
            **{n: getattr(views, n)[every] for n in ("intrinsics", "world_from_camera", "size", "frame", "time")},
        ),
    )
    found = truth_of_points(filmed.truth, scene)
    exact = filmed.room.label_points(filmed.scene.points.xyz)
    seen = np.diff(indptr) > 0
    assert (found.instance[~seen] == 0).all()
    assert ((found.instance > 0) == (exact > 0))[seen].mean() > 0.97


def test_a_lens_is_taken_into_account(filmed: Filmed) -> None:
    """A pinhole's pixel beside the picture that a lens took of the same ray: the id there counts."""
    k, views = 0.08, filmed.scene.views
    x, y = np.meshgrid(np.arange(20, 140, 3), np.arange(15, 105, 3))
    pixel = np.column_stack([x.ravel(), y.ravel()])
    single = Correspondence(np.arange(len(pixel) + 1), np.zeros(len(pixel), np.uint16), pixel.astype(np.uint16))
    points = replace(filmed.scene.points, xyz=np.zeros((len(pixel), 3), np.float32))
    scene = replace(filmed.scene, correspondence=single, points=points, distortion=k)
    at = np.rint(distort(pixel.astype(np.float64), views.intrinsics[0], k)).astype(int)
    with filmed.truth.maps() as maps:
        expected, straight = maps[0][at[:, 1], at[:, 0]], maps[0][pixel[:, 1], pixel[:, 0]]
    used = [0, *np.unique(expected[expected > 0])]
    np.testing.assert_array_equal(np.array(used)[truth_of_points(filmed.truth, scene).instance], expected)
    assert (expected != straight).any()


def test_another_rooms_truth_is_refused(filmed: Filmed) -> None:
    views = filmed.scene.views
    for changed in (replace(views, frame=views.frame + 1), replace(views, size=views.size + 1)):
        with pytest.raises(InputError, match="another room"):
            truth_of_points(filmed.truth, replace(filmed.scene, views=changed))
