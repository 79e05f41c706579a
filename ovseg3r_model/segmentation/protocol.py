"""What a 2D segmentation engine is, and the one place where an engine is chosen.

To add an engine, a learned one for instance (grounded-sam, sam3):

1. write ``ovseg3r_model/segmentation/<engine>.py`` with one class that fulfils :class:`Segmenter`. It loads its
   weights in ``prepare`` or at the first view, never at import; it batches inside ``segment``; it ends in
   :func:`.id_maps.settle`, which owns ids and ``min_area``;
2. add its name to ``SegmentSettings.engine`` in ``ovseg3r_model/settings.py``, and its settings beside it;
3. add its line to :func:`build_segmenter` (import inside the function: choosing one engine must not load the others),
   and to :func:`inputs_digest` when files decide what it gives (weights, masks);
4. add three lines to ``tests/contracts/test_segmenters.py``: a subclass of ``SegmenterContract`` whose ``build``
   returns the engine.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Recording, ViewMasks
from ovseg3r_model.settings import SegmentSettings


class Segmenter(Protocol):
    """Names the things in single pictures.

    name: the engine's, as in the settings. open_vocabulary: whether labels are names of things (False: all are
    "object").
    """

    @property
    def name(self) -> str: ...

    @property
    def open_vocabulary(self) -> bool: ...

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


def build_segmenter(settings: SegmentSettings) -> Segmenter:
    """The engine that the settings ask for. "auto" is "imported" where masks are given; nothing is guessed otherwise.

    Raises:
        InputError: no engine follows from the settings, or the masks given would not be used.
    """
    engine, masks = settings.engine, settings.masks
    if engine == "regions":
        if masks:
            raise InputError(
                f"Masks are given ({masks}), but --segment regions would not use them: leave one of the two out."
            )
        from ovseg3r_model.segmentation.regions import Regions

        return Regions(settings.min_area)
    if not masks:
        raise InputError(
            "There is nothing to take 2D masks from: give --masks PATH (a COCO instances JSON, or a folder of "
            "id-map PNGs with labels.json), or --segment regions for unnamed regions, which need no model and are for "
            "trying things out."
        )
    from ovseg3r_model.segmentation.imported import ImportedMasks

    return ImportedMasks(Path(masks), settings.min_area)


def inputs_digest(settings: SegmentSettings) -> str | None:
    """sha256, in hex, over the content of the files that decide what the engine gives; None where there are none.

    Raises:
        InputError: the masks cannot be read.
    """
    if not settings.masks or settings.engine == "regions":
        return None
    from ovseg3r_model.segmentation.imported import content_digest

    return content_digest(Path(settings.masks))
