"""Under what key a store remembers a source: all that decides its labels, as far as it shows without reading content.

A key may differ though nothing that matters does: then the source is read, and found done by its content's digest. It
must never stay the same when a file has changed in name, size or time, or a setting, weights or the program have.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.imported import nerfstudio, pointmaps
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.records import Annotation
from ovseg3r_model.segmentation import digest_config
from ovseg3r_model.segmentation.protocol import engine_for
from ovseg3r_model.settings import PipelineSettings, ReconstructSettings, SegmentSettings
from storage.errors import StoreError
from storage.schema import SCHEMA_VERSION
from tasks.fetch import fingerprint
from tasks.plan import STAGE_VERSIONS
from tasks.remote_files import is_url

Asked = tuple[str, str, PipelineSettings]
"""A source, its scene's id, and its settings."""

_AT_ONCE = 32  # servers answer in tens of milliseconds
_POSITIONS = "positions:"
_INDICES = frozenset({nerfstudio.INDEX, pointmaps.INDEX})


def memory_keys(
    asked: Sequence[Asked], annotation: Annotation = "views", until: str | None = None, look: "Look | None" = None
) -> list[str | None]:
    """64 hex digits for each source, in order; None where it cannot be told without reading it: it is not there, an
    engine lacks something, or a server tells no times. annotation: of the scenes as they are published. until: of what
    a source comes to at this stage, "reconstruct", which hangs on no file or setting that only later stages use. look:
    what was looked up before; else all is looked up now.
    """
    key = partial(_key, look=look or Look(), annotation=annotation, until=until)
    if not any(is_url(place) for source, _, settings in asked for place in (source, *_places(settings, until))):
        return [key(one) for one in asked]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(key, asked))


@dataclass
class Look:
    """The states of files by place, and what engines stand for by their settings: looked up once."""

    _states: dict[str, str | None] = field(default_factory=dict)
    _segment: dict[tuple[SegmentSettings, bool], dict[str, Any]] = field(default_factory=dict)
    _reconstruct: dict[ReconstructSettings, dict[str, Any]] = field(default_factory=dict)

    def state(self, place: str) -> str | None:
        """Of the files there. Raises as :func:`fingerprint`."""
        if place not in self._states:
            self._states[place] = _state(place)
        return self._states[place]

    def segment(self, settings: SegmentSettings, features: bool) -> dict[str, Any]:
        """The 2D engine, and the digests of its weights and words; masks and truth are told by their files' states."""
        known = self._segment.get((settings, features))
        if known is None:
            engine = engine_for(settings)
            learned = engine in ("grounded-sam", "sam3")
            known = digest_config(settings, features) if learned else {"engine": engine}
            self._segment[settings, features] = known
        return known

    def reconstruct(self, settings: ReconstructSettings) -> dict[str, Any]:
        """The kind of device (CPU and GPU round differently), and the states of learned weights."""
        known = self._reconstruct.get(settings)
        if known is None:
            known = {}
            if settings.engine != "posed-rgbd":
                known["devices"] = [torch_device(part.device) for part in (settings.dense, settings.dust3r)]
            if settings.engine == "dust3r":
                from ovseg3r_model.reconstruction.dust3r.model import local_files

                known["weights"] = [fingerprint(str(path.resolve())) for path in local_files(settings.dust3r.weights)]
            self._reconstruct[settings] = known
        return known


def same_files(key: str, source: str, settings: PipelineSettings, until: str | None = None) -> bool:
    """Whether the files are those that a key was made for, also on another machine: asked before it is remembered what
    became of them, for they may have changed after the key was made and before they were read."""
    try:
        states = _states(source, settings, until, Look())
    except (InputError, StoreError):
        return False
    return states is not None and key.startswith(states)


def _key(one: Asked, look: Look, annotation: Annotation, until: str | None) -> str | None:
    """The first half says the files' states, the second half the rest."""
    source, scene_id, settings = one
    try:
        states = _states(source, settings, until, look)
        if until is None:
            whole = look.segment(settings.segment, settings.features.save)
            used = [annotation, settings.model_dump_json(), whole]
        else:
            used = [until, settings.model_dump_json(include={"ingest", "reconstruct", "seed"})]
        decides = [scene_id, *used, look.reconstruct(settings.reconstruct), STAGE_VERSIONS, SCHEMA_VERSION]
    except (InputError, StoreError):  # the labelling itself tells it better
        return None
    return None if states is None else states + _half(decides)


def _states(source: str, settings: PipelineSettings, until: str | None, look: Look) -> str | None:
    """32 hex digits of the source's and the other files' states. Raises as :func:`fingerprint`."""
    states = [look.state(place) for place in (source, *_places(settings, until))]
    return None if None in states else _half(states)


def _half(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _places(settings: PipelineSettings, until: str | None) -> Iterator[str]:
    """Where the files lie that the settings name for one recording, and that are used until then."""
    scale = settings.reconstruct.scale_from or ""
    if scale.startswith(_POSITIONS):
        yield scale.removeprefix(_POSITIONS)
    later = (settings.segment.masks, settings.segment.simulated.truth) if until is None else ()
    for place in (settings.reconstruct.reconstruction, *later):
        if place is not None:
            yield place


def _state(place: str) -> str | None:
    if is_url(place):
        return fingerprint(place)
    path = Path(place).expanduser().resolve()
    # of a reconstruction that is named by its index, the files beside it count
    return fingerprint(str(path.parent if path.name in _INDICES else path))
