"""The decoder and the whole network by what they must and must not depend on; the backbone has tests of its own."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.attention import CrossAttention, SinePositions
from ovseg3r_model.network.build import build_network
from ovseg3r_model.network.heads import SMALLEST_STEP
from ovseg3r_model.network.inputs import SceneInput, make_batch
from ovseg3r_model.network.segmenter import ScenePredictions, Segmenter, all_superpoints, parameters_of
from ovseg3r_model.network.settings import SIZES, BackboneSettings, DecoderSettings, NetworkSettings
from ovseg3r_model.training.samples import NOMINAL_EXTENT, scene_input
from tests.unit.stored_scenes import scene as stored_scene
from tests.unit.training_scenes import made_up

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SETTINGS = NetworkSettings(
    voxel=0.1, point_channels=3, object_channels=2, text_channels=16,
    backbone=BackboneSettings(
        stem=8, stem_kernel=3, planes=(8, 16, 16, 16, 16, 16, 16, 16), blocks=(1,) * 8, norm="layer"
    ),
    decoder=DecoderSettings(layers=2, width=32, heads=4, feed_forward=64, object_radius=0.5),
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Segmenter:
    return build_network(SETTINGS, seed=3).eval()


@pytest.fixture(scope="module")
def text() -> Tensor:
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32))
    return torch.nn.functional.normalize(vectors, dim=1)


@torch.no_grad()
def predicted(network: Segmenter, scenes: list[SceneInput], text: Tensor) -> list[ScenePredictions]:
    batch = make_batch(scenes, SETTINGS)
    out: list[ScenePredictions] = network(batch, all_superpoints(batch), [text] * len(scenes))
    return out


def assert_same(one: ScenePredictions, other: ScenePredictions, tolerance: float = 1e-4) -> None:
    for a, b in zip(one.layers, other.layers, strict=True):
        for name in ("mask", "classes", "box"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(one.semantic, other.semantic, atol=tolerance, rtol=tolerance)


def test_predictions_of_every_layer_have_the_stated_shapes(network: Segmenter, text: Tensor) -> None:
    given = made_up().input
    (made,) = predicted(network, [given], text)
    superpoints = given.superpoints
    assert len(made.layers) == SETTINGS.decoder.layers + 1
    for layer in made.layers:
        assert layer.mask.shape == (superpoints, superpoints)
        assert layer.classes.shape == (superpoints, 6)
        assert layer.box.shape == (superpoints, 6)
    assert made.semantic.shape == (superpoints, 5)


def test_a_batch_is_its_scenes(network: Segmenter, text: Tensor) -> None:
    scenes = [made_up(0).input, made_up(1).input]
    together = predicted(network, scenes, text)
    for scene, made in zip(scenes, together, strict=True):
        assert_same(predicted(network, [scene], text)[0], made)


def test_the_order_of_the_points_makes_no_difference(network: Segmenter, text: Tensor) -> None:
    given = made_up().input
    order = torch.randperm(len(given.xyz), generator=torch.Generator().manual_seed(0))
    assert given.features is not None
    mixed = replace(
        given, xyz=given.xyz[order], rgb=given.rgb[order], superpoint=given.superpoint[order],
        features=given.features[order],
    )  # fmt: skip
    assert_same(predicted(network, [given], text)[0], predicted(network, [mixed], text)[0])


def test_where_the_scene_lies_makes_no_difference_but_to_its_boxes(network: Segmenter, text: Tensor) -> None:
    given = made_up().input
    shift = torch.tensor([3.0, -2.0, 1.0])  # whole voxels: the grid falls on the same points
    moved = replace(given, xyz=given.xyz + shift, object_position=given.object_position + shift)
    one, other = predicted(network, [given], text)[0], predicted(network, [moved], text)[0]
    torch.testing.assert_close(one.layers[-1].mask, other.layers[-1].mask, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(one.layers[-1].box[:, :3] + shift, other.layers[-1].box[:, :3], atol=1e-3, rtol=1e-3)


def test_labels_are_told_apart_by_their_text_alone(network: Segmenter, text: Tensor) -> None:
    given = made_up().input
    (one,) = predicted(network, [given], text)
    order = torch.tensor([4, 2, 0, 1, 3])
    (other,) = predicted(network, [given], text[order])
    torch.testing.assert_close(one.layers[-1].classes[:, order], other.layers[-1].classes[:, :5])
    torch.testing.assert_close(one.layers[-1].classes[:, 5], other.layers[-1].classes[:, 5])
    (fewer,) = predicted(network, [given], text[:2])
    torch.testing.assert_close(one.layers[-1].classes[:, :2], fewer.layers[-1].classes[:, :2])


def test_a_query_looks_at_near_objects_only(network: Segmenter, text: Tensor) -> None:
    given = made_up().input
    (without,) = predicted(
        network, [replace(given, objects=given.objects[:0], object_position=given.object_position[:0])], text
    )
    far = replace(given, object_position=given.object_position + 100)
    # objects that nobody sees give nothing, but the sum is normalised once more: compare who differs, not by how much
    (near,) = predicted(network, [given], text)
    (unseen,) = predicted(network, [far], text)
    again = replace(far, objects=far.objects * 3 + 1)
    assert_same(unseen, predicted(network, [again], text)[0])
    changed = replace(given, objects=given.objects * 3 + 1)
    assert not torch.allclose(near.layers[-1].mask, predicted(network, [changed], text)[0].layers[-1].mask, atol=1e-3)
    assert all(torch.isfinite(layer.mask).all() for layer in without.layers)


def test_a_scene_without_features_or_objects_is_taken_as_it_is(network: Segmenter, text: Tensor) -> None:
    given = made_up().input
    bare = replace(given, features=None, objects=torch.zeros(0, 0), object_position=torch.zeros(0, 3))
    (made,) = predicted(network, [bare], text)
    assert torch.isfinite(made.layers[-1].mask).all()
    plain = NetworkSettings.model_validate(SETTINGS.model_dump() | {"point_channels": 0, "object_channels": 0})
    other = build_network(plain).eval()
    batch = make_batch([given], plain)  # what the network does not take, it does not see
    with torch.no_grad():
        one = other(batch, all_superpoints(batch), [text])[0]
        two = other(make_batch([bare], plain), all_superpoints(batch), [text])[0]
    assert_same(one, two, 0)


def test_features_of_another_model_are_refused() -> None:
    given = made_up().input
    assert given.features is not None
    with pytest.raises(InputError, match="5 channels, the network takes 3"):
        make_batch([replace(given, features=given.features.repeat(1, 2)[:, :5])], SETTINGS)
    with pytest.raises(InputError, match="features of 4 channels, the network takes 2"):
        make_batch([replace(given, objects=given.objects.repeat(1, 2))], SETTINGS)


def test_untrained_boxes_are_those_of_the_superpoints(network: Segmenter, text: Tensor) -> None:
    given = made_up().input
    (made,) = predicted(network, [given], text)
    for number in range(given.superpoints):
        points = given.xyz[given.superpoint == number]
        low, high = points.amin(dim=0), points.amax(dim=0)
        torch.testing.assert_close(made.layers[-1].box[number, :3], (low + high) / 2)
        torch.testing.assert_close(made.layers[-1].box[number, 3:], (high - low).clamp(min=SMALLEST_STEP))


def test_the_seed_decides_the_weights_and_nothing_else_moves() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (build_network(SETTINGS, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_what_is_not_allowed_is_not_looked_at() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(16, 2)
    query, key = torch.randn(3, 16), torch.randn(4, 16)
    place, key_place = torch.randn(3, 16), torch.randn(4, 16)
    allowed = torch.tensor([[True, True, False, False], [False, False, False, True], [False] * 4])
    one = attention(query, place, key, key_place, allowed)
    key[2] += 5
    other = attention(query, place, key, key_place, allowed)
    torch.testing.assert_close(one, other)
    assert (one[2] == 0).all()
    alone = attention.out(attention.value(key[3:]))
    torch.testing.assert_close(one[1:2], alone)


def test_positions_are_sines_of_the_stated_wavelengths() -> None:
    encoded = SinePositions(width=14, temperature=4.0, wavelength=0.5)(torch.tensor([[0.1, 0.0, 0.3]]))[0]
    assert encoded.shape == (14,)
    expected = []
    for place in (0.1, 0.0, 0.3):
        angles = [2 * math.pi * place / length for length in (0.5, 1.0)]
        expected += [*map(math.sin, angles), *map(math.cos, angles)]
    np.testing.assert_allclose(encoded.numpy(), [*expected, 0, 0], atol=1e-6)


def test_the_papers_size() -> None:
    base = SIZES["base"]
    network = build_network(base)
    decoder = [p for name, p in network.named_parameters() if name.startswith("decoder.layers")]
    assert len(network.decoder.layers) == 6
    layer = network.decoder.layers[0]
    assert layer.feed_forward[0].weight.shape == (1024, 256)
    assert layer.among.heads == 8
    # each layer: 2 cross-attentions of 6 and one self-attention of 4 linear maps 256 -> 256, feed-forward, reference
    # points, 4 normalisations
    linear = 256 * 256 + 256
    expected = 16 * linear + (256 * 1024 + 1024) + (1024 * 256 + 256) + linear + (256 * 3 + 3) + 4 * 512
    assert sum(p.numel() for p in decoder) == 6 * expected
    assert parameters_of(network.backbone) == 37_854_112 + 5**3 * 32 * 3  # three channels more: positions


def test_without_a_scale_a_scene_is_as_large_as_a_room() -> None:
    given = stored_scene()
    for voxel, unit in ((0.5, 1.0), (0.1, 7.0)):  # whatever the unit and the fusion grid
        points = replace(given.reconstruction.points, xyz=given.reconstruction.points.xyz * unit)
        unknown = replace(given.reconstruction, points=points, scale_known=False, voxel_size=voxel)
        xyz = scene_input(replace(given, reconstruction=unknown)).xyz.numpy()
        low, high = np.percentile(xyz, (1, 99), axis=0)
        assert (high - low).max() == pytest.approx(NOMINAL_EXTENT, rel=1e-4)
