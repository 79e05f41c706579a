"""Which format a given reconstruction has, which files it is made of, and their digest."""

import hashlib
from pathlib import Path
from typing import Literal

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.imported import colmap_model, nerfstudio, pointmaps
from ovseg3r_model.reconstruction.imported.given import GivenViews
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Recording

Format = Literal["ovseg3r-views", "colmap", "nerfstudio"]


def resolve(path: Path) -> tuple[Format, Path]:
    """The format and the folder of what is at ``path``. A folder that holds several counts as the first of: our own,
    COLMAP's, nerfstudio's; a file is what its name says.

    Raises:
        InputError: there is nothing, or nothing that is known.
    """
    if not path.exists():
        raise InputError(
            f"{path}: there is no such file or folder; give --reconstruction the path of a reconstruction."
        )
    if path.name == nerfstudio.INDEX:
        return "nerfstudio", path.parent
    folder = path.parent if path.name == pointmaps.INDEX else path
    if (folder / pointmaps.INDEX).is_file():
        return "ovseg3r-views", folder
    if colmap_model.model_folder(folder) is not None:
        return "colmap", folder
    if (folder / nerfstudio.INDEX).is_file():
        return "nerfstudio", folder
    raise InputError(
        f"{path}: is no reconstruction that is known; give a folder with {pointmaps.INDEX}, a COLMAP model (cameras, "
        f"images and points3D, here or in sparse/0), or {nerfstudio.INDEX}."
    )


def read_reconstruction(path: Path, recording: Recording) -> GivenViews | SparseModel:
    """What is at ``path`` of the recording's frames; a :class:`SparseModel` where it has no depth.

    Raises:
        InputError: see the formats' readers.
    """
    kind, folder = resolve(path)
    if kind == "colmap":
        return colmap_model.read(folder, recording)
    if kind == "nerfstudio":
        return nerfstudio.read(folder, recording)
    return pointmaps.read(folder, recording)


def content_digest(path: Path) -> str:
    """sha256, in hex, over the format and the relative names and bytes of the files that decide what is read; where
    they lie does not count.

    Raises:
        InputError: they cannot be read.
    """
    kind, folder = resolve(path)
    readers = {"colmap": colmap_model.files, "nerfstudio": nerfstudio.files, "ovseg3r-views": pointmaps.files}
    total = hashlib.sha256(kind.encode() + b"\0")
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in readers[kind](folder)):
        # a name cannot hold NUL and a digest has one length: no two folders give the same bytes
        total.update(name.encode("utf-8", "surrogateescape") + b"\0" + _file_digest(file))
    return total.hexdigest()


def _file_digest(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check that it is a file you may read.") from error
