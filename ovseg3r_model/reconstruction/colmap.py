"""Engine ``colmap``: cameras by structure from motion, depth by our own matching, from colour pictures alone."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ovseg3r_model.reconstruction.from_depth import UPRIGHT, EstimatedViews, extent_of, fuse_estimated
from ovseg3r_model.reconstruction.protocol import Progress, no_progress, torch_device
from ovseg3r_model.reconstruction.scale import KnownPositions, find_scale, parse_scale_source
from ovseg3r_model.reconstruction.sfm import structure_from_motion
from ovseg3r_model.reconstruction.sparse import SparseModel, rectified
from ovseg3r_model.reconstruction.upright import stand_upright
from ovseg3r_model.records import DenseDepth, Images, Reconstruction, Recording
from ovseg3r_model.settings import DenseSettings, ReconstructSettings

UNKNOWN_SCALE = (
    "The scale is unknown, as always from pictures alone: lengths are in units of the reconstruction, not metres; "
    "--scale-from settles it."
)


class Colmap:
    """See the module; an implementation of :class:`ovseg3r_model.reconstruction.protocol.Reconstructor`.

    Without ``scale_from`` lengths are in units of the first matched pair's baseline, as COLMAP leaves them.
    """

    name = "colmap"

    def __init__(self, settings: ReconstructSettings, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.scale_source = None if settings.scale_from is None else parse_scale_source(settings.scale_from)

    def reconstruct(self, recording: Recording, progress: Progress = no_progress) -> Reconstruction:
        torch_device(self.settings.dense.device)  # what is wrong with it is told before the longer work
        # 4 steps a keyframe for the cameras, 2 for depth, 2 for fusion
        count, told = len(recording), 0
        total = 8 * count

        def at(done: int) -> None:
            nonlocal told
            if told < done <= total:
                told = done
                progress(done, total)

        with TemporaryDirectory(prefix="ovseg3r-colmap-") as folder:
            model = structure_from_motion(
                recording,
                self.settings.sfm,
                self.seed,
                threads_of(self.settings),
                Path(folder),
                lambda n, _: at(n),
            )
        model, world_frame = self._placed(recording, model)
        frames = rectified(recording, model)
        depth = estimate_depth(
            frames.color,
            model,
            self.settings.dense,
            threads_of(self.settings),
            lambda n, _: at(4 * count + n),
        )
        fused = 0

        def step() -> None:
            nonlocal fused
            fused += 1
            at(6 * count + fused)

        found = EstimatedViews(
            views=model.views,
            keyframes=model.registered,
            color=frames.color,
            depth=depth,
            scale_known=self.scale_source is not None,
            world_frame=world_frame,
            distortion=model.distortion,
        )
        notes = model.notes if found.scale_known else (*model.notes, UNKNOWN_SCALE)
        result = fuse_estimated(found, self.settings, extent_of(model.xyz), model.quality, notes, step)
        at(total)  # views that were left out have no steps
        return result

    def _placed(self, recording: Recording, model: SparseModel) -> tuple[SparseModel, str]:
        """The model in metres, where they are known, and stood upright, where its frame is not given."""
        if self.scale_source is not None:
            known = find_scale(self.scale_source, recording, model)
            model = model.transformed(known.scale, known.rotation, known.translation)
            if isinstance(self.scale_source, KnownPositions):
                return model, "that of the camera positions given with --scale-from"
        motion, _ = stand_upright(model.views.world_from_camera, model.xyz)
        return model.transformed(1.0, motion.rotation, motion.translation), UPRIGHT


def threads_of(settings: ReconstructSettings) -> int:
    """CPU threads to work with."""
    return settings.threads or os.cpu_count() or 1


def estimate_depth(
    color: Images, model: SparseModel, settings: DenseSettings, threads: int, progress: Progress = no_progress
) -> DenseDepth:
    """Dense depth of the model's views, whose pictures ``color`` are without lens distortion; progress: 2 steps a view.

    Raises:
        InputError: see :func:`ovseg3r_model.reconstruction.dense.depth_maps.dense_depth`.
    """
    # torch takes a second to import: only here
    from ovseg3r_model.reconstruction.dense.depth_maps import dense_depth, working_size
    from ovseg3r_model.reconstruction.dense.maps import MapsOnDisk, MapStack, SparsePoints

    count = len(model.views)
    width, height = model.views.size[0].tolist()
    size = working_size((width, height), settings.short_side)
    final = MapStack(count, size)
    order = np.argsort(model.view, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(model.view, minlength=count))]).astype(np.int64)
    sparse = SparsePoints(model.xyz, indptr, model.point()[order])
    with TemporaryDirectory(prefix="ovseg3r-depth-") as folder:
        raw = MapsOnDisk(Path(folder) / "raw", count, size)
        dense_depth(color, model.views, sparse, settings, threads, raw, final, progress)
    return DenseDepth(final.z, final.confidence)
