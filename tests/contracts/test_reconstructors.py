"""Every reconstruction engine under the one contract. A new engine is a few lines here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.colmap import Colmap
from ovseg3r_model.reconstruction.dust3r.engine import Dust3r
from ovseg3r_model.reconstruction.imported.engine import Imported
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.reconstruction.protocol import Reconstructor, build_reconstructor
from ovseg3r_model.records import Reconstruction, Recording, color_alone, subset
from ovseg3r_model.settings import DenseSettings, ReconstructSettings, SfmSettings
from tests.contracts.reconstructor_contract import ReconstructorContract, reprojection, room_recording, without
from tests.contracts.synthetic_pairs import SyntheticPairs, dust3r_settings, room
from tests.given_reconstructions import write_views

NO_DEPTH = ("depth", "depth_size", "depth_intrinsics", "color_from_depth")


class TestPosedRgbd(ReconstructorContract):
    def build(self) -> Reconstructor:
        return PosedRgbd(ReconstructSettings())

    def insufficient(self) -> list[Recording]:
        recording = room_recording()
        blind = [np.zeros_like(recording.color[0][..., 0], np.float32)] * len(recording)
        return [
            without(recording, *NO_DEPTH),
            without(recording, "world_from_camera"),
            without(recording, "intrinsics"),
            replace(recording, depth=blind),
        ]

    def test_keeps_the_given_cameras(self, given: Recording, result: Reconstruction) -> None:
        np.testing.assert_array_equal(result.views.intrinsics, given.intrinsics)
        np.testing.assert_array_equal(result.views.world_from_camera, given.world_from_camera)
        np.testing.assert_array_equal(result.views.frame, given.frame)
        assert result.scale_known

    def test_without_noise_every_observation_is_within_its_voxel(self, result: Reconstruction) -> None:
        pixels, bound = reprojection(result)
        assert (pixels <= bound).all()

    def test_points_seen_in_too_few_views_are_left_out(self, given: Recording, result: Reconstruction) -> None:
        assert (np.diff(result.correspondence.indptr) >= 2).all()
        once = PosedRgbd(ReconstructSettings(min_views=1)).reconstruct(given)
        assert len(once.points) > len(result.points)

    def test_more_views_are_asked_for_than_there_are(self, given: Recording) -> None:
        with pytest.raises(InputError, match="min_views"):
            PosedRgbd(ReconstructSettings(min_views=len(given) + 1)).reconstruct(given)

    @pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf, -1.5, 65.535, 6.01, 0.05])
    def test_what_is_no_depth_never_becomes_a_point(self, given: Recording, bad: float) -> None:
        assert given.depth is not None
        spoilt = []
        for k in range(len(given)):
            depth = given.depth[k].copy()
            depth[:, 48:] = bad
            spoilt.append(depth)
        got = PosedRgbd(ReconstructSettings()).reconstruct(replace(given, depth=spoilt))
        assert got.correspondence.pixel[:, 0].max() < 48
        assert len(got.points) > 500

    def test_no_point_is_nearer_or_farther_than_asked_for(self, given: Recording) -> None:
        got = PosedRgbd(ReconstructSettings(min_depth=1.5, max_depth=2.5)).reconstruct(given)
        assert given.depth is not None
        c = got.correspondence
        depth = np.array([given.depth[v][y, x] for v, (x, y) in zip(c.view, c.pixel, strict=True)])
        assert depth.min() >= 1.5
        assert depth.max() <= 2.5


class TestPosedRgbdWithNoise(TestPosedRgbd):
    def recording(self) -> Recording:
        return room_recording(seed=2, depth_noise=0.003)


class TestColmap(ReconstructorContract):
    """From no more pictures than are needed, every second of a walk; smaller ones have no features."""

    settings = ReconstructSettings(
        sfm=SfmSettings(max_features=800), dense=DenseSettings(device="cpu", short_side=96, planes=48)
    )

    def build(self) -> Reconstructor:
        return Colmap(self.settings, seed=0)

    def recording(self) -> Recording:
        return color_alone(subset(room_recording(seed=0, views=16, size=(320, 240)), range(0, 16, 2)))

    def insufficient(self) -> list[Recording]:
        return [color_alone(room_recording(views=3))]

    def test_does_not_know_its_scale_and_says_so(self, given: Recording, result: Reconstruction) -> None:
        assert not result.scale_known
        assert any("scale is unknown" in note for note in result.notes)
        with pytest.raises(InputError, match=r"needs depth maps, and the source .* has none"):
            build_reconstructor(self.settings.model_copy(update={"scale_from": "depth"}), given, seed=0)

    def test_stands_upright_on_its_floor(self, result: Reconstruction) -> None:
        eyes = result.views.world_from_camera[:, :3, 3]
        np.testing.assert_allclose(eyes[0, :2], 0, atol=1e-9)
        assert (eyes[:, 2] > 0).all()
        assert (result.views.world_from_camera[:, 2, 1] < -0.8).all()  # the cameras' y axes point down


class TestImported(ReconstructorContract):
    """From a folder of exact pointmaps, of all frames but one."""

    folder: Path

    @pytest.fixture(scope="class", autouse=True)
    def given_folder(self) -> Iterator[None]:
        with TemporaryDirectory() as folder:
            type(self).folder = write_views(Path(folder), room_recording(), [0, 1, 2, 3, 5, 6, 7])
            yield

    def build(self) -> Reconstructor:
        return Imported(ReconstructSettings(), self.folder)

    def recording(self) -> Recording:
        return color_alone(room_recording())

    def insufficient(self) -> list[Recording]:
        recording = self.recording()
        others = tuple(f"picture-{'abcdefgh'[k]}" for k in range(len(recording)))
        return [replace(recording, names=others)]

    def test_frames_without_a_view_are_left_out(self, result: Reconstruction) -> None:
        assert result.keyframes is not None
        np.testing.assert_array_equal(result.keyframes, [0, 1, 2, 3, 5, 6, 7])


class TestDust3r(ReconstructorContract):
    """With exact pointmaps, noise and scales added, in the place of the pretrained network."""

    def build(self) -> Reconstructor:
        truth, _ = room()
        return Dust3r(dust3r_settings(), seed=0, load=lambda _: SyntheticPairs(truth))

    def recording(self) -> Recording:
        return room()[1]

    def insufficient(self) -> list[Recording]:
        return [room(views=1)[1]]

    def test_says_what_may_be_done_with_it(self, result: Reconstruction) -> None:
        assert any("CC BY-NC-SA 4.0" in note for note in result.notes)
        assert any("scale is unknown" in note for note in result.notes)
        assert not result.scale_known

    def test_refuses_where_the_network_is_sure_of_nothing(self) -> None:
        truth, plain = room()
        unsure = Dust3r(dust3r_settings(), seed=0, load=lambda _: SyntheticPairs(truth, sure=1.0))
        with pytest.raises(InputError, match=r"sure of hardly any pixel.*[.]$"):
            unsure.reconstruct(plain)


@pytest.mark.parametrize("engine", ["auto", "posed-rgbd"])
def test_a_posed_rgbd_recording_gets_its_engine(engine: str) -> None:
    settings = ReconstructSettings.model_validate({"engine": engine, "voxel": 0.05})
    built = build_reconstructor(settings, room_recording(views=2), seed=0)
    assert built.name == "posed-rgbd"
    assert built.reconstruct(room_recording(views=2)).voxel_size == 0.05


@pytest.mark.parametrize("missing", [NO_DEPTH, ("world_from_camera",)])
def test_plain_video_gets_the_engine_that_needs_only_pictures(missing: tuple[str, ...]) -> None:
    plain = without(room_recording(views=2), *missing)
    assert build_reconstructor(ReconstructSettings(), plain, seed=0).name == "colmap"
    with pytest.raises(InputError, match="depth with poses"):
        build_reconstructor(ReconstructSettings(engine="posed-rgbd"), plain, seed=0)


def test_a_scale_is_not_asked_for_where_it_is_known() -> None:
    with pytest.raises(InputError, match="in metres"):
        build_reconstructor(ReconstructSettings(scale_from="depth"), room_recording(views=2), seed=0)
    with pytest.raises(InputError, match="not understood"):
        build_reconstructor(ReconstructSettings(scale_from="height:2"), without(room_recording(views=2), *NO_DEPTH), 0)
