"""A filmed room learned by heart, from its scene-level truth and from the partial annotations of its views."""

import numpy as np
import pytest

from flows import generate_labels, import_annotated
from flows.evaluate_model import evaluate_model
from flows.import_settings import ImportParameters
from flows.settings import LabelParameters
from flows.train import train_model
from flows.train_settings import TrainParameters
from ovseg3r_model.benchmark_summary import BenchmarkSummary
from ovseg3r_model.rooms import make_room, write_room
from ovseg3r_model.training.data_settings import AugmentSettings
from storage.selection import SelectionSettings
from storage.store import Store
from tests.rooms import VOXEL

pytestmark = pytest.mark.usefixtures("prefect_api", "one_torch_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> str:
    """A store with a small room, imported as "room", and labelled view by view from its exact masks, as "views"."""
    folder = tmp_path_factory.mktemp("learned")
    room = folder / "room"
    write_room(make_room(5, n_objects=8, n_flat=4), room, "7scenes", 16, 5, size=(200, 150))
    url = str(folder / "store")
    (imported,) = import_annotated.run(ImportParameters(sources=(str(room),), store=url, voxel=VOXEL))
    exact = {"engine": "simulated", "simulated": {"truth": str(room), "errors": {"synonym": 0.0}}}
    pipeline = {"segment": exact, "reconstruct": {"voxel": VOXEL}}
    given = {"sources": [str(room / "recording")], "store": url, "scene_id": "views", "pipeline": pipeline}
    (labelled,) = generate_labels.run(LabelParameters.model_validate(given))
    assert (imported.status, labelled.status) == ("published", "published")
    return url


def learned(store: str, scene_id: str) -> BenchmarkSummary:
    """AP on the room itself, of a tiny network trained on one scene, which is never changed."""
    train = {"steps": 120, "batch": 1, "device": "cpu", "optimiser": {"learning_rate": 2e-3, "warm_up": 10}}
    model = {
        "size": "tiny",
        "text": {"engine": "minilm"},
        "train": train,
        "augment": AugmentSettings.none().model_dump(),
    }
    given = {"model_id": scene_id, "store": store, "scenes": {"scenes": [scene_id]}, "model": model}
    given["schedule"] = {"data": {"workers": 0}}
    train_model(TrainParameters.model_validate(given))
    chosen = SelectionSettings(scenes=("room",))
    return evaluate_model(Store.open(store), scene_id, chosen, {}, "cpu", None)


def test_from_the_truth_of_the_whole_room(store: str) -> None:
    summary = learned(store, "room")
    assert summary.overall.classes >= 5
    assert summary.overall.ap50 > 0.95


def test_from_views_that_each_show_a_part(store: str) -> None:
    assert learned(store, "views").overall.ap50 > 0.85


def test_the_views_do_show_parts_only(store: str) -> None:
    """Else the test above would prove nothing: most annotations lack a quarter of their thing's points or more."""
    from storage.catalog import Catalog
    from storage.scene_store import SceneStore

    row = next(row for row in Catalog(Store.open(store)).rows() if row.scene_id == "views")
    scene = SceneStore(Store.open(store)).read("views", row.digest).scene
    assert scene.truth is not None
    point = scene.reconstruction.correspondence.point()
    shares = []
    for k in range(len(scene.instances)):
        under = scene.truth.instance[point[scene.observation == k + 1]]
        thing = int(np.bincount(under).argmax()) if len(under) else 0
        if thing and (scene.truth.instance == thing).sum() >= 100:
            shares.append((under == thing).sum() / (scene.truth.instance == thing).sum())
    assert len(shares) > 20
    assert np.median(shares) < 0.75
