"""Engine ``colmap``: cameras by structure from motion, depth by our own matching, from colour pictures alone."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ovseg3r_model.fusion import DepthView, fuse
from ovseg3r_model.reconstruction.protocol import Progress, no_progress
from ovseg3r_model.reconstruction.sfm import structure_from_motion
from ovseg3r_model.reconstruction.sparse import SparseModel, rectified
from ovseg3r_model.reconstruction.upright import stand_upright
from ovseg3r_model.records import Recording, Reconstruction
from ovseg3r_model.settings import ReconstructSettings

VOXELS_ACROSS = 300
"""Default fusion grid of a scene of unknown scale: its extent in so many parts."""


class Colmap:
    """See the module; an implementation of :class:`ovseg3r_model.reconstruction.protocol.Reconstructor`.

    The scale is unknown: lengths are in units of the first matched pair's baseline, as COLMAP leaves them.
    """

    name = "colmap"

    def __init__(self, settings: ReconstructSettings) -> None:
        self.settings = settings

    def reconstruct(self, recording: Recording, progress: Progress = no_progress) -> Reconstruction:
        # 4 steps a keyframe for the cameras, 2 for depth, 2 for fusion
        total = 8 * len(recording)
        with TemporaryDirectory(prefix="ovseg3r-colmap-") as folder:
            work = Path(folder)
            model = structure_from_motion(recording, self.settings.sfm, work, lambda n, _: progress(n, total))
            motion, up = stand_upright(model.views.world_from_camera, model.xyz)
            model = model.transformed(1.0, motion.rotation, motion.translation)
            return self._dense(recording, model, up.surfaces, work, progress)

    def _dense(
        self, recording: Recording, model: SparseModel, surfaces: float, work: Path, progress: Progress
    ) -> Reconstruction:
        # torch takes a second to import: only here
        from ovseg3r_model.reconstruction.dense.depth_maps import dense_depth, full_resolution, working_size
        from ovseg3r_model.reconstruction.dense.maps import MapsOnDisk, SparsePoints

        frames, views = rectified(recording, model), model.views
        total, count = 8 * len(recording), len(views)
        size = working_size(recording.size, self.settings.dense.short_side)
        raw, final = (MapsOnDisk(work / name, count, size) for name in ("raw", "final"))
        order = np.argsort(model.view, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(model.view, minlength=count))]).astype(np.int64)
        sparse = SparsePoints(model.xyz, indptr, model.point()[order])
        start = 4 * len(recording)
        dense_depth(
            frames.color, views, sparse, self.settings.dense, raw, final, lambda n, _: progress(start + n, total)
        )
        voxel = self.settings.voxel or _extent(model) / VOXELS_ACROSS
        done = start + 2 * count

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        def read(v: int) -> DepthView:
            depth, confidence = full_resolution(*final.load(v), recording.size)
            return DepthView(np.ascontiguousarray(frames.color[v]), depth, confidence)

        points, correspondence = fuse(views, read, voxel, self.settings.min_views, step)
        progress(total, total)
        return Reconstruction(
            points=points,
            correspondence=correspondence,
            views=views,
            scale_known=False,
            world_frame="z up, floor at z = 0, the origin under the first camera",
            voxel_size=voxel,
            quality={**model.quality, "upright_surfaces": surfaces},
            notes=model.notes,
            keyframes=model.registered,
            distortion=model.distortion,
        )


def _extent(model: SparseModel) -> float:
    """The diagonal of the box that holds nine tenths of the sparse points along each axis."""
    low, high = np.percentile(model.xyz, 5, axis=0), np.percentile(model.xyz, 95, axis=0)
    return float(np.linalg.norm(high - low))
