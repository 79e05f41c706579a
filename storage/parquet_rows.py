"""Rows of a table as Parquet: the columns follow from the fields of a frozen dataclass."""

import io
from collections.abc import Sequence
from dataclasses import Field as DataclassField
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_origin

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ovseg3r_model.errors import InputError
from storage.digests import canonical_json, plain_json
from storage.names import SHORT, check_digest


class Row(Protocol):
    """A frozen dataclass with fields of text, numbers, truth values, ``tuple[str, ...]`` and ``dict[str, ...]``.

    id, digest: what the row is about; one thing may have many digests; the first field is the id. uri: where its data
    lies. listed_at: the newest of an id is told by it. written_at: of two rows about one id and digest the one written
    later counts. Times are as ``utc_now`` writes them.
    """

    __dataclass_fields__: ClassVar[dict[str, DataclassField[Any]]]

    @property
    def id(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def uri(self) -> str: ...

    @property
    def listed_at(self) -> str: ...

    @property
    def written_at(self) -> str: ...


AnyRow = TypeVar("AnyRow", bound=Row)

_PLAIN: dict[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def utc_now() -> str:
    """Now, like 2026-11-23T13:43:19.693631Z."""
    return utc_text(datetime.now(UTC))


def utc_text(moment: datetime) -> str:
    """A moment with a time zone as tables hold it, in UTC: text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def check_time(name: str, value: str) -> None:
    """Raises ValueError unless the value is written as ``utc_now`` writes it."""
    try:
        right = utc_text(datetime.fromisoformat(value)) == value
    except ValueError:
        right = False
    if not right:
        raise ValueError(f"{name} {value!r} is not written like {utc_now()}")


def key_of(row_id: str, digest: str) -> str:
    """What a row is called inside its table."""
    return f"{row_id}@{check_digest(digest)[:SHORT]}"


def schema_of(row: type[Row]) -> Any:
    """The Arrow schema of a table of such rows."""
    return pa.schema([pa.field(field.name, _column(field.type), nullable=False) for field in fields(row)])


def _column(kind: Any) -> Any:
    if get_origin(kind) is dict:
        return pa.map_(pa.string(), _PLAIN[get_args(kind)[1]])
    if get_origin(kind) is tuple:
        return pa.list_(_PLAIN[get_args(kind)[0]])
    return _PLAIN[kind]


def to_parquet(rows: Sequence[Row], row: type[Row]) -> bytes:
    """The rows, all of type ``row``, as one Parquet file."""
    records = [
        {name: sorted(value.items()) if isinstance(value, dict) else value for name, value in asdict(one).items()}
        for one in rows
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema=schema_of(row)), sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes, row: type[AnyRow], url: str, row_id: str | None = None) -> list[AnyRow]:
    """The rows of one file, or those of one id; columns of a newer program are left out. Raises InputError for a file
    that is no such table's."""
    schema = schema_of(row)
    try:
        # read_table would take three times as long, and most files are of one row
        table = pq.ParquetFile(pa.BufferReader(data)).read(schema.names).select(schema.names).cast(schema)
        if row_id is not None:
            table = table.filter(pc.equal(table[0], row_id))
        return [row(**_values(record)) for record in table.to_pylist(maps_as_pydicts="strict")]
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise InputError(
            f"{url}: a catalog file cannot be read ({error}); was another program's file put there?"
        ) from error


def _values(record: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}


def rows_json(rows: Sequence[Row]) -> bytes:
    """The rows as canonical JSON: the content a file is named by."""
    return canonical_json([plain_json(asdict(row)) for row in rows])
