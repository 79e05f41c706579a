"""What every reconstruction engine is, and where a new one goes.

A new engine: one file in this folder with a class that has ``name`` and ``reconstruct``; its name in the ``Literal`` of
``ReconstructSettings.engine``; one line in ``build_reconstructor``; a three-line class in
``tests/contracts/test_reconstructors.py``.
"""

from collections.abc import Callable
from typing import Protocol

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Reconstruction, Recording
from ovseg3r_model.settings import ReconstructSettings

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) as long work goes on."""


def no_progress(done: int, total: int) -> None:
    """The progress of callers who do not want any."""


class Reconstructor(Protocol):
    name: str

    def reconstruct(self, recording: Recording, progress: Progress = no_progress) -> Reconstruction:
        """Points, correspondences and cameras of the keyframes in ``recording``.

        Raises:
            InputError: the recording lacks what the engine needs, or nothing can be reconstructed from it.
        """
        ...


def build_reconstructor(settings: ReconstructSettings, recording: Recording) -> Reconstructor:
    """The engine that ``settings`` names; for "auto" the one that fits what the recording holds.

    Raises:
        InputError: no engine can reconstruct this recording.
    """
    from ovseg3r_model.reconstruction.colmap import Colmap
    from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd

    posed = recording.depth is not None and recording.world_from_camera is not None
    if settings.engine == "colmap" or (settings.engine == "auto" and not posed):
        return Colmap(settings)
    if not posed:
        raise InputError(
            f"This source (read as {recording.source_format}) has no depth with poses, which posed-rgbd needs; leave "
            "--reconstruct out, or give a posed RGB-D recording (7-Scenes, ScanNet export, TUM or nerfstudio with depth)."
        )
    return PosedRgbd(settings)
