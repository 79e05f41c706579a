"""What every reconstruction engine is, and where a new one goes.

A new engine: one file in this folder with a class that has ``name`` and ``reconstruct``; its name in
``ReconstructEngine`` (settings.py) and in ``UNUSED``; one line in ``build_reconstructor``; a three-line class in
``tests/contracts/test_reconstructors.py``.
"""

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.scale import KnownPositions, check_scale_source, parse_scale_source
from ovseg3r_model.records import Reconstruction, Recording
from ovseg3r_model.settings import ReconstructEngine, ReconstructSettings

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) as long work goes on."""


def no_progress(done: int, total: int) -> None:
    """The progress of callers who do not want any."""


UNUSED: dict[ReconstructEngine, frozenset[str]] = {
    "posed-rgbd": frozenset({"scale_from", "sfm", "dense", "dust3r"}),
    "colmap": frozenset({"min_depth", "max_depth", "edge_ratio", "dust3r"}),
    "imported": frozenset({"min_depth", "max_depth", "sfm", "dust3r"}),
    "dust3r": frozenset({"min_depth", "max_depth", "edge_ratio", "sfm", "dense"}),
}
"""Settings that make no difference to an engine."""


class Reconstructor(Protocol):
    name: str

    def reconstruct(self, recording: Recording, progress: Progress = no_progress) -> Reconstruction:
        """Points, correspondences and cameras of the keyframes in ``recording``.

        Raises:
            InputError: the recording lacks what the engine needs, or nothing can be reconstructed from it.
        """
        ...


def engine_for(settings: ReconstructSettings, posed_depth: bool) -> ReconstructEngine:
    """The engine that ``settings`` names; for "auto" the one that fits. posed_depth: whether the source has depth with
    poses.
    """
    if settings.engine != "auto":
        return settings.engine
    if settings.reconstruction is not None:
        return "imported"
    return "posed-rgbd" if posed_depth else "colmap"


def build_reconstructor(settings: ReconstructSettings, recording: Recording, seed: int) -> Reconstructor:
    """The engine that ``settings`` names, or for "auto" the one that fits what the recording holds.

    seed: of whatever an engine draws at random.

    Raises:
        InputError: the settings and the engine do not go together, or the recording lacks what it needs.
    """
    posed = recording.depth is not None and recording.world_from_camera is not None
    engine = engine_for(settings, posed)
    check_settings(settings, engine)
    if settings.scale_from is not None:
        check_scale_source(parse_scale_source(settings.scale_from), recording)
    if engine == "colmap":
        from ovseg3r_model.reconstruction.colmap import Colmap

        return Colmap(settings, seed)
    if engine == "imported" and settings.reconstruction is not None:
        from ovseg3r_model.reconstruction.imported.engine import Imported

        return Imported(settings, Path(settings.reconstruction))
    if engine == "dust3r":
        from ovseg3r_model.reconstruction.dust3r.engine import Dust3r

        return Dust3r(settings, seed)
    if not posed:
        raise InputError(
            f"This source (read as {recording.source_format}) has no depth with poses, which posed-rgbd needs; leave "
            "--reconstruct out, or give a posed RGB-D recording (7-Scenes, ScanNet export, TUM, nerfstudio with depth)."
        )
    from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd

    return PosedRgbd(settings)


def torch_device(name: str) -> str:
    """The torch device that a setting names; for "auto", CUDA where there is one.

    Raises:
        InputError: it cannot be used.
    """
    if name == "cpu" or (name == "auto" and version("torch").endswith("+cpu")):
        return "cpu"  # known without the seconds that importing torch takes
    import torch

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"The device {name} cannot be used ({str(error).splitlines()[0]}); give auto, cpu or one of torch's."
        ) from error
    return chosen


def check_settings(settings: ReconstructSettings, engine: ReconstructEngine) -> None:
    """Raises InputError for settings that ``engine`` would not use, or that it lacks."""
    if settings.reconstruction is not None and engine != "imported":
        raise InputError(
            f"A reconstruction is given ({settings.reconstruction}), but --reconstruct {engine} would not use it: "
            "leave one of the two out."
        )
    if settings.reconstruction is None and engine == "imported":
        raise InputError(
            "--reconstruct imported needs --reconstruction PATH: a COLMAP model, a nerfstudio transforms.json with "
            "depth, or a folder as docs/reconstructions.md describes."
        )
    if settings.scale_from is not None:
        parse_scale_source(settings.scale_from)
        if engine == "posed-rgbd":
            raise InputError(
                f"--scale-from {settings.scale_from} is given, but this source's depth and poses are in metres; leave "
                "it out, or take --reconstruct colmap."
            )


def inputs_digest(settings: ReconstructSettings, engine: ReconstructEngine) -> str | None:
    """sha256, in hex, over the content of the files besides the source that decide what the engine gives; None where
    there are none.

    Raises:
        InputError: they cannot be read.
    """
    digests = []
    source = None if settings.scale_from is None else parse_scale_source(settings.scale_from)
    if isinstance(source, KnownPositions):
        try:
            digests.append(hashlib.sha256(source.path.read_bytes()).hexdigest())
        except OSError as error:
            raise InputError(
                f"{source.path}: cannot be read ({error.strerror}); give a CSV of camera positions: name,x,y,z in "
                "metres."
            ) from error
    if settings.reconstruction is not None:
        from ovseg3r_model.reconstruction.imported.detect import content_digest

        digests.append(content_digest(Path(settings.reconstruction)))
    if engine == "dust3r":
        from ovseg3r_model.reconstruction.dust3r.model import local_files

        for path in local_files(settings.dust3r.weights):
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) < 2:
        return digests[0] if digests else None
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
