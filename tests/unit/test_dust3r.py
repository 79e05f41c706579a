"""The learned engine: alignment, windows, crops, and the way to the network."""

import json
import tracemalloc
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.dust3r import model as network
from ovseg3r_model.reconstruction.dust3r.crops import crop_of
from ovseg3r_model.reconstruction.dust3r.engine import Dust3r
from ovseg3r_model.reconstruction.dust3r.graph import Link, place_frames
from ovseg3r_model.reconstruction.dust3r.model import PairPrediction
from ovseg3r_model.reconstruction.dust3r.pairs import plan_windows
from ovseg3r_model.reconstruction.dust3r.similarity import compose, fit_similarity, focal_of, inverse
from ovseg3r_model.reconstruction.dust3r.window import fused_depth
from ovseg3r_model.reconstruction.judge import Similarity, TrajectoryError, judge_trajectory
from ovseg3r_model.reconstruction.protocol import UNUSED, build_reconstructor, inputs_digest
from ovseg3r_model.records import Reconstruction, Recording
from ovseg3r_model.settings import Dust3rSettings, ReconstructSettings
from tests.contracts.reconstructor_contract import assert_same, without
from tests.contracts.synthetic_pairs import SyntheticPairs, dust3r_settings, room

ATE = 0.004
"""Metres, root mean square, on walks of 0.6 m (8 views) and 2 m (20 views) through a room; depth is 1 % noise."""


class TornPairs(SyntheticPairs):
    """Sees depth that grows tenfold from left to right wherever it looks at nothing but the end of the video."""

    def _pair(self, i: int, j: int) -> tuple[np.ndarray, ...]:
        first, second, *sure = super()._pair(i, j)
        if min(i, j) >= 6:
            ramp = np.geomspace(0.3, 3, first.shape[1])[:, None]
            first, second = first * ramp, second * ramp
        return first, second, sure[0], sure[1]


@cache
def reconstructed(
    views: int, wrong: tuple[tuple[int, int], ...] = (), bent: float = 0.0, **changed: int
) -> tuple[Reconstruction, TrajectoryError, SyntheticPairs]:
    truth, plain = room(views)
    pairs = SyntheticPairs(truth, wrong=wrong, bent=bent)
    result = Dust3r(dust3r_settings(**changed), seed=0, load=lambda _: pairs).reconstruct(plain)
    assert truth.world_from_camera is not None
    return result, judge_trajectory(result.views.world_from_camera, truth.world_from_camera), pairs


def focal_error(result: Reconstruction, truth: Recording) -> float:
    assert truth.intrinsics is not None
    return float(np.abs(result.views.intrinsics[0, [0, 1], [0, 1]] / truth.intrinsics[0, [0, 1], [0, 1]] - 1).max())


def test_cameras_focal_length_and_depth_of_a_room() -> None:
    result, error, _ = reconstructed(8)
    truth, _ = room(8)
    assert error.ate_rmse < ATE
    assert focal_error(result, truth) < 0.02
    assert result.depth is not None
    assert truth.depth is not None
    z, exact = result.depth.z.astype(float), np.stack([np.asarray(d) for d in truth.depth])
    both = (z > 0) & (exact > 0)
    assert both.mean() > 0.8
    ratio = z[both] / exact[both]
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.01


def test_gradient_descent_betters_the_start() -> None:
    """Where every prediction is bent its own way by 3 %, as a network's are."""
    (start, before), (refined, after) = (reconstructed(12, bent=0.03, iterations=n)[:2] for n in (0, 60))
    assert refined.quality["alignment_error"] < 0.7 * start.quality["alignment_error"]
    assert before.ate_rmse < 0.05
    assert after.ate_rmse < 0.03


def test_windows_are_as_exact_as_one_alignment() -> None:
    result, error, pairs = reconstructed(20, window=8)
    assert result.quality["windows"] == 3
    assert error.ate_rmse < ATE
    assert focal_error(result, room(20)[0]) < 0.02
    assert all((j, i) in pairs.calls for i, j in pairs.calls), "pairs go both ways"


def test_windows_that_do_not_fit_are_told_of() -> None:
    truth, plain = room(20)
    engine = Dust3r(dust3r_settings(window=8, iterations=2, loop_neighbours=0), seed=0, load=lambda _: TornPairs(truth))
    result = engine.reconstruct(plain)
    assert result.quality["window_agreement"] < 0.5
    assert any("after keyframe 7 hardly fit" in note for note in result.notes)
    assert not any("fit together" in note for note in reconstructed(20, window=8)[0].notes)


@pytest.mark.parametrize("wrong", [((2, 3),), ((2, 3), (6, 5))])
def test_a_wrong_prediction_does_not_break_it(wrong: tuple[tuple[int, int], ...]) -> None:
    _, error, pairs = reconstructed(8, wrong)
    assert set(wrong) <= set(pairs.calls)
    assert error.ate_rmse < ATE


class Weighed(SyntheticPairs):
    """Notes how much memory is in use each time that it is asked."""

    def predict(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> PairPrediction:
        self.most = max(getattr(self, "most", 0), tracemalloc.get_traced_memory()[0])
        return super().predict(first, second)


def test_memory_does_not_grow_with_the_video() -> None:
    def most(views: int) -> int:
        truth, plain = room(views)
        pairs = Weighed(truth)
        engine = Dust3r(dust3r_settings(window=8, loop_neighbours=0, iterations=1), seed=0, load=lambda _: pairs)
        tracemalloc.start()
        try:
            engine.reconstruct(plain)
        finally:
            tracemalloc.stop()
        return pairs.most

    most(8)  # imports and compiled code
    one, three = most(8), most(20)
    # What is kept of a view: depth and confidence in float16, once more where windows overlap. Its pairs' predictions
    # are eighteen times that.
    kept = 2 * 2 * 96 * 64 * 8 / 6
    assert three - one < 12 * 2 * kept


def test_the_same_twice() -> None:
    assert_same(*(reconstructed.__wrapped__(8, window=4)[0] for _ in range(2)))


def test_cameras_that_the_source_knows_are_kept() -> None:
    truth, _ = room(8)
    pairs = SyntheticPairs(truth)
    given = without(truth, "depth", "depth_size", "depth_intrinsics", "color_from_depth", "world_from_camera")
    result = Dust3r(dust3r_settings(), seed=0, load=lambda _: pairs).reconstruct(given)
    np.testing.assert_array_equal(result.views.intrinsics, truth.intrinsics)


def test_metres_from_depth_and_from_positions(tmp_path: Path) -> None:
    truth, _ = room(8)
    assert truth.world_from_camera is not None
    pairs = SyntheticPairs(truth)
    positions = tmp_path / "positions.csv"
    rows = [f"{n},{x},{y},{z}" for n, (x, y, z) in zip(truth.names, truth.world_from_camera[:, :3, 3], strict=True)]
    positions.write_text("\n".join(["name,x,y,z", *rows]))
    for source in ("depth", f"positions:{positions}"):
        engine = Dust3r(dust3r_settings(source), seed=0, load=lambda _: pairs)
        result = engine.reconstruct(without(truth, "world_from_camera"))
        assert result.scale_known
        assert result.voxel_size == 0.02
        assert not any("scale is unknown" in note for note in result.notes)
        assert judge_trajectory(result.views.world_from_camera, truth.world_from_camera).scale == pytest.approx(
            1, rel=0.02
        )


@pytest.mark.parametrize(
    ("size", "image_size", "shape"),
    [
        ((96, 72), 96, (96, 64)),
        ((640, 480), 512, (512, 384)),
        ((1920, 1080), 512, (512, 288)),
        ((1080, 1920), 512, (288, 512)),
        ((968, 1296), 512, (368, 512)),
        ((300, 300), 512, (512, 384)),
        ((640, 480), 224, (224, 224)),
    ],
)
def test_a_crop_knows_where_its_pixels_are(size: tuple[int, int], image_size: int, shape: tuple[int, int]) -> None:
    crop = crop_of(size, image_size)
    assert crop.shape == shape
    pixels = crop.pixels()
    # A picture that shows where it is: what the crop shows is where it says it is.
    y, x = np.mgrid[: size[1], : size[0]]
    for axis, ramp in enumerate((x / size[0], y / size[1])):
        shown = crop.cut(np.repeat((255 * ramp).astype(np.uint8)[..., None], 3, axis=2))
        assert shown.shape == (shape[1], shape[0], 3)
        told = 255 * pixels[..., axis] / size[axis]
        assert np.abs(shown[4:-4, 4:-4, 0] - told[4:-4, 4:-4]).max() < 2.5
        assert abs(np.mean(shown[4:-4, 4:-4, 0] - told[4:-4, 4:-4]) + 0.5) < 0.5
    middle = (pixels[0, 0] + pixels[-1, -1]) / 2
    np.testing.assert_allclose(middle, (np.array(size) - 1) / 2, atol=max(1.0, max(size) / image_size))
    whole = crop.whole(np.ones(pixels.shape[:2], np.float32))
    assert whole.shape == (crop.resized[1], crop.resized[0])
    assert whole.sum() == shape[0] * shape[1]


def test_a_ray_through_the_crop_is_the_pictures_ray() -> None:
    crop = crop_of((1280, 720), 512)
    focal, center = 900.0, np.array([639.5, 359.5])
    point = np.array([0.3, -0.2, 2.0])
    pixel = focal * point[:2] / 2.0 + center
    # by hand: 2.5 picture pixels to one of 512 x 288, which is cut nowhere
    at = (pixel + 0.5) / 2.5 - 0.5
    low = np.floor(at).astype(int)
    share = at - low
    pixels = crop.pixels()
    found = pixels[low[1], low[0]] + share * (pixels[low[1] + 1, low[0] + 1] - pixels[low[1], low[0]])
    np.testing.assert_allclose(found, pixel, atol=1e-9)


def test_windows_cover_every_keyframe_once_and_share_views() -> None:
    pairs = np.array([(i, i + 1) for i in range(49)] + [(0, 40), (1, 41), (2, 42)])
    windows = plan_windows(50, pairs, size=12, neighbours=1)
    kept = np.concatenate([w.views[w.kept] for w in windows])
    np.testing.assert_array_equal(kept, np.arange(50))
    for a, b in pairwise(windows):
        assert len(np.intersect1d(a.views, b.views)) >= 3
    assert max(len(w.views) for w in windows) <= 15
    last = next(w for w in windows if 41 in w.views and 0 in w.views)
    assert not last.kept[:3].any(), "guests stay where they were"
    assert [1, 41] in last.views[last.pairs].tolist()


def test_a_loop_spreads_what_does_not_fit() -> None:
    rng = np.random.default_rng(0)
    true = [Similarity(1.0, np.eye(3), np.zeros(3))]
    drift = Similarity(1.02, np.eye(3), np.zeros(3))
    for k in range(1, 6):
        angle = k * np.pi / 3
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        true.append(Similarity(1 + 0.1 * k, turn, rng.normal(size=3)))
    chain = [Link(k, k + 1, compose(drift, compose(inverse(true[k]), true[k + 1])), 1.0) for k in range(5)]
    loop = Link(0, 5, compose(inverse(true[0]), true[5]), 1.0)
    without_loop, with_loop = place_frames(6, chain), place_frames(6, [*chain, loop])
    assert without_loop[5].scale == pytest.approx(true[5].scale * 1.02**5)
    assert with_loop[5].scale == pytest.approx(true[5].scale * 1.02 ** (5 / 6))
    exact = place_frames(6, [Link(k, k + 1, compose(inverse(true[k]), true[k + 1]), 1.0) for k in range(5)] + [loop])
    for got, wanted in zip(exact, true, strict=True):
        np.testing.assert_allclose(got.rotation, wanted.rotation, atol=1e-9)
        np.testing.assert_allclose(got.translation, wanted.translation, atol=1e-9)


def test_closed_forms_bear_a_minority_of_wrong_points() -> None:
    rng = np.random.default_rng(1)
    source = rng.normal((0, 0, 4), size=(500, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    true = Similarity(2.5, turn, np.array([1.0, -2.0, 0.5]))
    target = true.points(source) + 0.01 * rng.normal(size=(500, 3))
    target[:120] = rng.normal(size=(120, 3))
    found = fit_similarity(source, target, np.ones(500))
    assert found.scale == pytest.approx(2.5, rel=0.02)
    np.testing.assert_allclose(found.rotation, turn, atol=0.02)
    offset = 321.0 * source[:, :2] / source[:, 2:]
    offset[:120] += 50 * rng.normal(size=(120, 2))
    assert focal_of(source, offset, np.ones(500)) == pytest.approx(321, rel=0.02)
    assert np.isnan(focal_of(-np.abs(source), offset, np.ones(500)))


def test_depth_is_what_most_predictions_say_and_so_is_its_confidence() -> None:
    z = np.array([2.0, 2.01, 1.99, 5.0], np.float32).reshape(4, 1, 1)
    sure = np.full((4, 1, 1), 5.0, np.float32)
    depth, confidence = fused_depth(z, sure)
    assert depth[0, 0] == pytest.approx(2.0, abs=0.011)
    assert confidence[0, 0] == pytest.approx(0.75 * 0.8, abs=1e-6)
    depth, confidence = fused_depth(-z, sure)
    assert depth[0, 0] == confidence[0, 0] == 0


def test_without_the_package_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "find_spec", lambda name: None)
    engine = build_reconstructor(ReconstructSettings(engine="dust3r"), room(2)[1], seed=0)
    assert engine.name == "dust3r"
    with pytest.raises(InputError, match=r"needs the package mini-dust3r.*ovseg3r\[dust3r\]") as error:
        engine.reconstruct(room(2)[1])
    assert "\n" not in str(error.value)


def test_a_package_that_cannot_be_imported_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr(network, "find_spec", lambda name: object())
    monkeypatch.setattr(network, "import_module", broken)
    with pytest.raises(InputError, match=r"cannot be imported \(operator torchvision::nms does not exist\)") as error:
        network.load_pair_model(Dust3rSettings())
    assert "\n" not in str(error.value)


def test_absent_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_architecture", lambda: None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"model.safetensors is missing.*[.]$"):
        network.load_pair_model(Dust3rSettings(weights=str(tmp_path)))
    with pytest.raises(InputError, match=r"no folder with weights.*[.]$"):
        network.load_pair_model(Dust3rSettings(weights=str(tmp_path / "nothing.pth")))


def test_weights_that_cannot_be_downloaded_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: str) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(network, "_architecture", lambda: None)
    monkeypatch.setattr(network, "import_module", lambda name: SimpleNamespace(hf_hub_download=refused))
    with pytest.raises(InputError, match=r"someone/weights cannot be had from the hub \(OSError\).*[.]$") as error:
        network.load_pair_model(Dust3rSettings(weights="someone/weights"))
    assert "\n" not in str(error.value)


def test_the_weights_in_a_folder_count_by_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    settings = dust3r_settings(weights=str(tmp_path))
    first = inputs_digest(settings, "dust3r")
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert first is not None
    assert inputs_digest(settings, "dust3r") not in (None, first)
    assert inputs_digest(dust3r_settings(), "dust3r") is None


def test_only_its_own_settings_count() -> None:
    assert "dust3r" not in UNUSED["dust3r"]
    assert all("dust3r" in unused for engine, unused in UNUSED.items() if engine != "dust3r")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights, as the hub has them, of the real architecture with tiny random layers."""
    if network.installed() is None:
        pytest.skip("neither mini-dust3r nor dust3r is installed (optional, non-commercial)")
    safetensors = pytest.importorskip("safetensors.torch", reason="of the extra dust3r")
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("weights")
    config = {
        "output_mode": "pts3d",
        "head_type": "linear",
        "depth_mode": ["exp", float("-inf"), float("inf")],
        "conf_mode": ["exp", 1, float("inf")],
        "img_size": [64, 64],
        "patch_size": 16,
        "enc_embed_dim": 64,
        "enc_depth": 2,
        "enc_num_heads": 4,
        "dec_embed_dim": 48,
        "dec_depth": 2,
        "dec_num_heads": 4,
        "pos_embed": "RoPE100",
    }
    torch.manual_seed(0)
    with network._quiet():
        built = network._architecture()(**json.loads(json.dumps(config)), landscape_only=False)
    safetensors.save_model(built, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_real_network_predicts_pointmaps(tiny: Path) -> None:
    model = network.load_pair_model(Dust3rSettings(weights=str(tiny), device="cpu"))
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    found = model.predict([a, b], [b, a])
    assert found.first.shape == found.second.shape == (2, 48, 64, 3)
    assert found.first_confidence.shape == found.second_confidence.shape == (2, 48, 64)
    assert found.first.dtype == np.float32
    assert min(found.first_confidence.min(), found.second_confidence.min()) >= 1
    one = model.predict([a], [b])
    np.testing.assert_allclose(found.first[0], one.first[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.second[0], one.second[0], rtol=1e-4, atol=1e-5)


def test_an_untrained_network_is_refused_or_borne(tiny: Path) -> None:
    settings = dust3r_settings(weights=str(tiny), image_size=64, device="cpu", iterations=2)
    try:
        result = build_reconstructor(settings, room(4)[1], seed=0).reconstruct(room(4)[1])
    except InputError as error:
        assert str(error).endswith(".")  # noqa: PT017
    else:
        assert len(result.views) == 4


def test_weights_of_something_else_are_refused(tiny: Path, tmp_path: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    for changed, sentence in (({"enc_depth": 3}, "weights are missing"), ({"dec_embed_dim": 96}, "that can be read")):
        (tmp_path / "config.json").write_text(json.dumps(config | changed))
        with pytest.raises(InputError, match=sentence):
            network.load_pair_model(Dust3rSettings(weights=str(tmp_path)))
