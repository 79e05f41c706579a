"""A row of the catalog of scenes: its fields, and how it is made of a published scene."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovseg3r_model.records import LabelledScene
from storage.digests import canonical_json
from storage.names import check_digest, check_scene_id, check_tag
from storage.parquet_rows import check_time, utc_now
from storage.scene_store import PublishedScene
from storage.schema import SCHEMA_VERSION


@dataclass(frozen=True)
class CatalogRow:
    """One published scene.

    uri: its Zarr group when it was published. source: what it was made from, in words; source_digest: that source's.
    published_at: UTC, as ``utc_now`` writes it, so that text order is time order. points, views, observations,
    instances (2D), superpoints: counts. annotation: "views" or "scene", as ``records.LabelledScene`` says.
    label_histogram: by label, the 2D instances, or those of the truth where that is the annotation. quality: figures by
    name. timings: seconds by stage. bytes: stored size. settings: JSON. engines: the model or program behind a stage,
    by stage. tags: the user's own words, sorted; tagged_at: UTC, when they were given.
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
    annotation: str
    label_histogram: dict[str, int]
    quality: dict[str, float]
    timings: dict[str, float]
    bytes: int
    settings: str
    engines: dict[str, str]
    tags: tuple[str, ...]
    tagged_at: str

    def __post_init__(self) -> None:
        check_scene_id(self.scene_id)
        check_digest(self.digest)
        check_time("published_at", self.published_at)
        check_time("tagged_at", self.tagged_at)
        for tag in self.tags:
            check_tag(tag)

    @property
    def id(self) -> str:
        return self.scene_id

    @property
    def listed_at(self) -> str:
        return self.published_at

    @property
    def written_at(self) -> str:
        return self.tagged_at


def row_of(
    published: PublishedScene,
    scene: LabelledScene,
    *,
    source: str,
    source_digest: str,
    timings: Mapping[str, float],
    settings: Mapping[str, Any],
    engines: Mapping[str, str],
    tags: Sequence[str] = (),
    published_at: str | None = None,
) -> CatalogRow:
    """The row of a scene; counts, labels and quality are taken from the scene itself."""
    rec = scene.reconstruction
    now = published_at or utc_now()
    return CatalogRow(
        scene_id=published.scene_id,
        digest=published.digest,
        uri=published.uri,
        source_digest=source_digest,
        source=source,
        published_at=now,
        schema_version=SCHEMA_VERSION,
        points=len(rec.points),
        views=len(rec.views),
        observations=len(rec.correspondence),
        instances=len(scene.instances),
        superpoints=int(scene.superpoint.max()) + 1,
        scale_known=rec.scale_known,
        annotation=scene.annotation,
        label_histogram=_label_histogram(scene),
        quality={
            **rec.quality,
            "labelled_share": _labelled_share(scene),
            "views_per_point": len(rec.correspondence) / len(rec.points),
        },
        timings=dict(timings),
        bytes=published.bytes,
        settings=canonical_json(settings).decode(),
        engines=dict(engines),
        tags=tuple(sorted(set(tags))),
        tagged_at=now,
    )


def _label_histogram(scene: LabelledScene) -> dict[str, int]:
    """How many instances have each label, of those that supervise; one of the truth counts where a point is of it."""
    if scene.annotation == "scene" and scene.truth is not None:
        present = np.unique(scene.truth.instance[scene.truth.instance > 0])
        return dict(Counter(scene.truth.names[k - 1] for k in present))
    return dict(Counter(scene.instances.label_names[label] for label in scene.instances.label))


def _labelled_share(scene: LabelledScene) -> float:
    """Of the points where the truth supervises, else of the observations."""
    if scene.annotation == "scene" and scene.truth is not None:
        return float((scene.truth.instance > 0).mean())
    return float((scene.observation > 0).mean())
