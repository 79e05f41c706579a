"""A training on made-up scenes: it learns, goes on after a kill with the same weights, stops before it is ruined."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load

from ovseg3r_model.benchmark_summary import BenchmarkSummary, benchmark_summary
from ovseg3r_model.network.inference import InferenceSettings
from ovseg3r_model.network.inputs import LEVELS, Batch
from ovseg3r_model.network.settings import SIZES, BackboneSettings, DecoderSettings, NetworkSettings
from ovseg3r_model.network.sparse import Pyramid
from ovseg3r_model.records import SceneTruth
from ovseg3r_model.supervision.pairs import Pairs
from ovseg3r_model.supervision.settings import SupervisionSettings
from ovseg3r_model.supervision.vip import vip_losses
from ovseg3r_model.text.settings import TextSettings
from ovseg3r_model.training.judge import benchmark_truth, with_classes
from ovseg3r_model.training.labels import LabelPool
from ovseg3r_model.training.model import ModelDescription, load_model, model_files
from ovseg3r_model.training.model_settings import ModelSettings
from ovseg3r_model.training.predict import predict
from ovseg3r_model.training.samples import TrainingScene
from ovseg3r_model.training.settings import LabelSettings, OptimiserSettings, TrainSettings
from ovseg3r_model.training.step import Prepare, weighted
from ovseg3r_model.training.training import Diverged, Training
from tests.unit.training_scenes import NAMES, made_up

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CHANNELS = 16
NETWORK = NetworkSettings(
    voxel=0.1, point_channels=3, object_channels=2, text_channels=CHANNELS,
    backbone=BackboneSettings(
        stem=8, stem_kernel=3, planes=(8, 16, 16, 16, 16, 16, 16, 16), blocks=(1,) * 8, norm="layer"
    ),
    decoder=DecoderSettings(layers=2, width=32, heads=4, feed_forward=64),
)  # fmt: skip
"""Smaller than tiny: a step takes a few hundredths of a second."""


def embeddings(*names: str) -> dict[str, np.ndarray]:
    made = {}
    for name in names:
        vector = np.random.default_rng(list(name.encode())).normal(size=CHANNELS)
        made[name] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return made


POOL = LabelPool(embeddings(*NAMES, "kettle", "map", "cup", "lamp"))


def settings(steps: int, **more: object) -> TrainSettings:
    return TrainSettings.model_validate({
        "steps": steps, "batch": 1, "device": "cpu", "labels": {"count": 6, "nearest": 1.0},
        "optimiser": {"learning_rate": 3e-3, "warm_up": 5}, **more,
    })  # fmt: skip


def trained(
    scenes: list[TrainingScene], chosen: TrainSettings, until: int, training: Training | None = None
) -> Training:
    training = training or Training(NETWORK, chosen)
    prepare = Prepare(NETWORK, chosen, POOL)
    for step in range(training.step, until):
        training.run_step([prepare(step, [scenes[step % len(scenes)]])])
    return training


def judged(training: Training, scene: TrainingScene, truth: SceneTruth, boxes: bool) -> BenchmarkSummary:
    names = sorted(set(truth.names))
    classes = {name: k + 1 for k, name in enumerate(names)}
    text = np.stack([embeddings(name)[name] for name in names])
    network = training.network.eval()
    inference = InferenceSettings(min_points=1, gap=None)  # made-up things lie in pieces
    found = with_classes(predict(network, NETWORK, scene.input, text, inference, boxes), np.arange(1, len(names) + 1))
    return benchmark_summary([(benchmark_truth(truth, classes), found)], {k: n for n, k in classes.items()}, {})


def truth_of(scene: TrainingScene) -> SceneTruth:
    superpoint = scene.input.superpoint.numpy()
    return SceneTruth(np.where(superpoint < 16, superpoint // 4 + 1, 0).astype(np.int32), NAMES)


@pytest.mark.parametrize("views", [False, True], ids=["scene-level", "VIP"])
def test_a_scene_is_learned_by_heart(views: bool) -> None:
    """Also from views that each show a part: no view's annotation says what the whole instances are."""
    scene = made_up(views=views)
    training = trained([scene], settings(80), 80)
    summary = judged(training, scene, truth_of(scene), boxes=not views)
    assert summary.overall.ap50 == 1.0
    assert summary.overall.ap > 0.85


def test_a_training_that_goes_on_ends_with_the_same_weights() -> None:
    bare = made_up(1, views=True)  # without 2D objects, whose parameters then rest
    bare = replace(bare, input=replace(bare.input, objects=bare.input.objects[:0], object_position=torch.zeros(0, 3)))
    scenes = [made_up(0), bare]
    chosen = settings(8, optimiser={"learning_rate": 1e-3, "warm_up": 3, "ema": 0.8})
    whole = trained(scenes, chosen, 8)
    first = trained(scenes, chosen, 5)
    data = first.checkpoint({"said": 1})
    second = Training(NETWORK, chosen)
    assert second.restore(data) == {"said": 1}
    assert second.checkpoint({"said": 1}) == data
    trained(scenes, chosen, 8, second)
    for name, value in whole.weights().items():
        assert torch.equal(value, second.weights()[name]), name
    assert whole.checkpoint() == second.checkpoint()


def test_the_running_mean_is_what_is_published() -> None:
    plain, mean = (
        trained([made_up()], settings(3, optimiser={"learning_rate": 1e-2, "ema": ema}), 3) for ema in (None, 0.999)
    )
    start = Training(NETWORK, settings(3)).weights()
    for name in ("to_width.0.weight", "decoder.layers.0.among.value.weight"):
        moved = (plain.weights()[name] - start[name]).norm()
        assert 0 < (mean.weights()[name] - start[name]).norm() < 0.01 * moved


def test_one_step_over_two_batches_is_that_of_their_mean_gradient() -> None:
    scenes = [made_up(0), made_up(1)]
    chosen = settings(1, optimiser={"accumulate": 2})
    prepare = Prepare(NETWORK, chosen, POOL)
    works = [prepare(number, [scene]) for number, scene in enumerate(scenes)]
    together = Training(NETWORK, chosen)
    report = together.run_step(works)
    gradients = []
    for work in works:
        alone = Training(NETWORK, chosen)
        alone.run_step([work])
        gradients.append({n: p.grad for n, p in alone.network.named_parameters() if p.grad is not None})
    assert report.losses["total"] > 0
    name = "backbone.conv0p1s1.kernel"
    # each alone was clipped as the sum was: compare directions
    one, other = (g[name] / g[name].norm() for g in gradients)
    made = dict(together.network.named_parameters())[name].grad
    assert made is not None
    basis, _ = torch.linalg.qr(torch.stack([one.flatten(), other.flatten()], dim=1))
    outside = made.flatten() - basis @ (basis.T @ made.flatten())
    assert outside.norm() < 1e-3 * made.norm()


def test_a_loss_that_is_no_number_stops_it_with_the_batch() -> None:
    scene = made_up()
    broken = replace(scene, scene_id="broken", input=replace(scene.input, rgb=scene.input.rgb * torch.nan))
    training = trained([scene], settings(5), 1)
    before = training.weights()
    with pytest.raises(Diverged, match="step 2: the loss is nan, on broken") as error:
        trained([broken], settings(5), 2, training)
    assert all(torch.equal(value, before[name]) for name, value in training.weights().items())
    kept = load(error.value.batch)
    assert kept["batch.point"].shape == (len(scene.input.xyz), 10)
    assert torch.equal(kept["targets.0.member_superpoint"], scene.targets.member_superpoint)


def test_an_exploding_loss_stops_it_with_all_that_it_follows_from() -> None:
    chosen = settings(5, optimiser={"explosion": 1e-3}, batch=2)
    first, second = made_up(views=True), made_up(1)
    fewer = replace(second.input, objects=second.input.objects[:4], object_position=second.input.object_position[:4])
    work = Prepare(NETWORK, chosen, POOL)(0, [first, replace(second, input=fewer)])
    with pytest.raises(Diverged, match="--learning-rate") as error:
        Training(NETWORK, chosen).run_step([work])
    said = re.search(r"the loss is ([0-9.e+-]+)", str(error.value))
    assert said is not None
    assert replayed(error.value.batch, chosen) == pytest.approx(float(said[1]), rel=1e-4)


def replayed(batch: bytes, chosen: TrainSettings) -> float:
    """The first step's loss, from what was kept of it alone."""
    kept = load(batch)

    def part(name: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(f"{name}."): value for key, value in kept.items() if key.startswith(f"{name}.")}

    whole = part("batch")
    scene, *place = whole.pop("voxels").long().T
    superpoints, objects_of = (tuple(whole.pop(name).tolist()) for name in ("superpoints", "objects_of"))
    pyramid = Pyramid.build(torch.stack(place, dim=1), scene, LEVELS)
    given = Batch(**whole, pyramid=pyramid, superpoints=superpoints, objects_of=objects_of)
    queries, texts, objects = ([kept[f"{name}.{k}"] for k in range(2)] for name in ("queries", "texts", "objects"))
    made, supervision = Training(NETWORK, chosen).model.train()(given, queries, texts, objects), chosen.supervision
    losses = [
        vip_losses(layer, scene.semantic, Pairs(**part(f"pairs.{k}")), supervision.weights, supervision.no_object)[0]
        for k, scene in enumerate(made)
        for layer in scene.layers
    ]
    return sum(weighted(each, supervision.weights).item() for each in losses) / 2


def test_the_rate_decays_to_nothing_by_the_polynomial() -> None:
    chosen = settings(4, optimiser={"learning_rate": 1e-3, "warm_up": 2, "decay_power": 0.9})
    training, prepare = Training(NETWORK, chosen), Prepare(NETWORK, chosen, POOL)
    rates = [training.run_step([prepare(step, [made_up()])]).rate for step in range(4)]
    decay = [1e-3 * (1 - step / 4) ** 0.9 for step in range(4)]
    assert rates == pytest.approx([decay[0] / 2, decay[1], decay[2], decay[3]])


def test_without_vip_the_views_are_one() -> None:
    scene = made_up(views=True)
    chosen = settings(1, supervision=SupervisionSettings(vip=False).model_dump())
    work = Prepare(NETWORK, chosen, POOL)(0, [scene])
    assert work.pairs[0].holds.tolist() == [True]
    assert len(work.pairs[0].instance_view) == scene.targets.instances


def test_labels_are_the_scenes_own_and_others_that_differ() -> None:
    pool = LabelPool(embeddings("sofa", "couch", "rug", "kettle") | {"settee": embeddings("sofa")["sofa"]})
    rng = np.random.default_rng(0)
    drawn = pool.draw(("rug", "sofa"), LabelSettings(count=5, nearest=0.9), rng).numpy()
    known = embeddings("rug", "sofa", "couch", "kettle")
    named = [next(n for n, v in known.items() if np.allclose(v, row)) for row in drawn]
    assert named[:2] == ["rug", "sofa"]
    assert sorted(named[2:]) == ["couch", "kettle"]  # settee is too like sofa
    assert len(pool.draw(("rug", "sofa"), LabelSettings(count=1), rng)) == 2


def test_a_model_comes_back_from_its_files() -> None:
    scene = made_up()
    training = trained([scene], settings(2), 2)
    said = ModelDescription(NETWORK, TextSettings(engine="minilm"), "minilm-x", boxes=True)
    files = model_files(training.weights(), said, NAMES)
    model = load_model(files.__getitem__)
    assert (model.description, model.vocabulary) == (said, NAMES)
    text = np.stack(list(embeddings(*NAMES).values()))
    one, other = (
        predict(network, NETWORK, scene.input, text, InferenceSettings(min_points=1, min_score=0), True)
        for network in (training.network.eval(), model.network)
    )
    assert len(one) > 0
    np.testing.assert_array_equal(one.point, other.point)
    np.testing.assert_array_equal(one.score, other.score)
    assert json.loads(files["model.json"])["boxes"] is True


def test_a_size_stands_for_what_is_not_given() -> None:
    tiny = ModelSettings.model_validate({"size": "tiny", "train": {"steps": 7}, "network": {"voxel": 0.06}})
    assert tiny.train.steps == 7
    assert tiny.network == SIZES["tiny"].model_copy(update={"voxel": 0.06})
    assert tiny.train.optimiser == OptimiserSettings(learning_rate=1e-3, warm_up=50)
    assert ModelSettings().network == SIZES["base"]
