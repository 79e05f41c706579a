"""The parameters of the flows: what Prefect's form shows, what ``--config`` reads, what the command line fills."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows.manifest import ManifestRow, read_manifest
from flows.sources import check_place, found_sources, scene_id_from
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import PipelineSettings, ReferenceSettings, Settings
from storage.names import check_scene_id, check_tag
from storage.remote import check_url

DEFAULT_STORE = "ovseg3r-store"
MOST_WORKERS = 64
MOST_PARTS = 256
SCENE_ID = "{scene_id}"
"""Stands for each scene's id in the paths of masks and reconstructions, where several sources are labelled."""


Tags = tuple[Annotated[str, AfterValidator(check_tag)], ...]
StoreUrl = Annotated[str, AfterValidator(check_url)]
Place = Annotated[str, AfterValidator(check_place)]
Runner = Literal["threads", "processes", "dask", "ray"]


def default_store() -> str:
    """The store that is meant where none is named: OVSEG3R_STORE, else a folder here."""
    return os.environ.get("OVSEG3R_STORE") or DEFAULT_STORE


class LabelParameters(Settings):
    """Which sources to label, where to, and how."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a URL with a password is refused, and not repeated

    sources: tuple[Place, ...] = Field(
        (),
        title="Sources",
        description="Videos or folders, one scene each: paths, URLs (s3://, gs://, az://, https:// ...), or patterns "
        "of either such as recordings/*.",
    )
    manifest: Place | None = Field(
        None,
        title="Manifest",
        description="CSV or Parquet file, or its URL, with a source a row: columns url and, as wanted, id, format, "
        "masks, tags.",
    )
    store: StoreUrl = Field(
        default_factory=default_store,
        title="Store",
        description="Folder or URL (s3://, gs://, az://) that scenes are published to; without it OVSEG3R_STORE, else "
        "ovseg3r-store.",
    )
    scene_id: str | None = Field(
        None,
        title="Scene id",
        description="Name of the scene; only with one source. Else made from the source's name.",
    )
    tags: Tags = Field(
        (),
        title="Tags",
        description="Words of one's own for the scenes, to choose them by; without any, a scene keeps what it has.",
    )
    workers: int = Field(1, ge=1, le=MOST_WORKERS, title="Workers", description="Scenes labelled at the same time.")
    runner: Runner = Field(
        "threads",
        title="Task runner",
        description="What the scenes run on: threads or processes of this machine, or Dask or Ray.",
    )
    runner_address: str | None = Field(
        None,
        title="Address of Dask or Ray",
        description="Of a running Dask scheduler or Ray head; without it one is started here, with so many workers.",
    )
    skip_failed: bool = Field(
        False,
        title="Skip what failed",
        description="Do not try scenes again whose last try failed as bad input, until they or the settings change: "
        "for schedules.",
    )
    until: Literal["reconstruct"] | None = Field(
        None,
        title="Stop after",
        description="Stop after the reconstruction, as a queue of machines without a GPU may; another run finds it "
        "done and goes on.",
    )
    split: int = Field(
        1,
        ge=1,
        le=MOST_PARTS,
        title="Parts",
        description="Flow runs that share the work, where a deployment is run.",
    )
    pipeline: PipelineSettings = Field(
        PipelineSettings(), title="Settings of the stages", description="All that decides what a source's labels are."
    )

    @model_validator(mode="after")
    def _has_sources(self) -> Self:
        if not self.sources and self.manifest is None:
            raise ValueError("no source is given: give sources (videos, folders, URLs or patterns) or a manifest")
        return self


@dataclass(frozen=True)
class NamedSource:
    """One source to label. source: absolute path or URL. tags: those asked for, may be none. settings: the pipeline's,
    with what the manifest says of this source and the scene's id put into paths."""

    source: str
    scene_id: str
    tags: tuple[str, ...]
    settings: PipelineSettings


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
        wrong = "; ".join(f"{prefix}{'.'.join(map(str, e['loc']))}: {_message(e['msg'])}" for e in error.errors())
        raise InputError(
            f"The settings are not usable: {wrong.lstrip(': ')}; the command's --help and docs/configuration.md list "
            "them."
        ) from error


def _message(text: str) -> str:
    """pydantic's, to stand inside a sentence."""
    text = text.removeprefix("Value error, ").rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


def name_scenes(parameters: LabelParameters) -> list[NamedSource]:
    """Every source, absolute and checked: those given, in order, then the manifest's.

    Raises:
        InputError: a pattern, a URL or the manifest is not usable; a given id is not, or two sources have one name.
        StoreError: a server that has to be asked cannot be.
    """
    found = [_named(parameters, source) for source in found_sources(parameters.sources)]
    if parameters.manifest is not None:
        found += [_in_manifest(parameters, row) for row in read_manifest(parameters.manifest)]
    if parameters.scene_id is not None:
        if len(found) != 1:
            raise InputError(f"--scene-id names one scene, but {len(found)} sources are given; leave it out.")
        found = [replace(found[0], scene_id=check_scene_id(parameters.scene_id))]
    if len(found) > 1:
        _check_own_paths(found)
    seen: dict[str, str] = {}
    for one in found:
        if one.scene_id in seen:
            raise InputError(
                f"{seen[one.scene_id]} and {one.source} would both be scene {one.scene_id}; label them one by one, "
                "with --scene-id, or name them in a manifest."
            )
        seen[one.scene_id] = one.source
    return [replace(one, settings=with_scene_paths(one.settings, one.scene_id)) for one in found]


def _named(parameters: LabelParameters, source: str) -> NamedSource:
    return NamedSource(source, parameters.scene_id or scene_id_from(source), parameters.tags, parameters.pipeline)


def _in_manifest(parameters: LabelParameters, row: ManifestRow) -> NamedSource:
    """A row's source: what it says counts before what the run says, and its tags come to the run's."""
    settings = parameters.pipeline
    if row.source_format is not None:
        ingest = settings.ingest.model_copy(update={"source_format": row.source_format})
        settings = settings.model_copy(update={"ingest": ingest})
    if row.masks is not None:
        segment = settings.segment.model_copy(update={"masks": row.masks})
        settings = settings.model_copy(update={"segment": segment})
    return NamedSource(row.source, row.scene_id, tuple(sorted({*parameters.tags, *row.tags})), settings)


def _check_own_paths(found: Sequence[NamedSource]) -> None:
    """Raises InputError where several sources would share what is one recording's."""
    used: dict[tuple[str, str], str] = {}
    for one in found:
        segment, given = one.settings.segment, one.settings.reconstruct
        measured = None if given.scale_from == "depth" else given.scale_from
        paths = (
            ("masks", segment.masks),
            ("reconstruction", given.reconstruction),
            ("scale", measured),
            ("truth", segment.simulated.truth),
        )
        for what, path in paths:
            if path is not None and SCENE_ID not in path and used.setdefault((what, path), one.source) != one.source:
                raise InputError(
                    f"{path}: one recording's {what} cannot be that of {len(found)} sources; write "
                    f"{SCENE_ID} where the path differs, or label the sources one by one."
                )


def only_scene(parameters: LabelParameters) -> NamedSource:
    """The one source.

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
