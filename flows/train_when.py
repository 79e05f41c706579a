"""The flow ``train`` as a deployment runs it: a training when enough is new, or when it has waited long enough."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.train import train_model
from flows.train_settings import TrainParameters, rows_to_train_on
from storage.catalog import Catalog, ModelCatalog
from storage.catalog_rows import CatalogRow
from storage.model_rows import ModelRow
from storage.model_store import ModelStore
from storage.store import Store


@dataclass(frozen=True)
class NotYet:
    """No training was due. new: scenes that the last model was not trained on. why: one sentence."""

    new: int
    why: str


@flow(name="train", persist_result=False)
def train_when_due(
    parameters: TrainParameters, at_least: int = 1, wait_minutes: float = 0.0
) -> ModelRow | State[NotYet]:
    """Trains and publishes a model if its scenes have changed enough since the last model of that name; else ends at
    once, completed, and says why.

    Args:
        parameters: Which scenes to train on, what, and under which name.
        at_least: So many new scenes start a training; 0 trains whatever is new or not, as after a changed setting.
        wait_minutes: Fewer start one too once the oldest of them was published so long ago.

    Raises:
        InputError: the store is unusable, or what is asked to be held out, or to be trained on, is not there.
    """
    store = Store.open(parameters.store, create=False)
    waiting = not_yet(store, parameters, at_least, wait_minutes, datetime.now(UTC))
    if waiting is not None:
        return Completed(message=waiting.why, data=waiting)
    return train_model.fn(parameters)


def not_yet(
    store: Store, parameters: TrainParameters, at_least: int, wait_minutes: float, now: datetime
) -> NotYet | None:
    """Why no training is due at this moment; None where one is."""
    if at_least <= 0:
        return None
    new = new_scenes(store, parameters)
    if not new:
        return NotYet(0, f"nothing is new for model {parameters.model_id} since it was last trained")
    due = min(datetime.fromisoformat(row.published_at) for row in new) + timedelta(minutes=wait_minutes)
    if len(new) >= at_least or due <= now:
        return None
    return NotYet(
        len(new),
        f"{len(new)} new of {at_least} scenes that a training waits for; it starts when {at_least - len(new)} more are "
        f"published, or at the first run after {due:%Y-%m-%d %H:%M:%S} UTC",
    )


def new_scenes(store: Store, parameters: TrainParameters) -> list[CatalogRow]:
    """The scenes that a training would take and the last model of that name was not trained on, in this version."""
    known = _trained_on(store, parameters.model_id)
    scenes, _ = rows_to_train_on(Catalog(store).rows(), parameters)
    return [row for row in scenes if known.get(row.scene_id) != row.digest]


def _trained_on(store: Store, model_id: str) -> dict[str, str]:
    """Digest by scene id of the last model's scenes; empty where there is no model."""
    last = next((row for row in ModelCatalog(store).rows() if row.model_id == model_id), None)
    published = None if last is None else ModelStore(store).published(model_id, last.digest)
    return {} if published is None else dict(published.manifest["scenes"])
