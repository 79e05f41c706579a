"""Engine ``posed-rgbd``: depth and poses are given; what is left is registration, cleaning, fusion, and distrust of the
calibration.
"""

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.fusion import DepthView, fuse
from ovseg3r_model.reconstruction.calibration import check_alignment
from ovseg3r_model.reconstruction.from_depth import METRIC_VOXEL
from ovseg3r_model.reconstruction.protocol import Progress, no_progress
from ovseg3r_model.reconstruction.registration import drop_depth_edges, register
from ovseg3r_model.records import Float32, Reconstruction, Recording, Views
from ovseg3r_model.settings import ReconstructSettings


class PosedRgbd:
    """See the module; an implementation of :class:`ovseg3r_model.reconstruction.protocol.Reconstructor`."""

    name = "posed-rgbd"

    def __init__(self, settings: ReconstructSettings) -> None:
        self.settings = settings

    def reconstruct(self, recording: Recording, progress: Progress = no_progress) -> Reconstruction:
        if recording.depth is None or recording.world_from_camera is None or recording.intrinsics is None:
            raise InputError(
                f"posed-rgbd needs depth, poses and intrinsics, but the source (read as {recording.source_format}) "
                "lacks one of them; give a posed RGB-D recording."
            )
        views = Views(
            intrinsics=recording.intrinsics,
            world_from_camera=recording.world_from_camera,
            size=np.tile(np.array(recording.size, np.int64), (len(recording), 1)),
            frame=recording.frame,
            time=recording.time,
        )
        voxel = self.settings.voxel or METRIC_VOXEL
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, 2 * len(recording))

        points, correspondence = fuse(views, lambda v: self._view(recording, v), voxel, self.settings.min_views, step)
        alignment = check_alignment(recording)
        return Reconstruction(
            points=points,
            correspondence=correspondence,
            views=views,
            scale_known=True,
            world_frame="the source's own world frame",
            voxel_size=voxel,
            quality={"color_depth_offset_px": round(alignment.offset_px, 2)},
            notes=alignment.notes,
        )

    def _view(self, recording: Recording, view: int) -> DepthView:
        assert recording.depth is not None  # noqa: S101 - for the type checker; reconstruct() has looked
        assert recording.depth_intrinsics is not None  # noqa: S101
        assert recording.intrinsics is not None  # noqa: S101
        settings = self.settings
        depth = self._usable(np.ascontiguousarray(recording.depth[view], dtype=np.float32))
        registered = register(
            drop_depth_edges(depth, settings.edge_ratio),
            recording.depth_intrinsics[view],
            recording.intrinsics[view],
            recording.color_from_depth,
            recording.size,
        )
        # a depth sensor's noise grows with the square of the distance
        confidence = 1 / np.maximum(1, registered) ** 2
        return DepthView(np.ascontiguousarray(recording.color[view]), registered, confidence.astype(np.float32))

    def _usable(self, depth: Float32) -> Float32:
        bad = ~((depth >= self.settings.min_depth) & (depth <= self.settings.max_depth))  # nan compares false
        depth = depth.copy()
        depth[bad] = 0
        return depth
