"""Which of the published scenes: a query over the rows of the catalog."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ovseg3r_model.errors import InputError
from storage.catalog_rows import CatalogRow
from storage.names import check_scene_id, check_tag
from storage.parquet_rows import utc_text

_PATTERN = re.compile(r"([a-z0-9_*?-]|\[!?[a-z0-9_-]+\])+")


def check_scene_pattern(pattern: str) -> str:
    """The pattern itself. Raises InputError unless it is a scene id, or a glob (``*``, ``?``, ``[abc]``, ``[!abc]``)
    that some scene id can match."""
    if not _is_glob(pattern):
        return check_scene_id(pattern)
    if not _PATTERN.fullmatch(pattern):
        raise InputError(
            f"scene pattern {pattern!r} can match no scene id: take a-z, 0-9, '_', '-', and *, ?, [abc] or [!abc]."
        )
    return pattern


def parse_moment(text: str) -> str:
    """A date or time as tables hold it; a date is its first moment, and without a time zone it is UTC. Raises
    InputError for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        return utc_text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise InputError(f"{text!r} is no date or time: write it like 2026-11-23 or 2026-11-23T13:43:19Z.") from error


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _as_text(value: object) -> object:
    """YAML makes dates of what looks like one."""
    return value.isoformat() if isinstance(value, date) else value


Pattern = Annotated[str, AfterValidator(check_scene_pattern)]
Tag = Annotated[str, AfterValidator(check_tag)]
Moment = Annotated[str, BeforeValidator(_as_text), AfterValidator(parse_moment)]


class SelectionSettings(BaseModel):
    """Which published scenes; one has to meet all that is given, and without anything given all are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenes: tuple[Pattern, ...] = Field((), description="Scene ids or globs such as kitchen-*; any of them.")
    tags: tuple[Tag, ...] = Field((), description="Tags that a scene must have, all of them.")
    without_tags: tuple[Tag, ...] = Field((), description="Tags that a scene may not have, none of them.")
    labels: tuple[str, ...] = Field((), description="Names of which a scene must hold at least one.")
    annotation: Literal["views", "scene"] | None = Field(
        None, description="Only scenes annotated view by view (views), or by a scene-level truth (scene)."
    )
    published_after: Moment | None = Field(None, description="Published at this date or time (UTC) or later.")
    published_before: Moment | None = Field(None, description="Published before this date or time (UTC).")
    min_quality: dict[str, float] = Field(
        {}, description="Smallest value of quality figures, by name; a scene without the figure is left out."
    )
    limit: int | None = Field(None, ge=1, description="At most so many scenes, the first by id.")


def select(rows: Sequence[CatalogRow], selection: SelectionSettings) -> list[CatalogRow]:
    """The rows that meet every condition, by scene id and time of publishing, whatever the order of ``rows``.

    Raises:
        InputError: a scene that is named in full is not among the rows.
    """
    known = {row.scene_id for row in rows}
    for name in selection.scenes:
        if not _is_glob(name) and name not in known:
            raise InputError(f"scene {name} is not published; `ovseg3r catalog` lists what is.")
    conditions = _conditions(selection)
    found = [row for row in rows if all(holds(row) for holds in conditions)]
    return sorted(found, key=lambda row: (row.scene_id, row.published_at, row.digest))[: selection.limit]


def _conditions(wanted: SelectionSettings) -> tuple[Callable[[CatalogRow], bool], ...]:
    after, before = wanted.published_after, wanted.published_before
    return (
        lambda row: not wanted.scenes or any(fnmatchcase(row.scene_id, pattern) for pattern in wanted.scenes),
        lambda row: set(wanted.tags) <= set(row.tags),
        lambda row: not set(wanted.without_tags) & set(row.tags),
        lambda row: not wanted.labels or any(name in row.label_histogram for name in wanted.labels),
        lambda row: wanted.annotation in (None, row.annotation),
        lambda row: after is None or row.published_at >= after,
        lambda row: before is None or row.published_at < before,
        lambda row: all(row.quality.get(name, float("-inf")) >= least for name, least in wanted.min_quality.items()),
    )
