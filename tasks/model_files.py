"""Published scenes as training and evaluation ask for them, and models read back."""

from collections.abc import Sequence
from dataclasses import dataclass

import zarr

from ovseg3r_model.errors import InputError
from ovseg3r_model.text import TextEncoder, build_text_encoder
from ovseg3r_model.training.model import TrainedModel, load_model
from storage.arrays import open_array
from storage.catalog import ModelCatalog
from storage.catalog_rows import CatalogRow
from storage.model_rows import ModelRow
from storage.model_store import ModelStore
from storage.scene_store import SceneStore
from storage.store import Store


@dataclass(frozen=True)
class SceneKey:
    """A published scene: small, so that it travels instead of the data."""

    scene_id: str
    digest: str


def keys_of(rows: Sequence[CatalogRow]) -> tuple[SceneKey, ...]:
    """Of catalog rows."""
    return tuple(SceneKey(row.scene_id, row.digest) for row in rows)


def feature_channels(store: Store, scenes: Sequence[SceneKey]) -> tuple[int, int]:
    """(P, O): channels of the points' and of the objects' 2D features, as the 2D model gave them; 0, 0 where no scene
    has any. Reads no array.

    Raises:
        InputError: a scene's data is gone, or scenes have features of different channels.
    """
    found: dict[str, tuple[int, str]] = {}
    for scene in scenes:
        published = SceneStore(store).published(scene.scene_id, scene.digest)
        if published is None:
            raise InputError(f"{store.url}: the data of scene {scene.scene_id} is gone; label its source again.")
        group = store.open_group(f"{published.prefix}/scene.zarr")
        for kind in ("points", "objects"):
            channels = _channels(group, kind)
            known, first = found.setdefault(kind, (channels, scene.scene_id)) if channels else (0, "")
            if channels != known:
                raise InputError(
                    f"The 2D features of {kind} have {known} channels in scene {first} and {channels} in scene "
                    f"{scene.scene_id}; label both with the same 2D model, leave one out, or train with --no-features."
                )
    points, objects = (found.get(kind, (0, ""))[0] for kind in ("points", "objects"))
    return points, objects


def _channels(group: zarr.Group, kind: str) -> int:
    """0 where the scene has none."""
    if f"features/{kind}" not in group or not open_array(group, f"features/{kind}").shape[0]:
        return 0
    reduced = f"features/{kind}_basis" in group  # (C,size); what is kept is (n,size) then, else (n,C)
    return (
        open_array(group, f"features/{kind}_basis").shape[0]
        if reduced
        else open_array(group, f"features/{kind}").shape[1]
    )


def find_model(store: Store, model_id: str) -> ModelRow:
    """The newest model of that id.

    Raises:
        InputError: there is none.
    """
    rows = ModelCatalog(store).rows()
    for row in rows:
        if row.model_id == model_id:
            return row
    known = ", ".join(row.model_id for row in rows[:10]) or "none"
    raise InputError(f"There is no model {model_id} in {store.url}; trained are: {known}.")


def read_model(store: Store, row: ModelRow) -> tuple[TrainedModel, TextEncoder]:
    """The model, and the text encoder that it was trained with.

    Raises:
        InputError: its files are gone or damaged, or the text encoder here is another.
    """
    model = load_model(ModelStore(store).read(row.model_id, row.digest).get)
    encoder = build_text_encoder(model.description.text)
    if encoder.name != model.description.encoder:
        raise InputError(
            f"Model {row.model_id} was trained with the text encoder {model.description.encoder}, here is "
            f"{encoder.name}: the words would mean something else to it. `ovseg3r weights fetch` brings CLIP's."
        )
    return model, encoder
