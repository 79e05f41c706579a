"""A manifest: a CSV or Parquet file with a source a row, for large sets."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from flows.sources import absolute, scene_id_from
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import SourceFormat
from storage.names import check_scene_id, check_tag
from tasks.remote_files import is_url, listing_of, pieces

COLUMNS = ("id", "url", "format", "masks", "tags")
MOST_BYTES = 256 << 20
MOST_ROWS = 1_000_000
_PARQUET = b"PAR1"
_AT_ONCE = 256  # rows


@dataclass(frozen=True)
class ManifestRow:
    """One source. number: the row's, from 1, the line with the names not counted. source: absolute path or URL. masks:
    of this source, if any. source_format: None where the run's counts."""

    number: int
    source: str
    scene_id: str
    source_format: SourceFormat | None
    masks: str | None
    tags: tuple[str, ...]


def read_manifest(place: str) -> list[ManifestRow]:
    """The rows of a manifest at a path or URL, in order. Relative places in it are relative to where it lies.

    Raises:
        InputError: it cannot be read, a column is unknown, or a row is not usable: one sentence with the row's number.
        StoreError: its server cannot be asked.
    """
    place = absolute(place)
    rows = []
    seen: dict[str, int] = {}
    for number, record in enumerate(_records(place), 1):
        try:
            row = _row(place, number, record)
        except InputError as error:
            raise InputError(f"{place}, row {number}: {error}") from error
        if row.scene_id in seen:
            raise InputError(
                f"{place}: rows {seen[row.scene_id]} and {number} are both of scene {row.scene_id}; give them "
                "different ids."
            )
        seen[row.scene_id] = number
        rows.append(row)
    if not rows:
        raise InputError(f"{place}: holds no rows; add a line for each source.")
    return rows


def _row(place: str, number: int, record: Mapping[str, Any]) -> ManifestRow:
    values = {name: _text(name, record.get(name)) for name in COLUMNS if name != "tags"}
    if values["url"] is None:
        raise InputError("there is no url; give the video's or folder's path or URL.")
    source = _beside(place, values["url"])
    chosen = values["format"]
    if chosen is not None and chosen not in get_args(SourceFormat):
        raise InputError(f"the format {chosen!r} is unknown; choose one of {', '.join(get_args(SourceFormat))}.")
    return ManifestRow(
        number,
        source,
        scene_id_from(source) if values["id"] is None else check_scene_id(values["id"]),
        chosen,  # type: ignore[arg-type]
        None if values["masks"] is None else _beside(place, values["masks"]),
        tuple(check_tag(tag) for tag in _tags(record.get("tags"))),
    )


def _text(name: str, value: Any) -> str | None:
    """The text of a cell, None for an empty one."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{name} is {value!r}, and no text.")
    return value.strip() or None


def _tags(value: Any) -> list[str]:
    """Those of a cell: a text with ";" between them, or a list of texts."""
    parts = value.split(";") if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise InputError(f"tags are {value!r}; give texts.")
    return [part.strip() for part in parts if part.strip()]


def _beside(place: str, text: str) -> str:
    """A path or URL as the manifest at ``place`` means it."""
    if is_url(text) or text.lower().startswith("file://") or Path(text).expanduser().is_absolute():
        return absolute(text)
    if not is_url(place):
        return absolute(str(Path(place).parent / text))
    parts = urlsplit(place)
    folder = parts.path.rpartition("/")[0].split("/")
    for part in text.split("/"):
        if part == "..":
            if len(folder) < 2:
                raise InputError(f"{text} leads out of {parts.netloc}; give a whole URL.")
            folder.pop()
        elif part != ".":
            folder.append(part)
    return absolute(f"{parts.scheme}://{parts.netloc}{'/'.join(folder)}")


def _records(place: str) -> list[dict[str, Any]]:
    """The cells of each row, by column."""
    import pyarrow as pa

    data = _content(place)
    try:
        table = _parquet(place, data) if data.startswith(_PARQUET) else _csv(data)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{place}: is no CSV or Parquet file that can be read ({first}).") from error
    names = table.column_names
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or len(set(names)) < len(names) or "url" not in names:
        wrong = f"has the unknown column {unknown[0]!r}" if unknown else "needs each column once, and a column url"
        raise InputError(f"{place}: {wrong}; the columns are {', '.join(COLUMNS)}.")
    if table.num_rows > MOST_ROWS:
        raise InputError(f"{place}: holds more than {MOST_ROWS:,} rows; make several manifests of it.")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _csv(data: bytes) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    texts = csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False)
    return csv.read_csv(
        io.BytesIO(data), convert_options=texts, parse_options=csv.ParseOptions(newlines_in_values=True)
    )


def _parquet(place: str, data: bytes) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    batches, size = [], 0
    for batch in file.iter_batches(_AT_ONCE):  # a small file may hold much
        size += batch.nbytes
        if size > MOST_BYTES or file.metadata.num_rows > MOST_ROWS:
            raise InputError(f"{place}: holds more than {MOST_ROWS:,} rows or 256 MiB; make several manifests of it.")
        batches.append(batch)
    return pa.Table.from_batches(batches, file.schema_arrow)


def _content(place: str) -> bytes:
    """Raises InputError where it cannot be read or is too large."""
    too_large = InputError(f"{place}: is larger than 256 MiB; make several manifests of it.")
    if is_url(place):
        listing = listing_of(place)
        if listing.is_folder:
            raise InputError(f"{place}: is a folder; give the CSV or Parquet file.")
        data = bytearray()
        for piece in pieces(listing, listing.files[0]):
            data += piece
            if len(data) > MOST_BYTES:
                raise too_large
        return bytes(data)
    try:
        with Path(place).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror}); give a CSV or Parquet file.") from error
    if len(content) > MOST_BYTES:
        raise too_large
    return content
