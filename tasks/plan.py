"""Which digest each stage's output has: computed from the source's content and the settings alone, before anything is
run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovseg3r_model.reconstruction import protocol as reconstruction
from ovseg3r_model.records import Annotation
from ovseg3r_model.segmentation import build_segmenter, digest_config
from ovseg3r_model.settings import PipelineSettings
from ovseg3r_model.sources import has_posed_depth, resolve_format, source_digest
from storage.digests import stage_digest
from storage.schema import SCHEMA_VERSION

STAGE_VERSIONS = {
    "ingest": 2, "reconstruct": 1, "segment": 1, "lift": 1, "superpoints": 1, "features": 1, "truth": 1,
    "publish": 1,
}  # fmt: skip
"""Raised by hand whenever the same input and settings would give other bytes."""

_NEEDS = {
    "reconstruct": ("ingest",),
    "segment": ("ingest",),
    "lift": ("reconstruct", "segment"),
    "superpoints": ("reconstruct", "segment", "lift"),
    "features": ("reconstruct", "segment"),
    "truth": ("reconstruct",),
    "publish": ("ingest", "reconstruct", "segment", "lift", "superpoints", "features", "truth"),
}
"""By stage: those whose outputs it takes, where they are part of the plan; features and truth are not always."""


@dataclass(frozen=True)
class Plan:
    """The source's digest, and for each stage its configuration and its output's digest."""

    source: str
    configs: dict[str, dict[str, Any]]
    digests: dict[str, str]


def plan(source: Path, scene_id: str, settings: PipelineSettings, annotation: Annotation = "views") -> Plan:
    """The plan for one source. Paths and places do not enter it, only contents and settings. annotation: of the scene
    as it is published.

    Raises:
        InputError: the source or the masks cannot be read, or what the 2D engine needs is not here.
    """
    first = plan_reconstruction(source, settings)
    build_segmenter(settings.segment, settings.features.save)  # says what lacks
    # what "auto" stands for enters the digest, so that naming it makes no difference
    segment = digest_config(settings.segment, settings.features.save)
    features = {"features": {"size": settings.features.size}} if settings.features.save else {}
    known = segment["engine"] == "simulated"  # of a room whose truth is at hand
    truth = {"truth": {"inputs_digest": segment["inputs_digest"]}} if known else {}
    publish = {"scene_id": scene_id, "seed": settings.seed, "schema_version": SCHEMA_VERSION, "annotation": annotation}
    configs = first.configs | {
        "segment": segment,
        "lift": {},
        "superpoints": settings.superpoints.model_dump(mode="json"),
        **features,
        **truth,
        "publish": publish,
    }
    return Plan(first.source, configs, _digests(first.source, configs))


def plan_reconstruction(source: Path, settings: PipelineSettings) -> Plan:
    """The part of :func:`plan` up to the reconstruction, which needs no masks: the same digests.

    Raises:
        InputError: the source cannot be read, or the settings do not go with the engine.
    """
    content = source_digest(source, settings.ingest.source_format)
    source_format = settings.ingest.source_format
    ingest = settings.ingest.model_dump(mode="json")
    ingest["source_format"] = resolve_format(source, source_format)
    posed_depth = not settings.ingest.color_only and has_posed_depth(source, source_format)
    configs = {"ingest": ingest, "reconstruct": _reconstruct(settings, posed_depth)}
    return Plan(content, configs, _digests(content, configs))


def _digests(content: str, configs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The digest of every stage in ``configs``, which come after what they need."""
    digests: dict[str, str] = {}
    for stage, config in configs.items():
        given = (
            {"source": content}
            if stage == "ingest"
            else {name: digests[name] for name in _NEEDS[stage] if name in digests}
        )
        digests[stage] = stage_digest(stage, STAGE_VERSIONS[stage], config, given)
    return digests


def _reconstruct(settings: PipelineSettings, posed_depth: bool) -> dict[str, Any]:
    """What decides the reconstruction: the engine that "auto" stands for, and none of the settings it does not use."""
    given = settings.reconstruct
    engine = reconstruction.engine_for(given, posed_depth)
    reconstruction.check_settings(given, engine)
    # what is in the files counts, not where they are
    unused = {"reconstruction", "threads", *reconstruction.UNUSED[engine]}
    config = given.model_dump(mode="json", exclude=unused) | {"engine": engine}
    if given.scale_from is not None and given.scale_from.startswith("positions:"):
        config["scale_from"] = "positions"
    for part in ("dense", "dust3r"):  # CPU and GPU round differently
        if part in config:
            config[part]["device"] = reconstruction.torch_device(config[part]["device"]).partition(":")[0]
    if engine != "posed-rgbd":
        config |= {"seed": settings.seed, "inputs_digest": reconstruction.inputs_digest(given, engine)}
    return config
