"""A scan with ground truth, from files to a listed scene. No stage: reading is quick, so nothing is kept between."""

import time

from prefect import task

from ovseg3r_model import pictures
from ovseg3r_model.annotated.scannet200 import SceneFiles, content_digest, read_scene
from ovseg3r_model.records import LabelledScene
from ovseg3r_model.settings import SuperpointSettings
from storage.catalog_rows import CatalogRow
from storage.digests import stage_digest
from storage.schema import SCHEMA_VERSION
from storage.store import Store
from tasks.listing import Origin, publish_and_list
from tasks.plan import Plan
from tasks.progress import announce
from tasks.retrying import STAGE_OPTIONS

VERSION = 1
"""Raised by hand whenever the same files would give another scene."""


def plan_scan(files: SceneFiles, scene_id: str, settings: SuperpointSettings) -> Plan:
    """The plan for one scan: contents and settings count, places do not; the settings only where superpoints are made.

    Raises:
        InputError: a file cannot be read.
    """
    content = content_digest(files)
    made = {} if files.segments is not None else {"superpoints": settings.model_dump(mode="json", exclude={"cut"})}
    config = {"scene_id": scene_id, "seed": 0, "schema_version": SCHEMA_VERSION, "annotation": "scene"}
    digest = stage_digest("import", VERSION, {**made, **config}, {"source": content})
    return Plan(content, {**made, "publish": config}, {"publish": digest})


@task(name="import-scan", **STAGE_OPTIONS)
def publish_scan(
    store_url: str,
    todo: Plan,
    scene_id: str,
    source: str,
    files: SceneFiles,
    settings: SuperpointSettings,
    tags: tuple[str, ...] = (),
) -> CatalogRow:
    """Reads, validates, publishes and lists a scan. Raises InputError where its files do not fit together."""
    start = time.perf_counter()
    scene = read_scene(files, settings)
    announce("import", 1, 2)
    read = time.perf_counter()
    origin = Origin(source, {"import": "scannet200"}, (), {"import": read - start}, read, tags)
    row = publish_and_list(Store.open(store_url), todo, scene_id, scene, draw(scene), origin)
    announce("import", 2, 2)
    return row


def draw(scene: LabelledScene) -> dict[str, bytes]:
    """PNG bytes by file name: the cloud in its colours, by superpoints, by instances of the truth."""
    rec = scene.reconstruction
    colors = {
        "cloud": rec.points.rgb,
        "superpoints": pictures.shaded(rec.points, pictures.superpoint_colors(scene.superpoint)),
    }
    if scene.truth is not None:
        colors["truth"] = pictures.shaded(rec.points, pictures.id_colors(scene.truth.instance))
    return {
        f"{name}.png": pictures.png(pictures.cloud(rec.points, rgb, pictures.onlooker(rec.points), rec.voxel_size))
        for name, rgb in colors.items()
    }
