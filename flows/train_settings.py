"""The parameters of the flow ``train``."""

from collections.abc import Sequence

from pydantic import Field

from flows.settings import StoreUrl, default_store
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import Settings
from ovseg3r_model.text import build_text_encoder
from ovseg3r_model.training.model_settings import ModelSettings
from ovseg3r_model.training.schedule import ScheduleSettings
from ovseg3r_model.training.settings import precision_of
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow
from storage.names import check_model_id
from storage.selection import SelectionSettings, select
from storage.store import Store


class TrainParameters(Settings):
    """Which published scenes to train on, what, and under which name to publish it."""

    model_id: str = Field("segmenter", title="Model", description="Name that the model is published under.")
    store: StoreUrl = Field(
        default_factory=default_store,
        title="Store",
        description="Folder or URL of the store that holds the scenes, and the models.",
    )
    scenes: SelectionSettings = Field(
        SelectionSettings(),
        title="Scenes to train on",
        description="Of the published ones; all, unless said otherwise.",
    )
    held_out: SelectionSettings | None = Field(
        None,
        title="Scenes to evaluate on",
        description="Scenes with truth to evaluate on; they are left out of the training.",
    )
    model: ModelSettings = Field(
        ModelSettings(), title="The network", description="Its size, its text encoder, and how it is trained."
    )
    schedule: ScheduleSettings = Field(
        ScheduleSettings(),
        title="While it trains",
        description="What decides no weights: checkpoints, reading, curves.",
    )


def chosen_scenes(store: Store, parameters: TrainParameters) -> tuple[list[CatalogRow], list[CatalogRow]]:
    """The scenes to train on, and those to evaluate on.

    Raises:
        InputError: there is nothing to train on, or nothing that is asked to be evaluated on, or the name of the model
            cannot be used.
    """
    check_model_id(parameters.model_id)
    rows = Catalog(store).rows()
    scenes, held_out = rows_to_train_on(rows, parameters)
    if parameters.held_out is not None and not held_out:
        raise InputError(
            f"{store.url}: none of {len(rows)} published scenes is what is asked to be held out; `ovseg3r catalog` "
            "lists them with their tags."
        )
    if not scenes:
        raise InputError(
            f"{store.url}: none of {len(rows)} published scenes is left to train on; `ovseg3r catalog` lists them with "
            "their tags."
        )
    if not any(row.label_histogram for row in scenes):
        raise InputError(
            f"{store.url}: none of the {len(scenes)} scenes to train on names anything; `ovseg3r show` tells what a "
            "scene holds."
        )
    return scenes, held_out


def rows_to_train_on(
    rows: Sequence[CatalogRow], parameters: TrainParameters
) -> tuple[list[CatalogRow], list[CatalogRow]]:
    """As :func:`chosen_scenes`, whatever is missing.

    Raises:
        InputError: a scene that is named in full is not published.
    """
    held_out = [] if parameters.held_out is None else select(rows, parameters.held_out)
    left_out = {row.scene_id for row in held_out} | {row.source_digest for row in held_out}
    scenes = [
        row
        for row in select(rows, parameters.scenes)
        if not {row.scene_id, row.source_digest} & left_out  # nor the same film under another name
    ]
    return scenes, held_out


def settled(settings: ModelSettings) -> tuple[ModelSettings, str]:
    """The settings with the text encoder and the precision that "auto" stands for on this machine, and that encoder's
    name: the model keeps it, whatever weights are fetched later."""
    encoder = build_text_encoder(settings.text).name
    text = settings.text.model_copy(update={"engine": encoder.partition("-")[0]})
    train = settings.train.model_copy(update={"precision": precision_of(settings.train)})
    return settings.model_copy(update={"text": text, "train": train}), encoder
