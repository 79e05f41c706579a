"""A finished scene: validated, written, listed, with what it was made of."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from ovseg3r_model.records import LabelledScene
from storage.catalog import Catalog
from storage.catalog_rows import CatalogRow, row_of
from storage.parquet_rows import AnyRow
from storage.scene_store import SceneStore
from storage.store import Store
from storage.table import Table
from tasks.plan import Plan

_VERSIONED = (
    "ovseg3r", "numpy", "numba", "open3d-cpu", "opencv-python-headless", "pgeof", "scikit-image", "torch",
    "transformers", "zarr",
)  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """What a scene was made of. source: in words. engines: the program behind a stage, by stage. notes: for the user,
    besides the scene's own. seconds: by stage, of those before publishing. started: of ``time.perf_counter``, when
    publishing began. tags: the user's words.
    """

    source: str
    engines: Mapping[str, str]
    notes: Sequence[str]
    seconds: Mapping[str, float]
    started: float
    tags: Sequence[str]


def publish_and_list(
    store: Store, todo: Plan, scene_id: str, scene: LabelledScene, pictures: Mapping[str, bytes], origin: Origin
) -> CatalogRow:
    """Publishes a scene under the plan's digest and lists it. What is complete already is only listed.

    Raises:
        InputError: (SceneRefused) the scene breaks a rule: it is not visible then.
    """
    attributes = {
        "source_digest": todo.source,
        "settings": todo.configs,
        "stages": todo.digests,
        "seed": todo.configs["publish"]["seed"],
        "engines": dict(origin.engines),
        "source_notes": list(origin.notes),
        "software": software(),
    }
    published = SceneStore(store).publish(scene, scene_id, todo.digests["publish"], attributes, pictures)
    seconds = {**origin.seconds, "publish": time.perf_counter() - origin.started}
    row = row_of(
        published,
        scene,
        source=origin.source,
        source_digest=todo.source,
        timings={name: round(value, 3) for name, value in seconds.items()},
        settings=todo.configs,
        engines=origin.engines,
        tags=origin.tags,
    )
    list_row(Catalog(store), row)
    return row


def list_row(table: Table[AnyRow], row: AnyRow) -> AnyRow:
    """Adds the row, and gives the one that is listed: the one that is there already, unless the data it names was lost
    and made again."""
    if table.add(row):
        return row
    known = next((r for r in table.rows(latest_only=False) if (r.id, r.digest) == (row.id, row.digest)), row)
    if known.uri == row.uri:
        return known
    table.replace(row)
    return row


def software() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _VERSIONED}
