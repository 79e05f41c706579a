"""The engine "simulated": a synthetic room's true masks with a segmenter's errors, for experiments without weights.

Nothing is looked for in the pictures. Only rooms have the truth that it takes, and it is never chosen by itself.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float64, Recording, UInt32, ViewFeatures, ViewMasks
from ovseg3r_model.rooms.mask_errors import corrupt
from ovseg3r_model.rooms.truth import IDS, INSTANCES, RoomTruth, read_truth
from ovseg3r_model.segmentation.id_maps import Name, settle
from ovseg3r_model.segmentation.imported import file_digest
from ovseg3r_model.settings import SimulatedSettings

CHANNELS = 32
_CELL = 8  # pixels a side
_APART = 1_000_003  # between seeds, as in ``write_room``: the same errors there and here


class Simulated:
    """The engine. Masks under ``min_area`` pixels are dropped.

    Features: each name has a direction of its own in 32 dimensions, which synonyms share; every cell of the map (8 x 8
    pixels) has that of the true thing at its middle, nothing where there is none, and every instance that of the thing
    it is most of; noise of ``feature_noise`` times that length is added to either.
    """

    name = "simulated"
    open_vocabulary = True
    batch = 1

    def __init__(self, settings: SimulatedSettings, min_area: int, features: bool) -> None:
        """Raises InputError: no folder with truth is given."""
        if settings.truth is None:
            raise InputError(
                "The engine simulated takes a synthetic room's true masks: give the folder that the room was written "
                "to with --truth FOLDER."
            )
        self._settings, self._min_area, self._features = settings, min_area, features
        self._folder = Path(settings.truth).expanduser()

    def prepare(self, recording: Recording) -> tuple[str, ...]:
        """See :meth:`.Segmenter.prepare`.

        Raises:
            InputError: there is no truth, or it is of other frames.
        """
        self._truth(recording)
        return ("The 2D masks are simulated: a synthetic room's true ones with errors, not found in the pictures.",)

    def segment(self, recording: Recording, views: Sequence[int]) -> Iterator[ViewMasks]:
        """See :meth:`.Segmenter.segment`. Raises InputError as ``prepare``."""
        truth, (width, height) = self._truth(recording), recording.size
        with truth.maps() as maps:
            for view in views:
                frame = int(recording.frame[view])
                yield self._seen(truth, np.ascontiguousarray(maps[frame][:height, :width]), frame)

    def _truth(self, recording: Recording) -> RoomTruth:
        truth = read_truth(self._folder)
        frames, height, width = truth.shape
        if int(recording.frame.max()) >= frames or recording.size[0] > width or recording.size[1] > height:
            raise InputError(
                f"{self._folder}: its truth is of {frames} frames of {width}x{height}, the recording has frame "
                f"{int(recording.frame.max())} of {recording.size[0]}x{recording.size[1]}: another room."
            )
        return truth

    def _seen(self, truth: RoomTruth, ids: UInt32, frame: int) -> ViewMasks:
        masks = corrupt(ids, truth.instances, self._settings.errors, self._settings.seed * _APART + frame)
        names = {k + 1: Name(*named) for k, named in enumerate(zip(masks.labels, masks.scores.tolist(), strict=True))}
        masks = settle(masks.ids, names, self._min_area)
        return replace(masks, features=self._imagined(truth, ids, masks, frame)) if self._features else masks

    def _imagined(self, truth: RoomTruth, ids: UInt32, masks: ViewMasks, frame: int) -> ViewFeatures:
        """Features of a view with the true ids (H,W)."""
        direction = np.stack([np.zeros(CHANNELS), *(_direction(thing.name) for thing in truth.instances)])
        rng = np.random.default_rng([self._settings.seed, frame, 6])
        middle = _CELL // 2
        padded = np.pad(ids, ((0, middle), (0, middle)), mode="edge")  # the last cells' middles may lie outside
        cells = direction[padded[middle::_CELL, middle::_CELL]]
        things = direction[[_thing_under(ids[masks.ids == k + 1]) for k in range(len(masks.labels))]]
        noisy = [
            part + rng.normal(0, self._settings.feature_noise / np.sqrt(CHANNELS), part.shape)
            for part in (cells, things)
        ]
        return ViewFeatures(noisy[0].astype(np.float16), (1 / _CELL, 1 / _CELL), noisy[1].astype(np.float16))


def content_digest(settings: SimulatedSettings) -> str:
    """sha256, in hex, of the truth's files.

    Raises:
        InputError: they cannot be read.
    """
    total = hashlib.sha256()
    for name in (INSTANCES, IDS):
        total.update(bytes.fromhex(file_digest(Path(settings.truth or "").expanduser() / name)))
    return total.hexdigest()


def _direction(name: str) -> Float64:
    """(32,) the unit vector of a name, the same everywhere."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=CHANNELS)
    unit: Float64 = vector / np.linalg.norm(vector)
    return unit


def _thing_under(ids: UInt32) -> int:
    """The true id that most of a mask's pixels (P,) have."""
    return int(np.bincount(ids).argmax())
