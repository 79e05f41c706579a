"""Which digest each stage's output has: computed from the source's content and the settings alone, before anything is
run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovseg3r_model.segmentation import build_segmenter, inputs_digest
from ovseg3r_model.settings import PipelineSettings
from ovseg3r_model.sources import detect_format, source_digest
from storage.digests import stage_digest
from storage.schema import SCHEMA_VERSION

STAGE_VERSIONS = {"ingest": 1, "reconstruct": 1, "segment": 1, "lift": 1, "superpoints": 1, "publish": 1}
"""Raised by hand whenever the same input and settings would give other bytes."""


@dataclass(frozen=True)
class Plan:
    """The source's digest, and for each stage its configuration and its output's digest."""

    source: str
    configs: dict[str, dict[str, Any]]
    digests: dict[str, str]


def plan(source: Path, scene_id: str, settings: PipelineSettings) -> Plan:
    """The plan for one source. Paths and places do not enter it, only contents and settings.

    Raises:
        InputError: the source or the masks cannot be read.
    """
    content = source_digest(source, settings.ingest.source_format)
    masks = inputs_digest(settings.segment)
    # what "auto" stands for enters the digest, so that naming it makes no difference
    segment = settings.segment.model_dump(mode="json", exclude={"masks"})
    segment["engine"] = build_segmenter(settings.segment).name
    source_format = settings.ingest.source_format
    ingest = settings.ingest.model_dump(mode="json")
    ingest["source_format"] = detect_format(source) if source_format == "auto" else source_format
    configs: dict[str, dict[str, Any]] = {
        "ingest": ingest,
        "reconstruct": settings.reconstruct.model_dump(mode="json"),
        "segment": {**segment, "masks_digest": masks},
        "lift": {},
        "superpoints": settings.superpoints.model_dump(mode="json"),
        "publish": {"scene_id": scene_id, "seed": settings.seed, "schema_version": SCHEMA_VERSION},
    }
    needs = {
        "ingest": [],
        "reconstruct": ["ingest"],
        "segment": ["ingest"],
        "lift": ["reconstruct", "segment"],
        "superpoints": ["reconstruct", "segment", "lift"],
        "publish": ["ingest", "reconstruct", "segment", "lift", "superpoints"],
    }
    digests: dict[str, str] = {}
    for stage, inputs in needs.items():
        given = {"source": content} if stage == "ingest" else {name: digests[name] for name in inputs}
        digests[stage] = stage_digest(stage, STAGE_VERSIONS[stage], configs[stage], given)
    return Plan(content, configs, digests)
