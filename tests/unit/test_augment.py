"""Augmentation against closed forms, on a made-up scene whose annotation can be followed by colour."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import uniform_filter
from torch import Tensor

from ovseg3r_model.network.inputs import make_batch
from ovseg3r_model.network.settings import SIZES
from ovseg3r_model.records import Reduction, SceneTruth
from ovseg3r_model.supervision.targets import scene_targets
from ovseg3r_model.training.augment import augmented
from ovseg3r_model.training.data_settings import AugmentSettings
from ovseg3r_model.training.samples import TrainingScene
from tests.unit.training_scenes import NAMES, POINTS, SUPERPOINTS, VIEWS, made_up, tensors


def only(**chosen: Any) -> AugmentSettings:
    return AugmentSettings(**{**AugmentSettings.none().model_dump(), **chosen})


def members(scene: TrainingScene, instance: int) -> Tensor:
    """(N,) bool: the points of the instance's superpoints."""
    own = scene.targets.member_superpoint[scene.targets.member_instance == instance]
    return torch.isin(scene.input.superpoint, own)


def originals(scene: TrainingScene) -> Tensor:
    """(N,) which of the points of ``made_up`` each is, by its 2D feature."""
    assert scene.input.features is not None
    return ((scene.input.features[:, 0] + 1) / 2 * (POINTS - 1)).round().long()


def assert_same(one: TrainingScene, other: TrainingScene) -> None:
    assert (one.targets.names, one.targets.views) == (other.targets.names, other.targets.views)
    assert one.targets.superpoints == other.targets.superpoints
    for name, value in tensors(one).items():
        assert torch.equal(torch.nan_to_num(value, 7.0), torch.nan_to_num(tensors(other)[name], 7.0)), name


def assert_consistent(after: TrainingScene, before: TrainingScene) -> None:
    """Superpoints without gaps; every point still in the superpoint it was in, every instance in the things it was."""
    number = originals(after)
    present = torch.unique(after.input.superpoint)
    assert present.tolist() == list(range(after.targets.superpoints))
    was = before.input.superpoint[number]
    renamed = torch.unique(torch.stack([after.input.superpoint, was]), dim=1)
    assert renamed.shape[1] == len(present)
    assert torch.equal(after.targets.true_of_superpoint, before.targets.true_of_superpoint[renamed[1]])
    for instance in range(after.targets.instances):
        thing = int(after.targets.true_of_instance[instance])
        own = renamed[1][after.targets.member_superpoint[after.targets.member_instance == instance]]
        assert (before.targets.true_of_superpoint[own] == thing).all()
        assert after.targets.names[int(after.targets.instance_label[instance])] == NAMES[thing - 1]


def assert_tight(scene: TrainingScene) -> None:
    """Each box is the smallest about the points of its superpoints."""
    for instance, box in enumerate(scene.targets.box):
        points = scene.input.xyz[members(scene, instance)]
        torch.testing.assert_close(box[:3] - box[3:] / 2, points.amin(dim=0), atol=1e-5, rtol=0)
        torch.testing.assert_close(box[:3] + box[3:] / 2, points.amax(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("views", [False, True])
def test_none_is_the_identity(views: bool) -> None:
    scene = made_up(views=views)
    assert_same(augmented(scene, AugmentSettings.none(), np.random.default_rng(0)), scene)


def test_a_turn_keeps_distances_and_heights_and_boxes_are_tight_anew() -> None:
    scene = made_up()
    after = augmented(scene, only(rotation=180), np.random.default_rng(3))
    given, turned = scene.input, after.input
    torch.testing.assert_close(torch.pdist(turned.xyz), torch.pdist(given.xyz), atol=1e-4, rtol=0)
    torch.testing.assert_close(turned.xyz[:, 2], given.xyz[:, 2], atol=1e-5, rtol=0)
    middle = (given.xyz.amin(dim=0) + given.xyz.amax(dim=0)) / 2
    flat, was = turned.xyz[:, :2] - middle[:2], given.xyz[:, :2] - middle[:2]
    angle = torch.atan2(flat[:, 1], flat[:, 0]) - torch.atan2(was[:, 1], was[:, 0])
    torch.testing.assert_close(torch.cos(angle), torch.cos(angle[:1]).expand(POINTS), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.sin(angle), torch.sin(angle[:1]).expand(POINTS), atol=1e-3, rtol=0)
    assert abs(float(torch.sin(angle[0]))) > 0.05  # it did turn
    assert torch.equal(turned.superpoint, given.superpoint)
    assert_tight(after)
    # where a 2D object lies, it lies on the same point
    of_object = torch.cdist(given.object_position, given.xyz).argmin(dim=1)
    torch.testing.assert_close(turned.object_position, turned.xyz[of_object], atol=1e-5, rtol=0)


def test_mirrors_are_along_x_and_y_about_the_middle() -> None:
    scene = made_up()
    after = augmented(scene, only(flip=1), np.random.default_rng(0))
    low, high = scene.input.xyz.amin(dim=0), scene.input.xyz.amax(dim=0)
    sign, shift = torch.tensor([-1.0, -1.0, 1.0]), torch.stack([low[0] + high[0], low[1] + high[1], torch.tensor(0.0)])
    torch.testing.assert_close(after.input.xyz, scene.input.xyz * sign + shift, atol=1e-5, rtol=0)
    # all points of these instances are of their superpoints: their mirrored boxes are the boxes of what is mirrored
    torch.testing.assert_close(after.targets.box[:, :3], scene.targets.box[:, :3] * sign + shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.targets.box[:, 3:], scene.targets.box[:, 3:], atol=1e-5, rtol=0)


def test_a_chance_of_a_mirror_is_each_axis_own() -> None:
    scene = made_up()
    order = torch.argsort(scene.input.xyz[:, :2], dim=0)
    kinds = set()
    for seed in range(24):
        xyz = augmented(scene, only(flip=0.5), np.random.default_rng(seed)).input.xyz
        kinds.add(tuple(bool(xyz[order[0, k], k] > xyz[order[-1, k], k]) for k in range(2)))
    assert len(kinds) == 4


def test_scale_and_tilt() -> None:
    scene = made_up()
    scaled = augmented(scene, only(scale=(0.5, 0.6)), np.random.default_rng(1))
    ratio = torch.pdist(scaled.input.xyz) / torch.pdist(scene.input.xyz)
    assert 0.5 <= float(ratio.median()) <= 0.6
    torch.testing.assert_close(ratio, ratio.median().expand_as(ratio), atol=1e-3, rtol=0)
    assert_tight(scaled)
    tilted = augmented(scene, only(tilt=5), np.random.default_rng(1)).input.xyz
    torch.testing.assert_close(torch.pdist(tilted), torch.pdist(scene.input.xyz), atol=1e-4, rtol=0)
    up = torch.linalg.lstsq(
        scene.input.xyz - scene.input.xyz.mean(dim=0), tilted - tilted.mean(dim=0)
    ).solution[2]  # fmt: skip
    angle = np.degrees(np.arccos(min(1.0, float(up[2]))))
    assert 0.1 < angle <= 5 * np.sqrt(2)


def test_bending_moves_neighbours_together() -> None:
    scene = made_up()
    after = augmented(scene, only(elastic=1), np.random.default_rng(5))
    moved = after.input.xyz - scene.input.xyz
    assert 0.02 < float(moved.norm(dim=1).mean()) < 1.0
    apart = torch.cdist(scene.input.xyz, scene.input.xyz)
    near = (apart > 0) & (apart < 0.05)
    difference = torch.cdist(moved, moved)
    assert float(difference[near].mean()) < 0.2 * float(difference[apart > 2].mean())
    assert_tight(after)
    of_object = torch.cdist(scene.input.object_position, scene.input.xyz).argmin(dim=1)
    torch.testing.assert_close(after.input.object_position, after.input.xyz[of_object], atol=1e-5, rtol=0)


def test_bending_is_blurred_noise_between_nodes_by_scipy() -> None:
    scene = made_up()
    xyz, spacing, strength = scene.input.xyz.numpy(), 0.5, 0.25
    rng = np.random.default_rng(4)
    rng.random()  # whether to bend at all
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    nodes = np.floor((high - low) / spacing).astype(int) + 3
    noise = rng.standard_normal((3, *nodes[::-1]), np.float32).transpose(0, 3, 2, 1)
    expected = xyz.astype(np.float64)
    for axis, field in enumerate(noise):
        blurred = field.astype(np.float64)
        for _ in range(2):
            inside = uniform_filter(np.ones(nodes), 3, mode="constant")
            blurred = uniform_filter(blurred, 3, mode="constant") / inside
        lines = [low[k] + spacing * np.arange(nodes[k]) for k in range(3)]
        expected[:, axis] += strength * RegularGridInterpolator(lines, blurred)(xyz.astype(np.float64).clip(low, high))
    after = augmented(scene, only(elastic=1, elastic_grids=((spacing, strength),)), np.random.default_rng(4))
    np.testing.assert_allclose(after.input.xyz, expected, atol=1e-5)


@pytest.mark.parametrize("size", [1e5, 1e-3, 0.0])
def test_scenes_of_any_size_bend_on_grids_that_fit_in_memory(size: float) -> None:
    scene = made_up()
    resized = replace(scene, input=replace(scene.input, xyz=scene.input.xyz * size))
    after = augmented(resized, only(elastic=1), np.random.default_rng(0))
    assert torch.isfinite(after.input.xyz).all()
    assert not torch.equal(after.input.xyz, resized.input.xyz)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, POINTS - 1), st.booleans())
def test_a_crop_is_small_and_holds_an_instance(seed: int, most: int, views: bool) -> None:
    scene = made_up(views=views)
    after = augmented(scene, only(max_points=most), np.random.default_rng(seed))
    number = originals(after)
    assert len(number) == most == len(torch.unique(number))
    assert after.targets.instances >= 1
    assert_consistent(after, scene)
    # a square column: whatever lies nearer than the farthest point that stayed, stayed too
    was = scene.input.xyz[:, :2]
    reach = torch.cdist(was, was[number], p=float("inf")).amax(dim=1)
    left_out = torch.ones(POINTS, dtype=torch.bool)
    left_out[number] = False
    if left_out.any():
        nearest_left_out = torch.cdist(was, was[left_out], p=float("inf")).amin(dim=1)
        assert (nearest_left_out[number] >= reach[number] - 1e-6).any()
    # a box is there only for an instance all of whose points are, and it is the one it was
    for instance, box in enumerate(after.targets.box):
        thing = int(after.targets.true_of_instance[instance])
        whole = int(members(after, instance).sum()) == int(members(scene, thing - 1).sum())
        if views or not whole:
            assert torch.isnan(box).all()
        else:
            assert torch.equal(box, scene.targets.box[thing - 1])


def test_an_instance_that_a_crop_cuts_has_no_box() -> None:
    """The crop takes a single point; of what it was, every superpoint is still there."""
    scene = made_up()
    cut = set()
    for seed in range(40):
        after = augmented(scene, only(max_points=POINTS - 1), np.random.default_rng(seed))
        (gone,) = set(range(POINTS)) - set(originals(after).tolist())
        assert after.targets.superpoints == SUPERPOINTS
        thing = int(scene.targets.true_of_superpoint[scene.input.superpoint[gone]])
        assert torch.isnan(after.targets.box).any(dim=1).tolist() == [k + 1 == thing for k in range(4)]
        cut.add(thing)
    assert len(cut) > 1


@pytest.mark.parametrize("descending", [False, True])  # the points of no instance last or first
def test_a_crop_keeps_its_middle_among_points_right_above_it(descending: bool) -> None:
    scene = made_up()
    order = torch.argsort(scene.input.superpoint, descending=descending)
    upright = scene.input.xyz[order] * torch.tensor([0.0, 0.0, 1.0])
    scene = replace(scene, input=replace(scene.input, xyz=upright, superpoint=scene.input.superpoint[order]))
    for seed in range(5):
        assert augmented(scene, only(max_points=1), np.random.default_rng(seed)).targets.instances == 1


def test_a_crop_leaves_2d_objects_outside_of_it() -> None:
    scene = made_up()
    after = augmented(scene, only(max_points=60), np.random.default_rng(2)).input
    low, high = after.xyz[:, :2].amin(dim=0), after.xyz[:, :2].amax(dim=0)
    assert 0 < len(after.objects) == len(after.object_position) < 9
    assert (after.object_position[:, :2] > low - 0.8).all()
    assert (after.object_position[:, :2] < high + 0.8).all()
    of_object = torch.cdist(after.object_position, scene.input.object_position).argmin(dim=1)
    assert torch.equal(after.objects, scene.input.objects[of_object])


def test_features_stay_reduced_until_a_batch_is_made_of_the_points_that_are_left() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal(size=(POINTS, 2)).astype(np.float16)
    reduction = Reduction(rng.normal(size=5).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32))
    scene = made_up()
    scene = replace(scene, input=replace(scene.input, features=torch.from_numpy(small), reduction=reduction))
    left = augmented(scene, only(max_points=POINTS // 3), np.random.default_rng(1)).input
    assert left.features is not None
    assert left.features.shape == (POINTS // 3, 2)
    whole = small.astype(np.float64) @ reduction.basis.T + reduction.mean
    number = ((left.rgb[:, 0] + 1) / 2 * (POINTS - 1)).round().long().numpy()
    point = make_batch([left], SIZES["tiny"].model_copy(update={"point_channels": 5})).point
    np.testing.assert_allclose(point[:, 6:11].numpy(), whole[number], atol=1e-5)


def test_points_go_and_the_annotation_stays() -> None:
    scene = made_up(views=True)
    counts = []
    for seed in range(100):
        after = augmented(scene, only(point_dropout=0.99), np.random.default_rng(seed))
        counts.append(len(after.input.xyz))
        assert after.targets is scene.targets
        assert_consistent(after, scene)
        assert torch.equal(after.input.xyz, scene.input.xyz[originals(after)])
    assert min(counts) < 0.3 * POINTS < 0.8 * POINTS < max(counts)


def test_views_go_and_one_with_an_instance_stays() -> None:
    scene = made_up(views=True)
    seen = {(int(v), int(s)) for v, s in zip(scene.targets.visible_view, scene.targets.visible_superpoint, strict=True)}
    for seed in range(20):
        after = augmented(scene, only(view_dropout=0.99), np.random.default_rng(seed)).targets
        assert 1 <= after.views < VIEWS
        assert after.instances >= 1
        assert after.superpoints == SUPERPOINTS
    few = augmented(scene, only(view_dropout=0.3), np.random.default_rng(1))
    assert 1 < few.targets.views < VIEWS
    assert_consistent(few, scene)
    for view in range(few.targets.views):
        sees = set(few.targets.visible_superpoint[few.targets.visible_view == view].tolist())
        assert any(sees == {s for v, s in seen if v == old} for old in range(VIEWS))
    assert few.input is scene.input
    whole = made_up()
    assert (
        augmented(whole, only(view_dropout=0.99), np.random.default_rng(0)).targets is whole.targets
    )  # its one view sees everything


def test_colours_change_alike_within_bounds() -> None:
    scene = made_up()
    after = augmented(scene, only(contrast=0.2, brightness=0.3), np.random.default_rng(0)).input.rgb
    assert float(after.abs().max()) <= 1
    inside = (after.abs() < 1).all(dim=1)
    for channel in (0, 2):
        slope, shift = np.polyfit(scene.input.rgb[inside, channel].numpy(), after[inside, channel].numpy(), 1)
        assert 0.8 <= abs(slope) <= 1.2
        assert abs(shift) <= 0.3
    assert float(after[:, 1].std()) < 1e-6
    noisy = augmented(scene, only(jitter=0.1), np.random.default_rng(0)).input.rgb
    assert 0.08 < float((noisy - scene.input.rgb)[:, 1].std()) < 0.12


@pytest.mark.parametrize("views", [False, True])
def test_the_generator_alone_decides_and_nothing_is_written_to(views: bool) -> None:
    scene = made_up(views=views)
    before = {name: value.clone() for name, value in tensors(scene).items()}
    chosen = AugmentSettings(max_points=400)
    one, other = (augmented(scene, chosen, np.random.default_rng(11)) for _ in range(2))
    assert_same(one, other)
    assert not torch.equal(
        one.input.xyz, augmented(scene, chosen, np.random.default_rng(12)).input.xyz[: len(one.input.xyz)]
    )
    for name, value in tensors(scene).items():
        assert torch.equal(torch.nan_to_num(value), torch.nan_to_num(before[name])), name
    assert_consistent(one, scene)


def test_a_scene_without_instances_objects_or_features() -> None:
    scene = made_up()
    bare = replace(
        scene.input, features=None, objects=torch.zeros(0, 0), object_position=torch.zeros(0, 3), rgb=scene.input.rgb
    )
    nobody = scene_targets(
        scene.input.xyz.numpy(), scene.input.superpoint.numpy().astype(np.int32),
        SceneTruth(np.zeros(POINTS, np.int32), ()),
    )  # fmt: skip
    after = augmented(TrainingScene("bare", bare, nobody), AugmentSettings(max_points=300), np.random.default_rng(0))
    assert after.targets.instances == 0
    assert len(after.input.xyz) <= 300
    assert after.input.features is None
    assert torch.isfinite(after.input.xyz).all()


@pytest.mark.parametrize(
    "wrong", [{"scale": (1.1, 0.9)}, {"scale": (0.0, 1.0)}, {"elastic_grids": ((0.0, 0.4),)}, {"point_dropout": 1.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AugmentSettings(**wrong)
