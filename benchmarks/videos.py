"""Rooms' mp4 files reconstructed by engine colmap, against the rooms' exact truth; and how fast."""

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, timed_in_turn
from ovseg3r_model.reconstruction.colmap import Colmap, estimate_depth, threads_of
from ovseg3r_model.reconstruction.judge import align_cameras, calibration_error
from ovseg3r_model.reconstruction.reference import compare
from ovseg3r_model.reconstruction.sfm import structure_from_motion
from ovseg3r_model.reconstruction.sparse import SparseModel, rectified
from ovseg3r_model.records import Recording, subset
from ovseg3r_model.rooms import make_room, write_room
from ovseg3r_model.settings import DenseSettings, ReconstructSettings, SfmSettings
from ovseg3r_model.sources import open_recording

FAR_MORE = SfmSettings(max_features=8192, overlap=10, loop_neighbours=6)
"""COLMAP's own number of features and of neighbours, as the baseline."""

QUICK_SEED = 8
"""A room whose first few steps have parallax to spare: with room 0's it is a toss-up whether they pass for a turn."""


@dataclass(frozen=True)
class VideoRow:
    """One room's video. registered: share of its keyframes. ate_cm, rotation_deg: cameras after the best similarity.
    coverage: share of the pixels with depth; median_percent: their median relative error; within_2, within_5: shares;
    calibration_error: mean distance of the confidence from the share within 2 %; point_cm: the points' median distance
    from the room's surface; seconds: a keyframe.
    """

    seed: int
    views: int
    registered: float
    ate_cm: float
    rotation_deg: float
    coverage: float
    median_percent: float
    within_2: float
    within_5: float
    calibration_error: float
    point_cm: float
    seconds: float


def video_rows(quick: bool) -> list[VideoRow]:
    """A row a room."""
    seeds, views, size = ((QUICK_SEED,), 8, (256, 192)) if quick else (range(10), 60, (640, 480))
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            settings = ReconstructSettings(sfm=_sfm(quick), dense=_dense(quick))
            rows.append(_room(seed, views, size, settings, Path(folder) / "room"))
    return rows


def video_speed_rows(quick: bool) -> list[Row]:
    """Seconds a keyframe of structure from motion and of dense depth."""
    seed, views, size, runs = (QUICK_SEED, 8, (256, 192), 1) if quick else (0, 30, (640, 480), 3)
    with tempfile.TemporaryDirectory() as folder:
        recording, _ = _filmed(seed, views, size, Path(folder) / "room")
        settings, threads = _sfm(quick), threads_of(ReconstructSettings())
        dense = _dense(quick)
        found = _cameras(recording, settings, threads)
        color = [np.ascontiguousarray(picture) for picture in rectified(recording, found).color]
        ours, more, many, one = timed_in_turn(
            [
                lambda: _cameras(recording, settings, threads),
                lambda: _cameras(recording, FAR_MORE, threads),
                lambda: estimate_depth(color, found, dense, threads),
                lambda: estimate_depth(color, found, dense, 1),
            ],
            runs,
            warm=not quick,
        )
    label = f"{views} keyframes {size[0]}x{size[1]}"
    return [
        Row("video", "structure from motion", label, ours, runs, views / ours, "views/s",
            "the same with COLMAP's own number of features and neighbours", views / more),
        Row("video", f"dense depth, {threads} threads", label, many, runs, views / many, "views/s",
            "the same on one thread", views / one, wanted=1.5 * views),
    ]  # fmt: skip


def _filmed(seed: int, views: int, size: tuple[int, int], folder: Path) -> tuple[Recording, Recording]:
    """The video alone, in memory, and the recording with the truth."""
    files = write_room(make_room(seed), folder, "7scenes", views, seed, size=size, video=True)
    if files.video is None:
        raise ValueError(f"{folder}: no video was written")
    video = open_recording(files.video)
    frames = Recording(
        video.source_format, video.names, video.frame, video.time, [video.color[i] for i in range(views)], video.size
    )
    return subset(frames, range(views)), open_recording(files.recording)


def _cameras(recording: Recording, settings: SfmSettings, threads: int) -> SparseModel:
    with tempfile.TemporaryDirectory() as folder:
        return structure_from_motion(recording, settings, 0, threads, Path(folder))


def _sfm(quick: bool) -> SfmSettings:
    return SfmSettings(max_features=500) if quick else SfmSettings()


def _dense(quick: bool) -> DenseSettings:
    return DenseSettings(short_side=96) if quick else DenseSettings()


def _room(seed: int, views: int, size: tuple[int, int], settings: ReconstructSettings, folder: Path) -> VideoRow:
    video, truth = _filmed(seed, views, size, folder)
    start = time.perf_counter()
    result = Colmap(settings, seed=0).reconstruct(video)
    seconds = time.perf_counter() - start
    found = compare(result, video, truth)
    error, depth = found.trajectory, found.depth
    if depth is None:
        raise ValueError(f"room {seed}: there is no depth to judge")
    assert truth.world_from_camera is not None  # noqa: S101 - written with poses
    alignment = align_cameras(result.views.world_from_camera, truth.world_from_camera[result.views.frame])
    away = make_room(seed).distance(alignment.points(result.points.xyz.astype(np.float64)))
    return VideoRow(
        seed=seed,
        views=views,
        registered=result.quality["registered_share"],
        ate_cm=100 * error.ate_rmse,
        rotation_deg=error.rotation_median,
        coverage=depth.coverage,
        median_percent=100 * depth.median_relative,
        within_2=depth.accurate,
        within_5=depth.close,
        calibration_error=calibration_error(depth.calibration),
        point_cm=100 * float(np.median(away)),
        seconds=seconds / views,
    )


def spread(rows: list[VideoRow]) -> dict[str, tuple[float, float, float]]:
    """By figure: lowest, median, highest of the rooms."""
    figures = {name: [asdict(row)[name] for row in rows] for name in asdict(rows[0]) if name not in ("seed", "views")}
    return {name: (min(v), float(np.median(v)), max(v)) for name, v in figures.items()}
