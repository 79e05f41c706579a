"""Checked decoding of single pictures and depth maps. Sizes come from headers, so that a folder is checked without
decoding it.

The decoder is chosen by the file's first bytes, among the few formats named here; nothing is ever unpickled.
"""

import math
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ovseg3r_model.errors import InputError
from ovseg3r_model.limits import MAX_PIXELS
from ovseg3r_model.records import Float32, UInt8

Size = tuple[int, int]

_DECODERS: tuple[tuple[int, bytes, type[ImageFile]], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", PngImageFile),
    (0, b"\xff\xd8\xff", JpegImageFile),
    (0, b"BM", BmpImageFile),
    (0, b"II*\0", TiffImageFile),
    (0, b"MM\0*", TiffImageFile),
    (8, b"WEBP", WebPImageFile),
)
# What Pillow's decoders raise on damaged files, and numpy on damaged arrays.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATIONS = range(2, 9)  # those that change anything
_ORIENTATION = 0x0112
_EXIF_IFD, _FOCAL_35MM = 0x8769, 0xA405


@dataclass(frozen=True)
class ColorFiles:
    """F picture files of one size, decoded when asked for: (H,W,3) uint8 RGB.

    upright: obey the EXIF orientation. Not for sources with intrinsics: those belong to the stored pixels.
    Indexing raises InputError naming the file that cannot be decoded.
    """

    paths: tuple[Path, ...]
    size: Size
    upright: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> UInt8:
        return read_color(self.paths[index], self.size, self.upright)

    def grey(self, index: int, width: int) -> UInt8:
        """Frame ``index`` in grey, (h,w) uint8, at least ``width`` wide if the picture is; JPEG is decoded at
        reduced size."""
        return read_grey(self.paths[index], width)


@dataclass(frozen=True)
class DepthFiles:
    """F depth files of one size, decoded when asked for: (H,W) float32 metres, 0 where there is no measurement.

    scale: metres per stored unit. Indexing raises InputError naming the file that cannot be decoded.
    """

    paths: tuple[Path, ...]
    size: Size
    scale: float

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> Float32:
        return read_depth(self.paths[index], self.size, self.scale)


def color_size(path: Path, upright: bool = False) -> Size:
    """(width, height) from the header. Raises InputError for what is no picture or larger than MAX_PIXELS."""
    with _open(path) as picture:
        width, height = picture.size
        turned = upright and _orientation(picture) in _TURNED
    return (height, width) if turned else (width, height)


def is_turned(path: Path) -> bool:
    """Whether the EXIF orientation says that the stored pixels are to be turned or mirrored. Raises InputError for what
    is no picture."""
    with _open(path) as picture:
        return _orientation(picture) in _ORIENTATIONS


def depth_size(path: Path) -> Size:
    """(width, height) from the header of a 16-bit depth PNG or a .npy. Raises InputError for anything else."""
    if path.suffix.lower() == ".npy":
        height, width = _map_array(path).shape
        return width, height
    with _open_depth(path) as picture:
        return picture.size


def common_size(paths: Sequence[Path], size_of: Callable[[Path], Size]) -> Size:
    """The one size of all ``paths`` (at least one). Raises InputError naming the odd file and both sizes."""
    sizes = [size_of(path) for path in paths]
    usual = Counter(sizes).most_common(1)[0][0]
    for path, size in zip(paths, sizes, strict=True):
        if size != usual:
            raise InputError(
                f"{path}: is {size[0]}x{size[1]} while the others are {usual[0]}x{usual[1]}; "
                "give pictures of one size or remove the odd ones."
            )
    return usual


def common_focal(paths: Sequence[Path], size: Size) -> float | None:
    """The focal length in pixels of pictures of ``size``, from the 35 mm equivalent that their EXIF states; None where
    one states none, or they differ: the lens was zoomed."""
    found = set()
    for path in paths:
        with _open(path) as picture:
            found.add(_focal_35mm(picture))
        if len(found) > 1:
            return None
    (equivalent,) = found
    # equivalent in the angle across the diagonal (CIPA DCG-001)
    return None if equivalent is None else equivalent * math.hypot(*size) / math.hypot(36, 24)


def color_files(paths: Sequence[Path], upright: bool = False) -> ColorFiles:
    """``paths`` as checked pictures: every header read, all of one size. Raises InputError."""
    return ColorFiles(tuple(paths), common_size(paths, lambda path: color_size(path, upright)), upright)


def depth_files(paths: Sequence[Path], scale: float) -> DepthFiles:
    """``paths`` as checked depth maps: every header read, all of one size. Raises InputError."""
    return DepthFiles(tuple(paths), common_size(paths, depth_size), scale)


def require_same_size(depth: DepthFiles, color: ColorFiles) -> None:
    """Refuse depth of another size than the colour where the source knows one camera for both."""
    if depth.size != color.size:
        raise InputError(
            f"{depth.paths[0]}: the depth is {depth.size[0]}x{depth.size[1]} and the colour "
            f"{color.size[0]}x{color.size[1]}, but only one "
            "camera is known; register the depth to the colour camera and resize it first."
        )


def read_color(path: Path, size: Size, upright: bool = False) -> UInt8:
    """(H,W,3) uint8 RGB. Grey is tripled, alpha dropped, 16 bits cut to the upper 8. Raises InputError if it
    cannot be decoded."""
    with _open(path) as picture:
        try:
            pixels = _rgb(_upright(picture) if upright else picture)
        except _DAMAGE as error:
            raise _undecodable(path, error) from error
    _check_size(path, pixels, size)
    return pixels


def read_grey(path: Path, width: int) -> UInt8:
    """(h,w) uint8 luma, not turned upright; reduced while decoding where the format can, never below ``width``."""
    with _open(path) as picture:
        try:
            picture.draft("L", (width, max(1, width * picture.height // picture.width)))
            if picture.mode.startswith("I;16"):
                return _upper_byte(picture)
            return np.asarray(picture.convert("L"), dtype=np.uint8)
        except _DAMAGE as error:
            raise _undecodable(path, error) from error


def read_depth(path: Path, size: Size, scale: float) -> Float32:
    """(H,W) float32 metres; 0, 65535 (in PNG), nan, infinite and negative become 0. Raises InputError if it cannot
    be decoded."""
    try:
        if path.suffix.lower() == ".npy":
            stored = np.array(_map_array(path), dtype=np.float64)
            valid = np.isfinite(stored) & (stored > 0)
        else:
            with _open_depth(path) as picture:
                stored = np.asarray(picture).astype(np.float64)
            valid = stored != 65535
    except _DAMAGE as error:
        if isinstance(error, InputError):
            raise
        raise _undecodable(path, error) from error
    _check_size(path, stored, size)
    return (np.where(valid, stored, 0.0) * scale).astype(np.float32)


def _open(path: Path) -> ImageFile:
    """The picture with its header read. Image.open is avoided: it warns of and refuses sizes by a global limit of
    its own."""
    decoder = _decoder(path)
    try:
        picture = decoder(path)
    except _DAMAGE as error:
        raise InputError(
            f"{path}: the picture's header is damaged; copy it again from the source or remove it."
        ) from error
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise InputError(
            f"{path}: {picture.width}x{picture.height} pixels are more than {MAX_PIXELS // 1_000_000} megapixels; "
            "reduce the picture first."
        )
    return picture


def _decoder(path: Path) -> type[ImageFile]:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check that it is a file you may read.") from error
    if not head:
        raise InputError(f"{path}: is empty (0 bytes); copy it again from the source or remove it.")
    for offset, magic, decoder in _DECODERS:
        if head[offset:].startswith(magic):
            return decoder
    raise InputError(f"{path}: is no JPEG, PNG, WebP, BMP or TIFF picture; convert it or remove it.")


def _open_depth(path: Path) -> ImageFile:
    if path.suffix.lower() == ".exr":
        raise InputError(f"{path}: EXR depth is not read; convert it to 16-bit PNG in millimetres or to .npy.")
    picture = _open(path)
    if not picture.mode.startswith("I;16"):
        picture.close()
        raise InputError(
            f"{path}: is not 16-bit grey, so it is no depth map (perhaps a preview of one); export the depth as "
            "16-bit PNG."
        )
    return picture


def _map_array(path: Path) -> NDArray[Any]:
    """The (H,W) array of a .npy, mapped, not read; object arrays are refused, so nothing is unpickled."""
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except _DAMAGE as error:
        raise InputError(f"{path}: is no readable .npy of numbers; save the depth again with numpy.save.") from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise InputError(f"{path}: is {array.dtype} {array.shape}, no depth map; save (height, width) numbers.")
    if array.size > MAX_PIXELS:
        raise InputError(f"{path}: more than {MAX_PIXELS // 1_000_000} million pixels; reduce the depth map first.")
    return array


def _focal_35mm(picture: ImageFile) -> float | None:
    try:
        value = float(picture.getexif().get_ifd(_EXIF_IFD).get(_FOCAL_35MM) or 0)
    except _DAMAGE:
        return None
    return value if 4 <= value <= 2000 else None


def _orientation(picture: Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except _DAMAGE:  # damaged EXIF says nothing; the pixels may be fine
        return 1


def _upright(picture: Image) -> Image:
    return ImageOps.exif_transpose(picture) if _orientation(picture) != 1 else picture


def _rgb(picture: Image) -> UInt8:
    if picture.mode.startswith("I;16"):
        return np.repeat(_upper_byte(picture)[:, :, None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise ValueError("32-bit numbers per pixel are no colour picture")
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def _upper_byte(picture: Image) -> UInt8:
    return (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)


def _check_size(path: Path, pixels: NDArray[Any], size: Size) -> None:
    if (pixels.shape[1], pixels.shape[0]) != size:
        raise InputError(
            f"{path}: changed its size while the recording was read; leave the files alone and start again."
        )


def _undecodable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be decoded ({error}); copy it again from the source or remove this frame.")
