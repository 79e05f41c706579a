"""A COLMAP model (cameras, images, points3D as .bin or .txt) and the depth maps that may lie beside it.

Depth is z-depth in the model's unit, one map per picture, of any resolution: COLMAP's own
``stereo/depth_maps/NAME.geometric.bin`` (else ``.photometric.bin``), or ``depth/STEM.npy`` (float32) or
``depth/STEM.png`` (16 bit, thousandths of the model's unit: millimetres where that is the metre).
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2  # noqa: F401 - before pycolmap, whose libraries would otherwise take the place of cv2's
import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.limits import MAX_PIXELS
from ovseg3r_model.reconstruction.imported.colmap_files import check_binaries
from ovseg3r_model.reconstruction.imported.given import (
    GivenDepth,
    GivenViews,
    Size,
    density_of,
    match_views,
    require_same_shape,
    whole,
)
from ovseg3r_model.reconstruction.sfm_model import to_sparse_model
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Float32, Recording
from ovseg3r_model.segmentation.matching import first_few
from ovseg3r_model.sources.files import inside
from ovseg3r_model.sources.pictures import depth_size, read_depth

_PARTS = ("cameras", "images", "points3D")
_OPTIONAL = ("rigs", "frames")  # since COLMAP 3.12
_PLACES = (".", "sparse", "sparse/0")
_DENSE = ("stereo/depth_maps/{name}.geometric.bin", "stereo/depth_maps/{name}.photometric.bin")
_MAP_FOLDERS = ("stereo/depth_maps", "depth")
_PNG_SCALE = 0.001
_STRAIGHT = ("SIMPLE_PINHOLE", "PINHOLE")
_RADIAL = "SIMPLE_RADIAL"
_STRAIGHT_WITHOUT_EXTRAS = (_RADIAL, "RADIAL", "OPENCV", "FULL_OPENCV")
_OTHER_ASPECT = 0.05  # networks round each side to a multiple of their own: up to this it is still the whole picture


def model_folder(path: Path) -> Path | None:
    """Where under ``path`` the model is; None where there is none."""
    for place in _PLACES:
        if any(all((path / place / f"{part}{end}").is_file() for part in _PARTS) for end in (".bin", ".txt")):
            return path / place
    return None


def files(path: Path) -> list[Path]:
    """The model's files and every depth map under ``path``. Raises InputError for a linked folder among the maps'."""
    _refuse_linked_folders(path)
    folder = model_folder(path) or path
    model = [folder / f"{part}{end}" for part in (*_PARTS, *_OPTIONAL) for end in (".bin", ".txt")]
    maps = [*path.glob("stereo/depth_maps/**/*.bin"), *path.glob("depth/**/*.png"), *path.glob("depth/**/*.npy")]
    return [file for file in [*model, *sorted(maps)] if file.is_file()]


def _refuse_linked_folders(path: Path) -> None:
    """Among the depth maps: what lies in them would be read, but the search for what enters the digest misses it."""
    for here, below, _ in (entry for place in _MAP_FOLDERS for entry in os.walk(path / place)):
        linked = next((Path(here, name) for name in sorted(below) if Path(here, name).is_symlink()), None)
        if linked is not None:
            raise InputError(f"{linked}: is a link to a folder, which is not followed; put the folder itself there.")


def read(path: Path, recording: Recording) -> GivenViews | SparseModel:
    """The cameras of the recording's frames, matched by name: with depth where there are depth maps (pictures without
    one are then left out), else with the model's points.

    Raises:
        InputError: the model cannot be read, is of other pictures, or its cameras are none that is supported.
    """
    _refuse_linked_folders(path)
    model = _load(model_folder(path) or path)
    names = sorted(model.images[i].name for i in model.reg_image_ids())
    if not names:
        raise InputError(f"{path}: the model has no registered image; reconstruct it again.")
    match = match_views(recording, names, str(path), what="images")
    frame_of = {names[entry]: k for k, entry in enumerate(match.entry) if entry is not None}
    maps = {name: found for name in frame_of if (found := depth_map(path, name)) is not None}
    notes = match.notes
    if maps and len(maps) < len(frame_of):
        missing = [name for name in frame_of if name not in maps]
        notes += (f"{len(missing)} images of {path} have no depth map and are left out: {first_few(missing)}.",)
        frame_of = {name: frame_of[name] for name in maps}
    size = _one_size(
        path, model, frame_of, recording.size, strict=any(m.parent.name == "depth_maps" for m in maps.values())
    )
    sparse = to_sparse_model(model, recording, size, 1, frame_of)
    if not maps:
        if not len(sparse.xyz):
            raise InputError(
                f"{path}: the model has neither depth maps nor points to compute depth by; add one of them."
            )
        return replace(sparse, notes=(*notes, *sparse.notes))
    return _with_depth(
        path, recording.size, sparse, [maps[name] for name in sorted(frame_of, key=frame_of.__getitem__)], notes
    )


def _load(folder: Path) -> Any:
    import pycolmap

    check_binaries(folder)
    try:
        return pycolmap.Reconstruction(str(folder))
    except (RuntimeError, ValueError, IndexError, KeyError, OSError, MemoryError) as error:
        raise InputError(f"{folder}: the COLMAP model is damaged and cannot be read; export it again.") from error


def _one_size(path: Path, model: Any, frame_of: Mapping[str, int], picture: Size, strict: bool) -> Size:
    """The one size of the cameras of the images in ``frame_of``, after a look at their lenses; strict: it must be the
    picture's own.
    """
    cameras = {c.camera_id: c for c in (i.camera for i in model.images.values() if i.name in frame_of)}
    sizes = {(c.width, c.height) for c in cameras.values()}
    if len(sizes) > 1:
        raise InputError(f"{path}: its cameras are of several sizes ({sorted(sizes)}); give a model of one camera.")
    size = sizes.pop()
    advice = "give the pictures that the model was made from (after image_undistorter those in its folder images)"
    require_same_shape(size, picture, str(path), advice)
    if strict and size != picture:
        raise InputError(
            f"{path}: its depth maps are for pictures of {size[0]}x{size[1]}, and the recording's are "
            f"{picture[0]}x{picture[1]}; {advice}."
        )
    _check_lenses(path, list(cameras.values()))
    return size


def _check_lenses(path: Path, cameras: list[Any]) -> None:
    """Raises InputError for lenses that are neither straight nor one SIMPLE_RADIAL for all."""
    bent = [c for c in cameras if not _is_straight(c)]
    other = next((c.model_name for c in bent if c.model_name != _RADIAL), None)
    if other is None:
        if len({tuple(c.params) for c in cameras}) == 1 or not bent:
            return
        other = f"{_RADIAL}, but not one for all images"
    raise InputError(
        f"{path}: the lens of its cameras ({other}) is not supported; run `colmap image_undistorter`, and "
        "give its output folder as the reconstruction and its folder images as the source."
    )


def _is_straight(camera: Any) -> bool:
    """Whether it is a pinhole. A fisheye is none, whatever its parameters: its angles grow with the radius."""
    if camera.model_name in _STRAIGHT:
        return True
    extras = np.asarray(camera.params)[list(camera.extra_params_idxs())]
    return camera.model_name in _STRAIGHT_WITHOUT_EXTRAS and not np.any(extras != 0)


def depth_map(path: Path, name: str) -> Path | None:
    """The depth map of the picture called ``name`` in the model. Raises InputError for a name that leads elsewhere."""
    stem = name.rpartition(".")[0] or name
    places = [*(p.format(name=name) for p in _DENSE), f"depth/{stem}.npy", f"depth/{stem}.png"]
    return next((file for place in places if (file := inside(path, place, path)).is_file()), None)


def _with_depth(path: Path, picture: Size, sparse: SparseModel, maps: list[Path], notes: tuple[str, ...]) -> GivenViews:
    box = whole(picture)
    sizes = [_map_size(file) for file in maps]
    for file, size in zip(maps, sizes, strict=True):
        if abs(size[0] * picture[1] / (size[1] * picture[0]) - 1) > _OTHER_ASPECT:
            raise InputError(
                f"{file}: a depth map of {size[0]}x{size[1]} does not cover a picture of {picture[0]}x{picture[1]}; "
                "give the depth of whole pictures."
            )
    return GivenViews(
        path=str(path),
        keyframes=sparse.registered,
        world_from_camera=sparse.views.world_from_camera,
        intrinsics=tuple(sparse.views.intrinsics),
        read=lambda v: GivenDepth(_read_map(maps[v], sizes[v]), None, box),
        density=max(density_of(size, box) for size in sizes),
        metric=False,
        gravity_aligned=False,
        distortion=sparse.distortion,
        notes=(*notes, *sparse.notes),
    )


def _map_size(file: Path) -> Size:
    return _header(file)[0] if file.suffix == ".bin" else depth_size(file)


def _read_map(file: Path, size: Size) -> Float32:
    if file.suffix != ".bin":
        return read_depth(file, size, 1.0 if file.suffix == ".npy" else _PNG_SCALE)
    (width, height), offset = _header(file)
    try:
        values = np.fromfile(file, "<f4", count=width * height, offset=offset)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions.") from error
    if len(values) != width * height or (width, height) != size:
        raise InputError(f"{file}: is shorter than its header says; run `colmap patch_match_stereo` again.")
    z = values.reshape(height, width)
    return np.where(np.isfinite(z) & (z > 0), z, 0).astype(np.float32)


def _header(file: Path) -> tuple[Size, int]:
    """(width, height) and where the numbers begin, of COLMAP's matrices: width&height&channels& and float32."""
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
        width, height, channels = (int(n) for n in head.split(b"&", 3)[:3])
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: is no depth map of COLMAP's; run `colmap patch_match_stereo` again.") from error
    if channels != 1 or width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise InputError(f"{file}: {width}x{height}x{channels} is no depth map; run `colmap patch_match_stereo` again.")
    return (width, height), sum(len(part) + 1 for part in head.split(b"&", 3)[:3])
