"""A row of the catalog: its fields, its Parquet form, and how it is made of a published scene."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import LabelledScene
from storage.digests import canonical_json, plain_json
from storage.names import SHORT, check_digest, check_scene_id
from storage.scene_store import PublishedScene
from storage.schema import SCHEMA_VERSION

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class CatalogRow:
    """One published scene.

    uri: its Zarr group when it was published. source: what it was made from, in words; source_digest: that source's.
    published_at: UTC, as ``utc_now`` writes it, so that text order is time order. points, views, observations,
    instances, superpoints: counts. label_histogram: instances by label. quality: figures by name. timings: seconds by
    stage. bytes: stored size. settings: JSON. engines: the model or program behind a stage, by stage.
    """

    scene_id: str
    digest: str
    uri: str
    source_digest: str
    source: str
    published_at: str
    schema_version: int
    points: int
    views: int
    observations: int
    instances: int
    superpoints: int
    scale_known: bool
    label_histogram: dict[str, int]
    quality: dict[str, float]
    timings: dict[str, float]
    bytes: int
    settings: str
    engines: dict[str, str]

    def __post_init__(self) -> None:
        check_scene_id(self.scene_id)
        check_digest(self.digest)
        if not _TIME.fullmatch(self.published_at):
            raise ValueError(f"published_at {self.published_at!r} is not written like {utc_now()}")


_MAPS = {"label_histogram": pa.int64(), "quality": pa.float64(), "timings": pa.float64(), "engines": pa.string()}
_COLUMNS: dict[Any, Any] = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
SCHEMA = pa.schema(
    [
        pa.field(
            field.name,
            pa.map_(pa.string(), _MAPS[field.name]) if field.name in _MAPS else _COLUMNS[field.type],
            nullable=False,
        )
        for field in fields(CatalogRow)
    ]
)


def utc_now() -> str:
    """Now, like 2026-11-23T13:43:19.693631Z."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def key_of(scene_id: str, digest: str) -> str:
    """What a row is called inside the catalog."""
    return f"{check_scene_id(scene_id)}@{check_digest(digest)[:SHORT]}"


def row_of(
    published: PublishedScene,
    scene: LabelledScene,
    *,
    source: str,
    source_digest: str,
    timings: Mapping[str, float],
    settings: Mapping[str, Any],
    engines: Mapping[str, str],
    published_at: str | None = None,
) -> CatalogRow:
    """The row of a scene; counts, labels and quality are taken from the scene itself."""
    rec, rows = scene.reconstruction, scene.instances
    counts = np.bincount(rows.label, minlength=len(rows.label_names))
    return CatalogRow(
        scene_id=published.scene_id,
        digest=published.digest,
        uri=published.uri,
        source_digest=source_digest,
        source=source,
        published_at=published_at or utc_now(),
        schema_version=SCHEMA_VERSION,
        points=len(rec.points),
        views=len(rec.views),
        observations=len(rec.correspondence),
        instances=len(rows),
        superpoints=int(scene.superpoint.max()) + 1,
        scale_known=rec.scale_known,
        label_histogram={name: int(n) for name, n in zip(rows.label_names, counts, strict=True) if n},
        quality={
            **rec.quality,
            "labelled_share": float((scene.observation > 0).mean()),
            "views_per_point": len(rec.correspondence) / len(rec.points),
        },
        timings=dict(timings),
        bytes=published.bytes,
        settings=canonical_json(settings).decode(),
        engines=dict(engines),
    )


def to_parquet(rows: Sequence[CatalogRow]) -> bytes:
    """The rows as one Parquet file."""
    records = [
        {name: sorted(value.items()) if name in _MAPS else value for name, value in asdict(row).items()} for row in rows
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes, url: str) -> list[CatalogRow]:
    """The rows of one file; columns of a newer program are left out. Raises InputError for a file that is no
    catalog's."""
    try:
        table = pq.read_table(io.BytesIO(data), columns=SCHEMA.names).select(SCHEMA.names).cast(SCHEMA)
        return [CatalogRow(**record) for record in table.to_pylist(maps_as_pydicts="strict")]
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise InputError(
            f"{url}: a catalog file cannot be read ({error}); was another program's file put there?"
        ) from error


def rows_json(rows: Sequence[CatalogRow]) -> bytes:
    """The rows as canonical JSON: the content a compacted file is named by."""
    return canonical_json([plain_json(asdict(row)) for row in rows])
