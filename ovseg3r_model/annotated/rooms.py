"""The points of a reconstructed synthetic room: what each belongs to in truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovseg3r_model.commonest import commonest
from ovseg3r_model.errors import InputError
from ovseg3r_model.lifting import lift
from ovseg3r_model.reconstruction.lens import RectifiedImages
from ovseg3r_model.records import Images, Int64, Reconstruction, SceneTruth, UInt32
from ovseg3r_model.rooms.truth import IDS, INSTANCES, RoomTruth, TruthMaps

RECORDING = "recording"
"""The folder that :func:`.write_room` puts a room's recording in."""


def truth_of_points(truth: RoomTruth, reconstruction: Reconstruction) -> SceneTruth:
    """The true instance that most observations of a point fall on; of equally many the one of the smaller id, 0 (wall,
    floor, ceiling) among them.

    Nothing is asked of the reconstruction's frame or scale: pixels alone decide, through the true id maps of the frames
    that the views are of, one in memory at a time. Instances that no point belongs to are left out, the others keep
    their order.

    Raises:
        InputError: the views are of other frames than the truth.
    """
    views = reconstruction.views
    frames, *shape = truth.shape
    height, width = (int(extent) for extent in views.size[:, ::-1].max(axis=0))
    if views.frame.max() >= frames or height > shape[0] or width > shape[1]:
        raise InputError(
            f"{truth.folder}: its truth is of {frames} frames of {shape[1]}x{shape[0]}, the scene has frame "
            f"{int(views.frame.max())} of {width}x{height}: another room."
        )
    corr = reconstruction.correspondence
    with truth.maps() as maps:
        seen: Images = _OfViews(maps, views.frame, (height, width))
        if reconstruction.distortion != 0:
            seen = RectifiedImages(seen, views, reconstruction.distortion, ids=True)
        observed = lift(seen, corr)
    # a point that nothing was seen of is nothing, as is one on nothing
    of_point = np.maximum(commonest(corr.point(), observed, len(reconstruction.points)), 0).astype(np.int32)
    used = np.unique(of_point[of_point > 0])
    number = np.zeros(len(truth.instances) + 1, np.int32)
    number[used] = np.arange(1, len(used) + 1)
    return SceneTruth(number[of_point], tuple(truth.instances[k - 1].name for k in used))


def is_room(folder: Path) -> bool:
    """Whether the folder looks like one that a room was written to."""
    return (folder / INSTANCES).is_file() and (folder / IDS).is_file()


def recording_of(folder: Path) -> Path:
    """The recording that lies beside a room's truth.

    Raises:
        InputError: there is none, or several folders that could be it.
    """
    usual = folder / RECORDING
    if usual.is_dir():
        return usual
    found = [p for p in folder.iterdir() if p.is_dir()]
    if len(found) != 1:
        raise InputError(f"{folder}: has a room's truth, but no folder {RECORDING} beside it; write the room again.")
    return found[0]


@dataclass(frozen=True)
class _OfViews:
    """The id maps (H,W) of the views; a video of an odd size has lost the last row or column of the true ones."""

    maps: TruthMaps
    frame: Int64
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: int, /) -> UInt32:
        height, width = self.shape
        return self.maps[int(self.frame[index])][:height, :width]
