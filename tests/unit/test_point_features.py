"""Features on points against SciPy's interpolation and NumPy's SVD."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

import ovseg3r_model.point_features as under_test
from ovseg3r_model.point_features import reduced, sample_features
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.records import Reconstruction
from tests.unit.stored_scenes import HEIGHT, WIDTH, scene

CHANNELS = 5
SCALE = (0.3, 0.21)


@pytest.fixture
def reconstruction() -> Reconstruction:
    return scene(points=120, views=5).reconstruction


def images(count: int, seed: int = 0) -> list[np.ndarray]:
    cells = int(np.ceil(HEIGHT * SCALE[1])), int(np.ceil(WIDTH * SCALE[0]))
    return list(np.random.default_rng(seed).normal(size=(count, *cells, CHANNELS)).astype(np.float16))


def slowly(maps: list[np.ndarray], reconstruction: Reconstruction) -> np.ndarray:
    """Point by point, observation by observation."""
    corr, k = reconstruction.correspondence, reconstruction.distortion
    keyframes = reconstruction.keyframes
    out = np.zeros((len(corr.indptr) - 1, CHANNELS))
    for i in range(len(out)):
        samples = []
        for m in range(corr.indptr[i], corr.indptr[i + 1]):
            v = corr.view[m]
            pixel = corr.pixel[m : m + 1].astype(float)
            if k:
                pixel = distort(pixel, reconstruction.views.intrinsics[v], k)
            x, y = (pixel[0] + 0.5) * SCALE - 0.5
            image = maps[v if keyframes is None else keyframes[v]].astype(float)
            samples.append(
                [map_coordinates(image[..., c], [[y], [x]], order=1, mode="nearest")[0] for c in range(CHANNELS)]
            )
        out[i] = np.mean(samples, axis=0)
    return out


def test_means_of_interpolated_samples(reconstruction: Reconstruction) -> None:
    maps = images(5)
    found = sample_features(maps, SCALE, reconstruction)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, slowly(maps, reconstruction), atol=2e-3)


def test_keyframes_without_a_camera_and_a_lens(reconstruction: Reconstruction) -> None:
    """Five views of nine keyframes, seen through a lens: the maps are of the pictures as taken."""
    bent = replace(reconstruction, keyframes=np.array([0, 2, 3, 7, 8]), distortion=-0.15)
    maps = images(9)
    found = sample_features(maps, SCALE, bent)
    np.testing.assert_allclose(found, slowly(maps, bent), atol=2e-3)
    assert np.abs(found - sample_features(maps, SCALE, replace(bent, distortion=0.0))).max() > 0.1


def test_channels_in_parts_give_the_same(reconstruction: Reconstruction, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = images(5)
    whole = sample_features(maps, SCALE, reconstruction)
    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(under_test, "_HELD", 2 * 120)
    parts = sample_features(maps, SCALE, reconstruction, lambda *step: steps.append(step))
    np.testing.assert_array_equal(whole, parts)
    assert steps == [(k, 15) for k in range(1, 16)]


def test_reduction_is_a_pca() -> None:
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(400, 3)) * [5, 2, 1] @ rng.normal(size=(3, 12)) + 4).astype(np.float16)
    small, reduction = reduced(features, 3)
    assert reduction is not None
    assert small.shape == (400, 3)
    assert reduction.basis.shape == (12, 3)
    np.testing.assert_allclose(reduction.basis.T @ reduction.basis, np.eye(3), atol=1e-5)
    centred = features.astype(float) - features.astype(float).mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(directions[:3] * reduction.basis.T, axis=1)), 1, atol=1e-4)
    np.testing.assert_allclose(np.sqrt(np.sum(small.astype(float) ** 2, axis=0)), singular[:3], rtol=2e-3)
    back = small.astype(float) @ reduction.basis.T + reduction.mean
    np.testing.assert_allclose(back, features, atol=0.1)  # three directions are all there is


def test_reduction_in_blocks_and_again_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float16)
    first, one = reduced(features, 2)
    again, other = reduced(features, 2)
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(one.basis, other.basis)
    monkeypatch.setattr(under_test, "_ROWS", 7)
    blocks, _ = reduced(features, 2)
    np.testing.assert_allclose(blocks, first, atol=2e-3)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_instances_are_reduced_too(count: int) -> None:
    features = np.random.default_rng(1).normal(size=(count, 6)).astype(np.float16)
    small, reduction = reduced(features, 4)
    assert small.shape == (count, 4)
    assert reduction is not None
    assert np.isfinite(reduction.basis).all()


def test_nothing_is_reduced_that_has_no_more_channels() -> None:
    features = np.ones((4, 3), np.float16)
    same, reduction = reduced(features, 3)
    assert same is features
    assert reduction is None
