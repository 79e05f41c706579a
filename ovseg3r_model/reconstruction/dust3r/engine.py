"""Engine ``dust3r``: cameras and depth from colour pictures alone, by pointmaps of pairs that a network predicts.

Lengths are in units of the scene's median depth unless ``scale_from`` settles them. The lens counts as a pinhole whose
principal point is the picture's middle, with one focal length for the whole recording unless the source knows its
cameras. For the same seed the result is the same, bit for bit, wherever the network's predictions are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.dust3r.crops import Crop, crop_of
from ovseg3r_model.reconstruction.dust3r.graph import HOLDS, place_frames
from ovseg3r_model.reconstruction.dust3r.join import link_windows
from ovseg3r_model.reconstruction.dust3r.model import LICENCE, PairModel, load_pair_model
from ovseg3r_model.reconstruction.dust3r.pairs import pair_graph, plan_windows
from ovseg3r_model.reconstruction.dust3r.similarity import compose, focal_of
from ovseg3r_model.reconstruction.dust3r.window import (
    TICKS,
    AlignedWindow,
    align_window,
    predict_pairs,
    rays_at,
    sampled,
)
from ovseg3r_model.reconstruction.from_depth import UPRIGHT, EstimatedViews, extent_of, fuse_estimated
from ovseg3r_model.reconstruction.judge import Similarity
from ovseg3r_model.reconstruction.protocol import Progress, no_progress
from ovseg3r_model.reconstruction.scale import KnownPositions, find_scale, parse_scale_source
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.reconstruction.upright import stand_upright
from ovseg3r_model.records import DenseDepth, Float64, Int64, Reconstruction, Recording, Views
from ovseg3r_model.settings import Dust3rSettings, ReconstructSettings

FOCAL_PAIRS = 8
"""Pairs, from all over the recording, that its focal length is found by before anything is aligned."""

UNKNOWN_SCALE = (
    "The scale is unknown, as always from pictures alone: lengths are in units of the median depth, not metres; "
    "--scale-from settles it."
)


class Dust3r:
    """See the module; an implementation of :class:`ovseg3r_model.reconstruction.protocol.Reconstructor`.

    load: gives the network; only tests give another than the default.
    """

    name = "dust3r"

    def __init__(
        self, settings: ReconstructSettings, seed: int, load: Callable[[Dust3rSettings], PairModel] = load_pair_model
    ) -> None:
        self.settings, self.seed, self.load = settings, seed, load
        self.scale_source = None if settings.scale_from is None else parse_scale_source(settings.scale_from)

    def reconstruct(self, recording: Recording, progress: Progress = no_progress) -> Reconstruction:
        count, settings = len(recording), self.settings.dust3r
        if count < 2:
            raise InputError("The engine dust3r needs at least 2 keyframes, and there is 1; take more of them.")
        network = self.load(settings)
        crop = crop_of(recording.size, settings.image_size)
        pairs = pair_graph(recording.color, crop, settings, self.seed)
        windows = plan_windows(count, pairs, settings.window, settings.neighbours)
        probes = pairs[np.linspace(0, len(pairs) - 1, min(FOCAL_PAIRS, len(pairs))).astype(np.int64)]
        total = len(probes) + sum(len(w.pairs) + TICKS for w in windows) + 2 * count
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        intrinsics = _intrinsics(recording, network, crop, probes, settings.batch, step)
        aligned = [align_window(w, network, recording.color, crop, intrinsics, settings, step) for w in windows]
        del network  # its memory is wanted for what follows
        scene = _together(aligned, crop, intrinsics, recording)
        move, world_frame = self._placement(recording, scene.model)
        model = scene.model.transformed(move.scale, move.rotation, move.translation)
        found = EstimatedViews(
            views=model.views,
            keyframes=model.registered,
            color=recording.color,
            depth=DenseDepth(np.asarray(scene.z * np.float32(move.scale), np.float16), scene.confidence),
            scale_known=self.scale_source is not None,
            world_frame=world_frame,
        )
        notes = [f"Made with the engine dust3r: {LICENCE}.", *model.notes]
        if not found.scale_known:
            notes.append(UNKNOWN_SCALE)
        return fuse_estimated(found, self.settings, extent_of(model.xyz), model.quality, notes, step)

    def _placement(self, recording: Recording, model: SparseModel) -> tuple[Similarity, str]:
        """What carries the scene to metres, where they are known, and stands it upright, where its frame is not given;
        and the frame in words.
        """
        known = Similarity(1.0, np.eye(3), np.zeros(3))
        if self.scale_source is not None:
            known = find_scale(self.scale_source, recording, model)
            if isinstance(self.scale_source, KnownPositions):
                return known, "that of the camera positions given with --scale-from"
        upright, _ = stand_upright(known.poses(model.views.world_from_camera), known.points(model.xyz))
        return compose(upright, known), UPRIGHT


@dataclass(frozen=True)
class _Scene:
    """model: the cameras and a sample of the points, each with the one pixel that sees it, in units of the median
    depth. z, confidence (F,h,w) float16: of the whole resized pictures.
    """

    model: SparseModel
    z: NDArray[np.float16]
    confidence: NDArray[np.float16]


def _intrinsics(
    recording: Recording, network: PairModel, crop: Crop, pairs: Int64, batch: int, step: Callable[[], None]
) -> Float64:
    """(F,3,3) float64: the source's, else one focal length, the median of those of the pairs (P,2). One step a pair."""
    pixels = crop.pixels().reshape(-1, 2)
    width, height = recording.size
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    focals: list[float] = []
    if recording.intrinsics is None:
        for _, found in predict_pairs(network, recording.color, crop, pairs, batch):
            focals += [
                focal_of(p.reshape(-1, 3).astype(np.float64), pixels - center, c.reshape(-1).astype(np.float64))
                for p, c in zip(found.first, found.first_confidence, strict=True)
            ]
            for _ in range(len(found.first) // 2):
                step()
    else:
        for _ in pairs:
            step()
        return recording.intrinsics
    focal = float(np.nanmedian(focals)) if np.isfinite(focals).any() else float("nan")
    if not 0.2 * max(recording.size) < focal < 20 * max(recording.size):
        raise InputError(
            "The network's points fit no camera, so nothing can be reconstructed; give weights of a trained DUSt3R and "
            "keyframes that are sharp."
        )
    return np.tile(np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]]), (len(recording), 1, 1))


def _together(windows: list[AlignedWindow], crop: Crop, intrinsics: Float64, recording: Recording) -> _Scene:
    """All keyframes in one frame, each from the window that keeps it.

    Raises:
        InputError: there is no depth that the network is sure enough of.
    """
    count, at = len(recording), sampled(crop)
    rays = rays_at(crop, intrinsics, at)
    links = link_windows(windows, at, rays)
    places = place_frames(len(windows), links)
    pose = np.tile(np.eye(4), (count, 1, 1))
    shape = (count, crop.resized[1], crop.resized[0])
    z, confidence = np.zeros(shape, np.float16), np.zeros(shape, np.float16)
    xyz: list[Float64] = [np.empty((0, 3))] * count
    seen: list[Int64] = [np.empty(0, np.int64)] * count
    sight = []
    for window, place in zip(windows, places, strict=True):
        moved = place.poses(window.world_from_camera)
        for k in np.flatnonzero(window.window.kept).tolist():
            v = int(window.window.views[k])
            points, sure = window.points(k, at, rays[v])
            pose[v], xyz[v], seen[v] = moved[k], place.points(points[sure > 0]), at[sure > 0]
            sight.append((v, window, k, place.scale))
    depths = np.concatenate([((x - pose[v, :3, 3]) @ pose[v, :3, 2]) for v, x in enumerate(xyz)])
    if len(depths) < 10:
        raise InputError(
            "The network is sure of hardly any pixel's depth; take sharper keyframes that overlap more, or lower "
            "dust3r's min_confidence."
        )
    unit = 1 / float(np.median(depths))
    for v, window, k, scale in sight:
        z[v] = crop.whole(window.z[k].astype(np.float32) * np.float32(scale * unit))
        confidence[v] = crop.whole(window.confidence[k].astype(np.float32))
    every = np.concatenate(xyz)
    holding = min((link.agree for link in links), default=1.0)
    loose = [link for link in links if link.agree < HOLDS]
    model = SparseModel(
        views=Views(
            intrinsics=intrinsics,
            world_from_camera=pose,
            size=np.tile(np.array(recording.size, np.int64), (count, 1)),
            frame=recording.frame,
            time=recording.time,
        ),
        registered=np.arange(count, dtype=np.int64),
        xyz=every,
        rgb=np.zeros((len(every), 3), np.uint8),
        error=np.zeros(len(every), np.float32),
        indptr=np.arange(len(every) + 1, dtype=np.int64),
        view=np.repeat(np.arange(count, dtype=np.int32), [len(s) for s in seen]),
        pixel=crop.pixels().reshape(-1, 2)[np.concatenate(seen)].astype(np.float32),
        distortion=0.0,
        quality={
            "windows": float(len(windows)),
            "pairs": float(sum(len(w.window.pairs) for w in windows)),
            "alignment_error": max(w.error for w in windows),
            "window_agreement": holding,
            "depth_coverage": float((z > 0).mean()),
        },
        notes=tuple(
            f"The parts of the video before and after keyframe {windows[link.first].window.views[-1]} hardly fit "
            "together; take more keyframes there."
            for link in loose
        ),
    )
    return _Scene(model.transformed(unit, np.eye(3), np.zeros(3)), z, confidence)
