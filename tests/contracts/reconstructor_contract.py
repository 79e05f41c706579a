"""What every reconstruction engine must do. An engine's test class inherits this and says how to build the engine."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.protocol import Reconstructor
from ovseg3r_model.records import Reconstruction, Recording
from ovseg3r_model.rooms import default_intrinsics, make_room, render, walk

SIZE = (96, 72)
VIEWS = 8


def room_recording(
    seed: int = 1, views: int = VIEWS, size: tuple[int, int] = SIZE, depth_noise: float = 0.0
) -> Recording:
    """The first ``views`` steps of a walk round a synthetic room, colour and depth of one camera."""
    room, intrinsics = make_room(seed), default_intrinsics(size)
    poses = walk(room, views, seed)
    shots = [render(room, intrinsics, size, pose, depth_noise, seed=k) for k, pose in enumerate(poses)]
    for shot in shots:
        shot.rgb.setflags(write=False)
        shot.depth.setflags(write=False)
    cameras = np.repeat(intrinsics[None], views, axis=0)
    return Recording(
        source_format="test",
        names=tuple(f"frame-{10 * k:06d}.color" for k in range(views)),
        frame=np.arange(views, dtype=np.int64) * 10,
        time=np.arange(views) / 3.0,
        color=[shot.rgb for shot in shots],
        size=size,
        intrinsics=cameras,
        world_from_camera=poses,
        depth=[shot.depth for shot in shots],
        depth_size=size,
        depth_intrinsics=cameras,
        color_from_depth=np.eye(4),
    )


@dataclass(frozen=True)
class FirstRun:
    """An engine, what it made of the recording, and the progress (done, total) that it told of."""

    engine: Reconstructor
    result: Reconstruction
    told: list[tuple[int, int]]


class ReconstructorContract:
    """Inherit and override ``build``; ``recording`` and ``insufficient`` too where the engine needs something else."""

    def build(self) -> Reconstructor:
        """A fresh engine for the frames of :meth:`recording`."""
        raise NotImplementedError

    def recording(self) -> Recording:
        return room_recording()

    def insufficient(self) -> list[Recording]:
        """Recordings from which this engine can reconstruct nothing."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def given(self) -> Recording:
        return self.recording()

    @pytest.fixture(scope="class")
    def first(self, given: Recording) -> FirstRun:
        engine, told = self.build(), []
        result = engine.reconstruct(given, lambda done, total: told.append((done, total)))
        return FirstRun(engine, result, told)

    @pytest.fixture(scope="class")
    def result(self, first: FirstRun) -> Reconstruction:
        return first.result

    def test_says_what_it_is(self) -> None:
        assert self.build().name

    def test_the_result_is_sound(self, given: Recording, result: Reconstruction) -> None:
        assert len(result.points) > 500, "an engine that finds nothing proves nothing here"
        assert_sound(result)
        assert result.quality.keys() == {str(name) for name in result.quality}
        assert all(np.isfinite(value) for value in result.quality.values())
        assert all(note.endswith(".") for note in result.notes)
        assert result.world_frame
        assert result.voxel_size > 0

    def test_views_are_frames_of_the_recording(self, given: Recording, result: Reconstruction) -> None:
        chosen = np.searchsorted(given.frame, result.views.frame)
        np.testing.assert_array_equal(given.frame[chosen], result.views.frame)
        np.testing.assert_array_equal(given.time[chosen], result.views.time)
        assert (np.diff(result.views.frame) > 0).all()
        assert (result.views.size == given.size).all()

    def test_points_project_onto_the_pixels_that_saw_them(self, result: Reconstruction) -> None:
        pixels, bound = reprojection(result)
        assert np.mean(pixels <= bound) > 0.98
        assert np.median(pixels) < 1.5

    def test_points_have_the_colours_that_their_pixels_show(self, given: Recording, result: Reconstruction) -> None:
        chosen = np.searchsorted(given.frame, result.views.frame)
        c = result.correspondence
        seen = np.stack([given.color[chosen[v]][y, x] for v, (x, y) in zip(c.view, c.pixel, strict=True)])
        off = np.abs(seen.astype(int) - result.points.rgb[c.point()].astype(int)).max(axis=1)
        assert np.median(off) < 12

    def test_normals_point_to_the_cameras_that_saw_the_point(self, result: Reconstruction) -> None:
        c = result.correspondence
        of = c.point()
        to_camera = result.views.world_from_camera[c.view, :3, 3] - result.points.xyz[of]
        towards = np.einsum("mk,mk->m", to_camera, result.points.normal[of].astype(float))
        assert np.mean(np.bincount(of, towards) > 0) > 0.99

    def test_every_view_saw_something(self, result: Reconstruction) -> None:
        seen = np.bincount(result.correspondence.view, minlength=len(result.views))
        assert (seen > 0).all()

    def test_deterministic_across_engines(self, given: Recording, result: Reconstruction) -> None:
        assert_same(self.build().reconstruct(given), result)

    def test_a_second_run_of_one_engine_gives_the_same(self, given: Recording, first: FirstRun) -> None:
        assert_same(first.engine.reconstruct(given), first.result)

    def test_leaves_the_recording_alone(self, given: Recording, result: Reconstruction) -> None:
        untouched = self.recording()
        for k in range(len(given)):
            np.testing.assert_array_equal(given.color[k], untouched.color[k])
            if given.depth is not None and untouched.depth is not None:
                np.testing.assert_array_equal(given.depth[k], untouched.depth[k])
        if given.world_from_camera is not None and untouched.world_from_camera is not None:
            np.testing.assert_array_equal(given.world_from_camera, untouched.world_from_camera)

    def test_progress_counts_up_to_its_total(self, first: FirstRun) -> None:
        done = [d for d, _ in first.told]
        assert len({total for _, total in first.told}) == 1
        assert done == sorted(set(done))
        assert done[-1] == first.told[-1][1]

    def test_refuses_what_it_cannot_reconstruct_in_one_sentence(self) -> None:
        cases = self.insufficient()
        assert cases
        for recording in cases:
            with pytest.raises(InputError, match=r"[.]$") as error:
                self.build().reconstruct(recording)
            assert "\n" not in str(error.value)


def assert_sound(r: Reconstruction) -> None:
    n, m, v = len(r.points), len(r.correspondence), len(r.views)
    p, c = r.points, r.correspondence
    for array, shape, kind in (
        (p.xyz, (n, 3), np.float32),
        (p.rgb, (n, 3), np.uint8),
        (p.normal, (n, 3), np.float16),
        (p.confidence, (n,), np.float16),
        (c.indptr, (n + 1,), np.int64),
        (c.view, (m,), np.uint16),
        (c.pixel, (m, 2), np.uint16),
        (r.views.intrinsics, (v, 3, 3), np.float64),
        (r.views.world_from_camera, (v, 4, 4), np.float64),
        (r.views.size, (v, 2), np.int64),
    ):
        assert array.shape == shape
        assert array.dtype == kind
    assert np.isfinite(p.xyz).all()
    assert np.abs(np.linalg.norm(p.normal.astype(float), axis=1) - 1).max() < 0.01
    assert (p.confidence > 0).all()
    assert (p.confidence <= 1).all()
    assert c.indptr[0] == 0
    assert c.indptr[-1] == m
    assert (np.diff(c.indptr) >= 1).all(), "a point that nobody saw"
    same_point = np.diff(c.point()) == 0
    assert (np.diff(c.view.astype(int))[same_point] > 0).all(), "views increase within a point"
    assert (c.view < v).all()
    assert (c.pixel < r.views.size[c.view]).all()


def reprojection(r: Reconstruction) -> tuple[np.ndarray, np.ndarray]:
    """For each observation the pixels between the point's projection and the pixel that saw it, and the most it may be:
    half a pixel plus the projected diagonal of a voxel, the farthest that two points of one voxel can lie apart.
    """
    c = r.correspondence
    pose, k = r.views.world_from_camera[c.view], r.views.intrinsics[c.view]
    local = np.einsum("mji,mj->mi", pose[:, :3, :3], r.points.xyz[c.point()] - pose[:, :3, 3])
    assert (local[:, 2] > 0).all()
    projected = np.einsum("mij,mj->mi", k, local / local[:, 2:])[:, :2]
    diagonal = np.sqrt(3) * r.voxel_size
    length = np.linalg.norm(local, axis=1) / local[:, 2]
    bound = 0.5 + k[:, 0, 0] * diagonal * length / np.maximum(local[:, 2] - diagonal, 1e-3)
    return np.linalg.norm(projected - c.pixel, axis=1), bound


def assert_same(a: Reconstruction, b: Reconstruction) -> None:
    for got, wanted in (
        (a.points.xyz, b.points.xyz),
        (a.points.rgb, b.points.rgb),
        (a.points.normal, b.points.normal),
        (a.points.confidence, b.points.confidence),
        (a.correspondence.indptr, b.correspondence.indptr),
        (a.correspondence.view, b.correspondence.view),
        (a.correspondence.pixel, b.correspondence.pixel),
        (a.views.world_from_camera, b.views.world_from_camera),
        (a.views.intrinsics, b.views.intrinsics),
    ):
        assert got.tobytes() == wanted.tobytes()
    assert a.quality == b.quality
    assert a.notes == b.notes


def without(recording: Recording, *fields: str) -> Recording:
    """The recording as from a source that does not know these fields."""
    return replace(recording, **dict.fromkeys(fields))
