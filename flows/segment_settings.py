"""The parameters of the flow ``segment``."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from flows.settings import LabelParameters, StoreUrl, default_store, only_scene
from ovseg3r_model.errors import InputError
from ovseg3r_model.network.inference import InferenceSettings
from ovseg3r_model.settings import PipelineSettings, Settings
from ovseg3r_model.vocabulary import Vocabulary, parse_prompt, read_vocabulary
from storage.catalog import Catalog
from storage.store import Store
from tasks.model_files import find_model
from tasks.remote_files import is_url


class SegmentParameters(Settings):
    """Where to look, what for, and by which model."""

    target: str = Field(description="A published scene's id, or a video or the folder of a recording.")
    store: StoreUrl = Field(
        default_factory=default_store, description="Folder or URL of the store that holds the model, and the scene."
    )
    model: str = Field("segmenter", description="Trained model.")
    prompt: str | None = Field(None, description='What to look for, such as "chair. office desk. mug".')
    vocabulary: str | None = Field(
        None, description="household, scannet200, or a text file with a phrase a line; else what the model has learned."
    )
    out: str | None = Field(None, description="Folder for what is found; without it found-SCENE.")
    device: str = Field("auto", description="auto (CUDA where there is one), cpu, or a torch device such as cuda:0.")
    inference: InferenceSettings = InferenceSettings()
    pipeline: PipelineSettings = PipelineSettings()


def check_target(parameters: SegmentParameters) -> None:
    """Raises InputError for what can be seen to be wrong before the work: the store, the model, the words, the
    target."""
    store = Store.open(parameters.store, create=False)
    find_model(store, parameters.model)
    words_of(parameters, ())
    if not is_published(store, parameters.target):
        if not is_url(parameters.target) and not Path(parameters.target).expanduser().exists():
            known = ", ".join(row.scene_id for row in Catalog(store).rows()[:10]) or "none"
            raise InputError(
                f"{parameters.target} is neither a scene of {store.url} nor a file or folder here; published are: "
                f"{known}."
            )
        only_scene(labelling(parameters))


def is_published(store: Store, target: str) -> bool:
    """Whether the target is a scene's id."""
    return any(row.scene_id == target for row in Catalog(store).rows())


def labelling(parameters: SegmentParameters) -> LabelParameters:
    """How label would take the target."""
    return LabelParameters(sources=(parameters.target,), store=parameters.store, pipeline=parameters.pipeline)


def words_of(parameters: SegmentParameters, learned: Sequence[str]) -> Vocabulary:
    """What to look for: what is asked for, else what the model has learned."""
    if parameters.prompt is not None:
        return parse_prompt(parameters.prompt)
    if parameters.vocabulary is not None:
        return read_vocabulary(parameters.vocabulary)
    return Vocabulary("model", tuple(learned))
