"""The parameters of the flows: what Prefect's form shows, what ``--config`` reads, what the command line fills."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings, ReferenceSettings, Settings
from ovseg3r_model.sources import scene_id_of
from storage.names import check_scene_id, check_tag

DEFAULT_STORE = "ovseg3r-store"
MOST_WORKERS = 64
SCENE_ID = "{scene_id}"
"""Stands for each scene's id in the paths of masks and reconstructions, where several sources are labelled."""


Tags = tuple[Annotated[str, AfterValidator(check_tag)], ...]


class LabelParameters(Settings):
    """Which sources to label, where to, and how."""

    sources: tuple[str, ...] = Field(min_length=1, description="Videos or folders, one scene each.")
    store: str = Field(DEFAULT_STORE, description="Folder or URL (s3://, gs://, az://) that scenes are published to.")
    scene_id: str | None = Field(
        None, description="Name of the scene; only with one source. Else made from the source's name."
    )
    tags: Tags = Field(
        (), description="Words of one's own for the scenes, to choose them by; without any, a scene keeps what it has."
    )
    workers: int = Field(1, ge=1, le=MOST_WORKERS, description="Scenes labelled at the same time.")
    pipeline: PipelineSettings = PipelineSettings()


def read_config(path: Path) -> dict[str, object]:
    """The values in a JSON or YAML file, to be completed and checked by :func:`checked`.

    Raises:
        InputError: the file cannot be read or is no mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: the configuration cannot be read ({first}); give a YAML or JSON file.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a configuration is a mapping of names to values, as in docs/configuration.md.")
    return values


def checked(values: dict[str, object]) -> LabelParameters:
    """The parameters, or one sentence that names every wrong value.

    Raises:
        InputError: a name is unknown or a value out of range.
    """
    return validated(LabelParameters, values)


def checked_reference(values: dict[str, object]) -> ReferenceSettings | None:
    """As :func:`checked`, of what a reconstruction is judged by; None where nothing is said of it."""
    if not values:
        return None
    if "source" not in values:
        raise InputError(
            "It is said how to read the reference, but not which it is; add --against, or leave the --against-... out."
        )
    return validated(ReferenceSettings, values, "against.")


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: dict[str, object], prefix: str = "") -> Model:
    """As :func:`checked`, of any settings; prefix: what the sentence puts before their names."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{prefix}{'.'.join(map(str, e['loc']))}: {e['msg'][:1].lower()}{e['msg'][1:]}" for e in error.errors()
        )
        raise InputError(
            f"The settings are not usable: {wrong}; the command's --help and docs/configuration.md list them."
        ) from error


def name_scenes(parameters: LabelParameters) -> list[tuple[str, str]]:
    """(source, scene id) of every source, absolute and checked.

    Raises:
        InputError: a given id is not usable, or two sources have one name.
    """
    if parameters.scene_id is not None:
        if len(parameters.sources) != 1:
            raise InputError(
                f"--scene-id names one scene, but {len(parameters.sources)} sources are given; leave it out."
            )
        check_scene_id(parameters.scene_id)
    if len(parameters.sources) > 1:
        segment, given = parameters.pipeline.segment, parameters.pipeline.reconstruct
        measured = None if given.scale_from == "depth" else given.scale_from
        paths = (
            ("masks", segment.masks),
            ("reconstruction", given.reconstruction),
            ("scale", measured),
            ("truth", segment.simulated.truth),
        )
        for what, path in paths:
            if path is not None and SCENE_ID not in path:
                raise InputError(
                    f"{path}: one recording's {what} cannot be that of {len(parameters.sources)} sources; write "
                    f"{SCENE_ID} where the path differs, or label the sources one by one."
                )
    seen: dict[str, str] = {}
    for source in parameters.sources:
        path = str(Path(source).expanduser().resolve())
        scene_id = parameters.scene_id or scene_id_of(Path(path))
        if scene_id in seen:
            raise InputError(
                f"{seen[scene_id]} and {path} would both be scene {scene_id}; label them one by one, with --scene-id."
            )
        seen[scene_id] = path
    return [(path, scene_id) for scene_id, path in seen.items()]


def only_scene(parameters: LabelParameters) -> tuple[str, str]:
    """(source, scene id) of the one source.

    Raises:
        InputError: as :func:`name_scenes`, or there are several.
    """
    (scene, *more) = name_scenes(parameters)
    if more:
        raise InputError(f"One source is reconstructed at a time, but {len(more) + 1} are given; give one.")
    return scene


def with_scene_paths(settings: PipelineSettings, scene_id: str) -> PipelineSettings:
    """The settings with the scene's id put into the paths that are named after it."""

    def named(part: Settings, *names: str) -> Settings:
        paths = {name: getattr(part, name) for name in names}
        return part.model_copy(update={n: p.replace(SCENE_ID, scene_id) for n, p in paths.items() if p is not None})

    simulated = named(settings.segment.simulated, "truth")
    return settings.model_copy(
        update={
            "segment": named(settings.segment, "masks").model_copy(update={"simulated": simulated}),
            "reconstruct": named(settings.reconstruct, "reconstruction", "scale_from"),
        }
    )
