"""Engine ``imported``: cameras and depth come from another system; what is left is one grid, unit, up, and fusion."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.colmap import UNKNOWN_SCALE, estimate_depth, threads_of
from ovseg3r_model.reconstruction.dense.maps import MapStack
from ovseg3r_model.reconstruction.from_depth import UPRIGHT, EstimatedViews, extent_of, fuse_estimated
from ovseg3r_model.reconstruction.imported.confidence import RANKED_NOTE, UNRANKED_NOTE, Ranks
from ovseg3r_model.reconstruction.imported.detect import read_reconstruction
from ovseg3r_model.reconstruction.imported.given import GivenViews
from ovseg3r_model.reconstruction.imported.grid import grid_size, map_pixels, resampled
from ovseg3r_model.reconstruction.imported.sample import FARTHEST, sampled
from ovseg3r_model.reconstruction.protocol import Progress, no_progress
from ovseg3r_model.reconstruction.registration import drop_depth_edges
from ovseg3r_model.reconstruction.scale import KnownPositions, find_scale, parse_scale_source
from ovseg3r_model.reconstruction.sparse import SparseModel, rectified
from ovseg3r_model.reconstruction.upright import stand_upright
from ovseg3r_model.records import DenseDepth, Reconstruction, Recording
from ovseg3r_model.segmentation.matching import first_few
from ovseg3r_model.settings import ReconstructSettings

GIVEN_FRAME = "that of the given reconstruction, z up"

STORABLE = (0.01, 1000.0)
"""Depth is stored in 16 bits: a scene of unknown scale whose median depth is not between these gets another unit."""

LARGEST = 0.999 * float(np.finfo(np.float16).max)
"""The largest depth that is stored, in the world's unit."""

ROOM = (0.02, 500.0)
"""Metres: a median depth outside of these is a mistake of the unit."""

ASSUMED_NOTE = (
    "Lengths are taken for metres, as nerfstudio's depth should be; where ns-process-data --use-sfm-depth has made it "
    "they are not: then give --scale-from."
)


class Imported:
    """See the package; an implementation of :class:`ovseg3r_model.reconstruction.protocol.Reconstructor`.

    Pixels of the given depth at depth steps (``edge_ratio``) and of the lowest confidence (:mod:`.confidence`) are
    dropped. Views are the recording's frames that the reconstruction has.
    """

    name = "imported"

    def __init__(self, settings: ReconstructSettings, path: Path) -> None:
        self.settings, self.path = settings, path
        self.scale_source = None if settings.scale_from is None else parse_scale_source(settings.scale_from)

    def reconstruct(self, recording: Recording, progress: Progress = no_progress) -> Reconstruction:
        if recording.turned:
            raise InputError(
                f"Pictures of the source are turned by their EXIF orientation, which {self.path} most likely does not "
                "know of; turn the pictures' pixels first, e.g. `mogrify -auto-orient *.jpg`, and reconstruct again."
            )
        given = read_reconstruction(self.path, recording)
        # two steps a view for depth, two for fusion
        steps = _Steps(progress, 4 * len(given.registered if isinstance(given, SparseModel) else given.keyframes))
        metric = isinstance(given, GivenViews) and given.metric
        assumed = isinstance(given, GivenViews) and given.metric_assumed
        if assumed and self.scale_source is not None:
            metric = False
        if metric and self.scale_source is not None:
            raise InputError(
                f"--scale-from {self.settings.scale_from} is given, but {self.path} is in metres; leave it out."
            )
        if isinstance(given, SparseModel):
            unit, notes = self._unit(metric, _median_depth(given), given.notes)
            start = given.transformed(unit, np.eye(3), np.zeros(3))
            model, world_frame, _ = self._placed(recording, start, gravity_aligned=False)
            frames = rectified(recording, model)
            depth = estimate_depth(
                frames.color, model, self.settings.dense, threads_of(self.settings), lambda _done, _total: steps()
            )
        else:
            sample = sampled(given, recording, steps)
            unit, notes = self._unit(metric, sample.median, sample.notes)
            start = sample.model.transformed(unit, np.eye(3), np.zeros(3))
            model, world_frame, scale = self._placed(recording, start, given.gravity_aligned)
            frames = rectified(recording, model)
            depth = self._gridded(given, model, scale * unit, FARTHEST * sample.median, sample.ranks, steps)
            notes = (*notes, ASSUMED_NOTE) if metric and assumed else notes
            notes = (*notes, UNRANKED_NOTE if sample.ranks is None else RANKED_NOTE)
        found = EstimatedViews(
            views=model.views,
            keyframes=model.registered,
            color=frames.color,
            depth=depth,
            scale_known=metric or self.scale_source is not None,
            world_frame=world_frame,
            distortion=model.distortion,
        )
        if len(model.views) < len(recording):
            missing = [name for k, name in enumerate(recording.names) if k not in set(model.registered.tolist())]
            notes = (
                *notes,
                f"{len(missing)} of {len(recording)} keyframes are not in {self.path} and are left out: "
                f"{first_few(missing)}.",
            )
        if not found.scale_known:
            notes = (*notes, UNKNOWN_SCALE)
        return fuse_estimated(found, self.settings, extent_of(model.xyz), model.quality, notes, steps)

    def _unit(self, metric: bool, median: float, notes: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
        """What to multiply the given lengths by before anything else; notes with a word about it."""
        if metric and not ROOM[0] <= median <= ROOM[1]:
            raise InputError(
                f"{self.path}: the median depth would be {median:g} metres; correct the unit, or say that it is not "
                "metric (for nerfstudio by --scale-from)."
            )
        if STORABLE[0] <= median <= STORABLE[1]:
            return 1.0, notes
        return 1 / median, (*notes, f"Lengths are given ones divided by {median:g}, the median depth.")

    def _placed(
        self, recording: Recording, model: SparseModel, gravity_aligned: bool
    ) -> tuple[SparseModel, str, float]:
        """The model in metres, where they are asked for, and stood upright, where it is not said to be; its world frame
        in words; what lengths were multiplied by."""
        scale = 1.0
        if self.scale_source is not None:
            known = find_scale(self.scale_source, recording, model)
            model, scale = model.transformed(known.scale, known.rotation, known.translation), known.scale
            if isinstance(self.scale_source, KnownPositions):
                return model, "that of the camera positions given with --scale-from", scale
        if gravity_aligned:
            return model, GIVEN_FRAME, scale
        motion, _ = stand_upright(model.views.world_from_camera, model.xyz)
        return model.transformed(1.0, motion.rotation, motion.translation), UPRIGHT, scale

    def _gridded(
        self,
        given: GivenViews,
        model: SparseModel,
        scale: float,
        farthest: float,
        ranks: Ranks | None,
        step: Callable[[], None],
    ) -> DenseDepth:
        """The given depth times ``scale`` on one grid, cleaned, without what is farther than ``farthest``, in the given
        unit; step is called after each view."""
        farthest = min(farthest, LARGEST / scale)
        size: tuple[int, int] = (int(model.views.size[0, 0]), int(model.views.size[0, 1]))
        grid = grid_size(size, given.density)
        out = MapStack(len(model.views), grid)
        for v, intrinsics in enumerate(model.views.intrinsics):
            depth = given.read(v)
            confidence = np.ones_like(depth.z)
            if ranks is not None and depth.confidence is not None:
                confidence = ranks(depth.confidence)
            usable = (confidence > 0) & (depth.z <= farthest)
            z = drop_depth_edges(depth.z, self.settings.edge_ratio) * usable
            shape = (depth.z.shape[1], depth.z.shape[0])
            at = map_pixels(grid, size, shape, depth.box, intrinsics, given.distortion)
            z, confidence = resampled(np.float32(scale) * z, confidence, at)
            out.save(v, z, confidence)
            step()
        return DenseDepth(out.z, out.confidence)


def _median_depth(model: SparseModel) -> float:
    """Of the points in the views that see them; some view sees some."""
    pose = model.views.world_from_camera[model.view]
    z = np.einsum("tj,tj->t", model.xyz[model.point()] - pose[:, :3, 3], pose[:, :3, 2])
    return float(np.median(np.abs(z)))


class _Steps:
    """Counts calls up to ``total`` and tells of each."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)
