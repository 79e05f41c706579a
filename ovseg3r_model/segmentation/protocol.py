"""What a 2D segmentation engine is, and the one place where an engine is chosen.

To add an engine:

1. write ``ovseg3r_model/segmentation/<engine>.py`` with one class that fulfils :class:`Segmenter`; a learned one
   inherits :class:`.learned.Learned`, which brings vocabulary, device and batches, and ends in
   :func:`.overlaps.view_masks`, which owns what becomes of overlaps; others end in :func:`.id_maps.settle`;
2. add its name to ``SegmentEngine`` in ``ovseg3r_model/settings.py``, and its settings beside it;
3. add its line to :func:`build_segmenter` (import inside the function: choosing one engine must not load the others),
   to ``_USED``, and to :func:`inputs_digest` when files decide what it gives (weights, masks);
4. add three lines to ``tests/contracts/test_segmenters.py``: a subclass of ``SegmenterContract`` whose ``build``
   returns the engine.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.records import Recording, ViewMasks
from ovseg3r_model.settings import GroundedSamSettings, SegmentEngine, SegmentSettings


class Segmenter(Protocol):
    """Names the things in single pictures.

    name: the engine's, as in the settings. open_vocabulary: whether labels are names of things (False: all are
    "object").
    """

    @property
    def name(self) -> str: ...

    @property
    def open_vocabulary(self) -> bool: ...

    @property
    def batch(self) -> int:
        """Frames that go through together, known after ``prepare``: a run that continues a killed one is to have the
        same (``SegmentSettings.batch``)."""
        ...

    def prepare(self, recording: Recording) -> tuple[str, ...]:
        """Checks, before any costly work, that the engine's inputs and the frames fit together.

        Returns notes for the user, one sentence each. ``segment`` does not depend on it: a continued run may go
        without.

        Raises:
            InputError: they do not; the sentence names the file and the entry.
        """
        ...

    def segment(self, recording: Recording, views: Sequence[int]) -> Iterator[ViewMasks]:
        """The masks of the asked views, one :class:`ViewMasks` each and in their order; ``views`` index into
        ``recording``.

        Deterministic, and a view's masks do not depend on which other views are asked for: a killed run continues
        with the missing ones. Every label is a non-empty text, ids run from 1 to K without gaps. The recording's
        arrays are not written to.

        Raises:
            InputError: as in ``prepare``.
        """
        ...


def engine_for(settings: SegmentSettings) -> SegmentEngine:
    """What "auto" stands for: imported where masks are given, else grounded-sam where its weights are here. It never
    stands for an engine that gives less than names: those are asked for.

    Raises:
        InputError: nothing follows from the settings, or the masks given would not be used.
    """
    if settings.engine == "auto":
        if settings.masks:
            return "imported"
        lacking = _lacking(settings.grounded_sam)
        if not lacking:
            return "grounded-sam"
        raise InputError(
            "There is nothing to take 2D masks from. Either "
            f"`ovseg3r weights fetch {' '.join(lacking)}` once, for masks of what --prompt or "
            "--vocabulary names; or --masks PATH (a COCO instances JSON, or a folder of id-map PNGs with labels.json); "
            "or --segment sam3; or --segment regions for unnamed regions, which need no model and are for trying "
            "things out; or, for synthetic rooms, --segment simulated."
        )
    return settings.engine


def build_segmenter(settings: SegmentSettings, features: bool = False) -> Segmenter:
    """The engine that the settings ask for. features: whether its records shall have them.

    Nothing large is loaded here, so that what lacks can be told before any work.

    Raises:
        InputError: no engine follows from the settings, or what it needs is not here; it gives no features.
    """
    engine = engine_for(settings)
    _check_used(settings, engine)
    if features and engine in _WITHOUT_FEATURES:
        raise InputError(
            f"The engine {engine} gives no features to keep with --features; grounded-sam, sam3 and simulated do."
        )
    _folders(settings, engine)  # before the seconds that importing torch takes
    if engine == "regions":
        from ovseg3r_model.segmentation.regions import Regions

        return Regions(settings.min_area)
    if engine == "grounded-sam":
        from ovseg3r_model.segmentation.grounded_sam import GroundedSam

        return GroundedSam(settings, features)
    if engine == "sam3":
        from ovseg3r_model.segmentation.sam3 import Sam3

        return Sam3(settings, features)
    if engine == "simulated":
        from ovseg3r_model.segmentation.simulated import Simulated

        return Simulated(settings.simulated, settings.min_area, features)
    if not settings.masks:
        raise InputError("The engine imported takes masks that are there: say where, with --masks PATH.")
    from ovseg3r_model.segmentation.imported import ImportedMasks

    return ImportedMasks(Path(settings.masks), settings.min_area)


def _folders(settings: SegmentSettings, engine: SegmentEngine) -> list[Path]:
    """Those with the weights that an engine takes; none for one without.

    Raises:
        InputError: some are not here.
    """
    from ovseg3r_model.weights import find

    part = getattr(settings, engine.replace("-", "_"), None)
    return [find(getattr(part, name)) for name in _WEIGHTS.get(engine, ())]


def digest_config(settings: SegmentSettings, features: bool) -> dict[str, Any]:
    """All that decides what the engine gives for the same frames, as JSON values: its own settings, and the content of
    files instead of their places.

    Raises:
        InputError: as :func:`build_segmenter`, or the files cannot be read.
    """
    engine = engine_for(settings)
    given = settings.model_dump(mode="json", include=set(_USED[engine]))
    config = {**given, "engine": engine, "inputs_digest": inputs_digest(settings)}
    if engine in _WITHOUT_FEATURES:
        return config
    config["features"] = features
    if engine == "simulated":
        config["simulated"].pop("truth")
        return config
    from ovseg3r_model.segmentation.learned import vocabulary_of

    # CPU and GPU round differently
    config["device"] = torch_device(settings.device).partition(":")[0]
    config["phrases"] = list(vocabulary_of(settings).phrases)
    for name in _WEIGHTS[engine]:
        config[engine.replace("-", "_")].pop(name)
    return config


def inputs_digest(settings: SegmentSettings) -> str | None:
    """sha256, in hex, over the content of the files that decide what the engine gives; None where there are none.

    Raises:
        InputError: they cannot be read.
    """
    engine = engine_for(settings)
    if engine == "imported" and settings.masks:
        from ovseg3r_model.segmentation.imported import content_digest

        return content_digest(Path(settings.masks))
    if engine == "simulated":
        from ovseg3r_model.segmentation import simulated

        return simulated.content_digest(settings.simulated)
    if engine in _WEIGHTS:
        from ovseg3r_model.weights import content_digest as digest_of

        digests = [digest_of(folder) for folder in _folders(settings, engine)]
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return None


_WITHOUT_FEATURES = ("imported", "regions")
_LEARNED = ("min_area", "precision", "batch", "overlaps")
_USED: dict[SegmentEngine, tuple[str, ...]] = {
    "imported": ("min_area",),
    "regions": ("min_area",),
    "grounded-sam": (*_LEARNED, "grounded_sam"),
    "sam3": (*_LEARNED, "sam3"),
    "simulated": ("min_area", "simulated"),
}
"""By engine: the settings that it uses, besides places of files."""

_WEIGHTS: dict[SegmentEngine, tuple[str, ...]] = {"grounded-sam": ("detector", "sam"), "sam3": ("weights",)}
"""By engine: which of its own settings name weights."""


def _lacking(settings: GroundedSamSettings) -> list[str]:
    """The names of weights that a fetch would bring.

    Raises:
        InputError: what is named is no known name, and is not here.
    """
    from ovseg3r_model.weights import KNOWN, find

    lacking = []
    for weights in (settings.detector, settings.sam):
        try:
            find(weights)
        except InputError:
            if weights not in {entry.name for entry in KNOWN}:
                raise
            lacking.append(weights)
    return lacking


def _check_used(settings: SegmentSettings, engine: SegmentEngine) -> None:
    """Raises InputError for settings that are given and that ``engine`` would not use."""
    words = settings.prompt is not None or settings.vocabulary != SegmentSettings().vocabulary
    unused = (
        (settings.masks is not None and engine != "imported", f"Masks are given ({settings.masks})", "them"),
        (words and engine not in _WEIGHTS, "Words to look for are given (--prompt or --vocabulary)", "them"),
        (settings.simulated.truth is not None and engine != "simulated", "A room's truth is given (--truth)", "it"),
    )
    for wrong, what, it in unused:
        if wrong:
            raise InputError(f"{what}, but --segment {engine} would not use {it}: leave one of the two out.")
