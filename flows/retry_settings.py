"""What another try at a failed scene needs: kept with the failure, and found again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from flows.settings import MOST_WORKERS, NamedSource, Runner, StoreUrl, default_store
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings, Settings
from storage.failures import Failure, Failures
from storage.store import Store

if TYPE_CHECKING:
    from flows.import_settings import NamedScene

Until = Literal["reconstruct"] | None
T = TypeVar("T")


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
    workers: int = Field(1, ge=1, le=MOST_WORKERS, title="Workers", description="Scenes at the same time.")
    runner: Runner = Field("threads", title="Task runner", description="What the scenes run on.")
    runner_address: str | None = Field(
        None, title="Address of Dask or Ray", description="Of a running Dask scheduler or Ray head."
    )


def kept(scene: NamedSource, until: Until) -> dict[str, Any]:
    """What :func:`to_retry` needs of a source, as JSON values."""
    return {"tags": list(scene.tags), "settings": scene.settings.model_dump(mode="json"), "until": until}


@dataclass(frozen=True)
class ToRetry:
    """labels: sources whose labelling failed, and after which stage it was to stop; imports: scenes with ground truth
    whose import failed."""

    labels: tuple[tuple[NamedSource, Until], ...]
    imports: "tuple[NamedScene, ...]"

    def __len__(self) -> int:
        return len(self.labels) + len(self.imports)


def to_retry(store: Store, scenes: tuple[str, ...]) -> ToRetry:
    """The failed scenes, all or those named, by id.

    Raises:
        InputError: one that is named has not failed, or a record is of another version of this program.
    """
    found = {failure.scene_id: failure for failure in Failures(store).all()}
    unknown = [scene_id for scene_id in scenes if scene_id not in found]
    if unknown:
        raise InputError(f"{store.url}: no failure of {', '.join(unknown)} is known; `ovseg3r status` lists them.")
    chosen = [failure for scene_id, failure in found.items() if not scenes or scene_id in scenes]
    return ToRetry(
        tuple(_of(failure, _labelled) for failure in chosen if not failure.of_import),
        tuple(_of(failure, _imported) for failure in chosen if failure.of_import),
    )


def _of(failure: Failure, made: Callable[[Failure], T]) -> T:
    try:
        return made(failure)
    except (KeyError, ValidationError) as error:
        again = "import" if failure.of_import else "label"
        raise InputError(
            f"scene {failure.scene_id} failed under settings that this version does not know; {again} "
            f"{failure.source} again instead."
        ) from error


def _labelled(failure: Failure) -> tuple[NamedSource, Until]:
    given = failure.parameters
    settings = PipelineSettings.model_validate(given["settings"])
    return NamedSource(failure.source, failure.scene_id, tuple(given["tags"]), settings), given["until"]


def _imported(failure: Failure) -> "NamedScene":
    from flows.import_settings import named_again

    return named_again(failure.source, failure.scene_id, failure.parameters)
