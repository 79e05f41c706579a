"""What another try at a failed scene needs: kept with the failure, and found again."""

from typing import Any, Literal

from pydantic import Field, ValidationError

from flows.settings import MOST_WORKERS, NamedSource, Runner, StoreUrl, default_store
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings, Settings
from storage.failures import Failure, Failures
from storage.store import Store

Until = Literal["reconstruct"] | None


class RetryParameters(Settings):
    """Which failed scenes to try again, and on what."""

    store: StoreUrl = Field(
        default_factory=default_store,
        title="Store",
        description="Folder or URL that the scenes were to be published to.",
    )
    scenes: tuple[str, ...] = Field(
        (), title="Scenes", description="Ids of failed scenes; without any, all that failed."
    )
    workers: int = Field(1, ge=1, le=MOST_WORKERS, title="Workers", description="Scenes labelled at the same time.")
    runner: Runner = Field("threads", title="Task runner", description="What the scenes run on.")
    runner_address: str | None = Field(
        None, title="Address of Dask or Ray", description="Of a running Dask scheduler or Ray head."
    )


def kept(scene: NamedSource, until: Until) -> dict[str, Any]:
    """What :func:`source_of` needs of a source, as JSON values."""
    return {"tags": list(scene.tags), "settings": scene.settings.model_dump(mode="json"), "until": until}


def source_of(failure: Failure) -> tuple[NamedSource, Until]:
    """The source whose labelling failed, and after which stage it was to stop.

    Raises:
        InputError: the record is of another version of this program.
    """
    given = failure.parameters
    try:
        settings = PipelineSettings.model_validate(given["settings"])
        return NamedSource(failure.source, failure.scene_id, tuple(given["tags"]), settings), given["until"]
    except (KeyError, ValidationError) as error:
        raise InputError(
            f"scene {failure.scene_id} failed under settings that this version does not know; label "
            f"{failure.source} again instead."
        ) from error


def to_retry(store: Store, scenes: tuple[str, ...]) -> list[tuple[NamedSource, Until]]:
    """The failed scenes, all or those named, by id.

    Raises:
        InputError: one that is named has not failed, or see :func:`source_of`.
    """
    found = {failure.scene_id: failure for failure in Failures(store).all()}
    unknown = [scene_id for scene_id in scenes if scene_id not in found]
    if unknown:
        raise InputError(f"{store.url}: no failure of {', '.join(unknown)} is known; `ovseg3r status` lists them.")
    return [source_of(failure) for scene_id, failure in found.items() if not scenes or scene_id in scenes]
