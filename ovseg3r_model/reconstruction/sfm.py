"""Structure from motion with COLMAP: cameras and sparse points of plain video.

Features -> pairs (neighbours and loop closures) -> matches -> incremental mapping. What makes it repeatable: pictures
enter the database in order before threads see them, every estimator has the seed, and mapping takes one thread
(features and matches are computed for themselves, so threads change nothing there).
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ovseg3r_model.reconstruction.protocol import Progress, no_progress
from ovseg3r_model.reconstruction.sfm_checks import (
    MatchGraph,
    check_count,
    check_features,
    check_matches,
    check_model,
    no_model,
)
from ovseg3r_model.reconstruction.sfm_model import index_of, registered_in, to_sparse_model
from ovseg3r_model.reconstruction.sfm_pairs import choose_pairs
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Float64, Recording, UInt8
from ovseg3r_model.settings import SfmSettings

FIELD_OF_VIEW = 0.9
"""First guess of an unknown focal length, in longer sides: phones and Kinects have 0.8 to 1.0."""

SMALL_PICTURE = 500
"""Longer side, pixels, below which features are looked for on enlarged pictures."""

SMALL_ANGLE = 0.5
"""Degrees between a point's outermost rays that are enough in the careful second try; in the first, COLMAP's 1.5."""

START_ANGLES = (16.0, 8.0)
"""Degrees: mapping is tried from two pairs of keyframes. A start with two readings, as before a wall, may bend all that
follows, with every keyframe placed; the pictures then fit the worse.
"""

GOOD_ENOUGH = 0.95
"""Share of the keyframes that sure matches connect: a model of fewer is tried again with more care."""

_FEATURE_CHUNK = 16  # pictures between two signs of progress
_PAIR_CHUNK = 150


def structure_from_motion(
    recording: Recording,
    settings: SfmSettings,
    seed: int,
    threads: int,
    workdir: Path,
    progress: Progress = no_progress,
) -> SparseModel:
    """Cameras and points of the keyframes ``recording``, in an arbitrary frame and unit.

    Intrinsics that the recording knows are kept; else one camera for all is estimated: focal length and radial
    distortion, principal point in the middle; the focal length starts at the recording's guess, if it has one. The
    same arguments give the same bits, whatever ``threads``.

    Args:
        recording: keyframes of one place in time order.
        seed: of the robust estimators, below 2**31.
        threads: for features and matches; mapping takes one.
        workdir: an existing folder for the database and reduced pictures; the caller removes it.
        progress: 4 steps per keyframe.

    Raises:
        InputError: no model, or one of too few keyframes; the sentence says why and what to do.
    """
    check_count(len(recording))
    run = _Run(recording, settings, seed, threads, workdir, _Steps(progress, 4 * len(recording)))
    with _quiet():
        run.write_pictures()
        run.extract()
        run.match()
        return run.map()


class _Steps:
    """Progress in quarters of the work: pictures, features, matches, mapping."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.told = progress, total, -1

    def at(self, stage: int, share: float) -> None:
        quarter = self.total // 4
        done = min(self.total, stage * quarter + int(min(share, 1.0) * quarter))
        if done > self.told:  # two mappers at once each count from the start
            self.told = done
            self.progress(done, self.total)


@contextmanager
def _quiet() -> Iterator[None]:
    """COLMAP's own log is for its developers; what a user needs to know is in our notes and errors."""
    import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = 3
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


@dataclass
class _Run:
    recording: Recording
    settings: SfmSettings
    seed: int
    threads: int
    workdir: Path
    steps: _Steps

    def __post_init__(self) -> None:
        width, height = self.recording.size
        self.scale = min(1.0, self.settings.max_image_size / max(width, height))
        self.size = (max(1, round(width * self.scale)), max(1, round(height * self.scale)))
        self.pictures = self.workdir / "pictures"
        self.database = self.workdir / "database.db"
        self.names = [f"{i:06d}.pgm" for i in range(len(self.recording))]
        self.graph = MatchGraph(len(self.recording), np.empty((0, 2), np.int64), np.empty(0, np.int64), 0.0)

    def write_pictures(self) -> None:
        self.pictures.mkdir()
        for i, name in enumerate(self.names):
            picture = cv2.cvtColor(np.ascontiguousarray(self.recording.color[i]), cv2.COLOR_RGB2GRAY)
            if self.scale < 1:
                picture = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
            # Not PNG: beside pycolmap's own libpng, another library's encoder may crash the process.
            header = f"P5 {self.size[0]} {self.size[1]} 255\n".encode()
            (self.pictures / name).write_bytes(header + picture.tobytes())
            self.steps.at(0, (i + 1) / len(self.names))

    def extract(self) -> None:
        import pycolmap

        known = self.recording.intrinsics
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_RADIAL" if known is None else "PINHOLE"
        reader.default_focal_length_factor = FIELD_OF_VIEW
        if self.recording.focal_guess is not None:
            focal = float(self.recording.focal_guess * self.scale)
            reader.camera_params = f"{focal!r},{self.size[0] / 2!r},{self.size[1] / 2!r},0"
        mode = pycolmap.CameraMode.SINGLE
        if known is not None:
            reader.camera_params = ",".join(map(repr, self._colmap_pinhole(known[0])))
            if np.ptp(known, axis=0).max() > 0.5:
                mode = pycolmap.CameraMode.PER_IMAGE
        pycolmap.Database.open(self.database).close()
        # In order and alone, or the pictures' ids would follow the threads.
        pycolmap.import_images(self.database, self.pictures, mode, self.names, reader)
        if mode == pycolmap.CameraMode.PER_IMAGE and known is not None:
            self._write_cameras(known)
        options = pycolmap.FeatureExtractionOptions()
        options.num_threads = self.threads
        options.sift.max_num_features = self.settings.max_features
        # Enlarged pictures give finer features at four times the cost: small pictures need them, others do not.
        options.sift.first_octave = -1 if max(self.size) < SMALL_PICTURE else 0
        for start in range(0, len(self.names), _FEATURE_CHUNK):
            chunk = self.names[start : start + _FEATURE_CHUNK]
            pycolmap.extract_features(self.database, self.pictures, chunk, mode, reader, options, pycolmap.Device.cpu)
            self.steps.at(1, (start + len(chunk)) / len(self.names))

    def _colmap_pinhole(self, k: Float64) -> list[float]:
        # COLMAP's (0, 0) is the corner of the first pixel, ours its centre.
        x, y = self.size[0] / self.recording.size[0], self.size[1] / self.recording.size[1]
        return [float(k[0, 0] * x), float(k[1, 1] * y), float((k[0, 2] + 0.5) * x), float((k[1, 2] + 0.5) * y)]

    def _write_cameras(self, known: Float64) -> None:
        import pycolmap

        with pycolmap.Database.open(self.database) as database:
            for image in database.read_all_images():
                camera = database.read_camera(image.camera_id)
                camera.params = self._colmap_pinhole(known[index_of(image.name)])
                database.update_camera(camera)

    def match(self) -> None:
        import pycolmap

        with pycolmap.Database.open(self.database) as database:
            ids = {index_of(image.name): image.image_id for image in database.read_all_images()}
            descriptors = [_descriptors(database, ids[i]) for i in range(len(self.names))]
        check_features(self.recording, np.array([len(d) for d in descriptors]), self.settings.min_registered)
        pairs = choose_pairs(descriptors, self.settings.overlap, self.settings.loop_neighbours, self.seed)
        options, pairing = pycolmap.FeatureMatchingOptions(), pycolmap.ImportedPairingOptions()
        options.num_threads = self.threads
        verification = pycolmap.TwoViewGeometryOptions()
        verification.ransac.random_seed = self.seed
        pairing.match_list_path = self.workdir / "pairs.txt"
        for start in range(0, len(pairs), _PAIR_CHUNK):
            chunk = pairs[start : start + _PAIR_CHUNK]
            pairing.match_list_path.write_text("".join(f"{self.names[a]} {self.names[b]}\n" for a, b in chunk))
            pycolmap.match_image_pairs(self.database, options, pairing, verification, pycolmap.Device.cpu)
            self.steps.at(2, (start + len(chunk)) / len(pairs))
        if self.recording.intrinsics is None and self.recording.focal_guess is None:
            # The focal length from all pairs at once. Left to the mapper it drifts with the first few keyframes, which
            # on small pictures ends in a scene turned inside out.
            calibration = pycolmap.ViewGraphCalibrationOptions()
            calibration.random_seed = self.seed
            pycolmap.calibrate_view_graph(self.database, calibration)
        self.graph = self._graph({image: i for i, image in ids.items()})
        check_matches(self.recording, self.graph, self.settings.min_registered)

    def _graph(self, index: dict[int, int]) -> MatchGraph:
        import pycolmap

        kinds = pycolmap.TwoViewGeometryConfiguration
        flat = {kinds.PLANAR, kinds.PANORAMIC, kinds.PLANAR_OR_PANORAMIC}
        pairs, inliers, turned = [], [], []
        with pycolmap.Database.open(self.database) as database:
            keys, geometries = database.read_two_view_geometries()
        for key, geometry in zip(keys, geometries, strict=True):
            if len(geometry.inlier_matches) == 0:
                continue
            a, b = sorted(index[i] for i in _pair(key))
            pairs.append((a, b))
            inliers.append(len(geometry.inlier_matches))
            turned.append(geometry.config in flat)
        return MatchGraph(
            len(self.names),
            np.array(pairs, np.int64).reshape(-1, 2),
            np.array(inliers, np.int64),
            float(np.mean(turned)) if turned else 0.0,
        )

    def map(self) -> SparseModel:
        with ThreadPoolExecutor(min(len(START_ANGLES), self.threads)) as pool:
            tries = list(pool.map(lambda angle: self._mapped(angle, careful=False), START_ANGLES))
        if max(map(_most, tries)) < GOOD_ENOUGH * len(self.graph.parts()[0]):
            tries.append(self._mapped(START_ANGLES[0], careful=True))
        models = _best(tries)
        if not models:
            raise no_model(self.recording, self.graph)
        best = models[0]
        if self.recording.intrinsics is None:
            _refine(best)
        model = to_sparse_model(best, self.recording, self.size, len(models))
        others = [registered_in(m) for m in models[1:]]
        return check_model(self.recording, model, self.graph, others, self.settings.min_registered)

    def _mapped(self, start_angle: float, careful: bool) -> list[Any]:
        """The models, that of the most keyframes first.

        start_angle: degrees between the rays of the pair to start from, at least.
        careful: with points of little parallax too, as where a camera mostly turns there are no others to go on by;
        they are so weak that nothing may be saved on the adjustments.
        """
        import pycolmap

        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads = 1  # with two, poses differ by up to 2e-3 from run to run
        options.random_seed = self.seed
        # The adjustment's own tolerances stay: stopped earlier it is no faster, and on small pictures far worse.
        options.min_model_size = 4
        options.max_num_models = 8
        options.extract_colors = False
        options.mapper.init_min_tri_angle = start_angle
        if careful:
            options.triangulation.min_angle = options.mapper.filter_min_tri_angle = SMALL_ANGLE
        else:  # half the time of COLMAP's defaults, and the same cameras on rooms and on a Kinect's film
            options.ba_global_frames_ratio = options.ba_global_points_ratio = 2.0
            options.ba_global_max_refinements, options.ba_local_max_refinements = 2, 1
        options.ba_refine_focal_length = options.ba_refine_extra_params = False  # see _refine
        options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = False
        folder = self.workdir / f"models-{start_angle:g}-{careful}"
        folder.mkdir()
        database = shutil.copy(self.database, folder)  # two mappers at once do not share one
        models = pycolmap.incremental_mapping(
            database, self.pictures, folder, options, next_image_callback=self._counting()
        )
        return sorted(models.values(), key=lambda m: (-m.num_reg_images(), -m.num_points3D()))

    def _counting(self) -> Callable[[], None]:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1
            self.steps.at(3, count / len(self.names))

        return step


def _best(tries: list[list[Any]]) -> list[Any]:
    """The models of one try: of those that place about as many keyframes as any, what fits the pictures best."""
    enough = GOOD_ENOUGH * max(map(_most, tries))
    fitting = [models for models in tries if models and _most(models) >= enough]
    return min(fitting, key=lambda models: models[0].compute_mean_reprojection_error(), default=[])


def _most(models: list[Any]) -> int:
    """How many keyframes the largest model has."""
    return models[0].num_reg_images() if models else 0


def _refine(model: Any) -> None:
    """Cameras, lens and points together, with the lens free at last: all keyframes are there to hold it."""
    import pycolmap

    options, everything = pycolmap.BundleAdjustmentOptions(), pycolmap.BundleAdjustmentConfig()
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.function_tolerance = 1e-9
    for image in sorted(model.reg_image_ids()):
        everything.add_image(image)
    everything.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    # not pycolmap.bundle_adjustment: it writes to the terminal whatever one tells it
    pycolmap.create_default_bundle_adjuster(options, everything, model).solve()
    model.update_point_3d_errors()


def _descriptors(database: Any, image: int) -> UInt8:
    """(n,128) uint8, the features of the largest scale first."""
    data = np.asarray(database.read_descriptors(image).data, np.uint8)
    # x, y and the affine shape: its first column is as long as the scale
    keypoints = np.asarray(database.read_keypoints(image), np.float64)
    if len(data) == 0:
        return np.empty((0, 128), np.uint8)
    scale = np.hypot(keypoints[:, 2], keypoints[:, 4]) if keypoints.shape[1] == 6 else keypoints[:, 2]
    return data[np.argsort(-scale, kind="stable")]


def _pair(key: Any) -> tuple[int, int]:
    import pycolmap

    first, second = key if isinstance(key, tuple) else pycolmap.pair_id_to_image_pair(key)
    return int(first), int(second)
