"""A published scene told in Markdown, for the Prefect UI."""

import base64
from collections.abc import Mapping, Sequence
from string import punctuation
from urllib.parse import quote

import cv2
import numpy as np

from storage.catalog_rows import CatalogRow

_PREVIEW = 320  # pixels, the longer side
_QUALITY = 70  # of the JPEG, 0..100
_LABELS = 12  # most labels listed
_MARKUP = frozenset(punctuation) - frozenset(",-")


def scene_markdown(row: CatalogRow, notes: Sequence[str], picture: bytes | None) -> str:
    """What the scene is and how good: picture, counts, labels, quality, warnings, seconds by stage, where it lies.

    picture: PNG bytes, put in small; None where there is none.
    """
    counts = {name: f"{getattr(row, name):,}" for name in ("views", "points", "instances", "superpoints")}
    frequent = sorted(row.label_histogram.items(), key=lambda item: (-item[1], item[0]))
    labels = {name: f"{count:,}" for name, count in frequent[:_LABELS]}
    if len(frequent) > _LABELS:
        labels["others"] = f"{sum(count for _, count in frequent[_LABELS:]):,}"
    parts = [
        f"# {escaped(row.scene_id)}",
        "" if picture is None else f"![preview](data:image/jpeg;base64,{_small(picture)})",
        _table("counts", "", counts),
        _table("label", "2D instances" if row.annotation == "views" else "instances", labels),
        _table("quality", "", {name: f"{value:.4g}" for name, value in sorted(row.quality.items())}),
        _table("stage", "seconds", {name: f"{value:.1f}" for name, value in row.timings.items()}),
        "\n".join(f"- **warning:** {escaped(note)}" for note in notes),
        f"Data: [{escaped(row.uri)}](<{quote(row.uri, safe=':/%')}>)",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def escaped(text: str) -> str:
    """The text as one line of Markdown that shows as it is, whatever it holds: no markup, no HTML, no table cells."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "".join(f"&#{ord(c)};" if c in _MARKUP else c for c in line)


def _table(name: str, value: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    lines = (f"| {escaped(key)} | {figure} |" for key, figure in rows.items())
    return "\n".join((f"| {name} | {value} |", "|---|---:|", *lines))


def _small(png: bytes) -> str:
    """A PNG as a small JPEG, in base64."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("the scene's picture cannot be decoded")
    height, width = picture.shape[:2]
    scale = min(_PREVIEW / max(height, width), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", shrunk, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return base64.b64encode(jpeg.tobytes()).decode()
