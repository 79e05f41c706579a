"""Which layout a source has, found by looking, and the reader for each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Recording
from ovseg3r_model.settings import SourceFormat
from ovseg3r_model.sources import images, nerfstudio, scannet, seven_scenes, tum
from ovseg3r_model.sources.files import PICTURE_SUFFIXES
from ovseg3r_model.video import open_video

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".m4v", ".avi", ".webm", ".mpg", ".mpeg", ".ts", ".3gp"})


@dataclass(frozen=True)
class FolderReader:
    """One layout. recognises: a cheap look; files: all that read uses; by_name: what the folder's own name adds to
    what is read; posed_depth: whether it brings depth with poses."""

    recognises: Callable[[Path], bool]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path], Recording]
    by_name: Callable[[Path], str] = lambda folder: ""
    posed_depth: Callable[[Path], bool] = lambda folder: True


# Tried in this order: the most telling layout first, plain pictures last.
FOLDER_READERS: dict[SourceFormat, FolderReader] = {
    "nerfstudio": FolderReader(
        nerfstudio.recognises, nerfstudio.files, nerfstudio.read, posed_depth=nerfstudio.names_depth
    ),
    "scannet": FolderReader(scannet.recognises, scannet.files, scannet.read),
    "tum": FolderReader(tum.recognises, tum.files, tum.read, tum.camera_by_name),
    "7scenes": FolderReader(seven_scenes.recognises, seven_scenes.files, seven_scenes.read),
    "images": FolderReader(images.recognises, images.files, images.read, posed_depth=lambda folder: False),
}


def detect_format(path: Path) -> SourceFormat:
    """The layout of the source at ``path``, never "auto". Raises InputError when there is none, saying what was
    looked for."""
    if path.is_dir():
        return _detect_folder(path)
    if not path.exists():
        raise InputError(f"{path}: does not exist; check the path.")
    if path.suffix.lower() in PICTURE_SUFFIXES or path.name == "transforms.json":
        raise InputError(f"{path}: is one file of a recording; give its folder {path.parent} instead.")
    return "video"


def open_recording(path: Path, source_format: SourceFormat = "auto") -> Recording:
    """All frames of the source at ``path`` (a video file or a folder), in time order; pixels are decoded when
    asked for.

    ``source_format`` overrides what looking finds. Structure, headers, poses and cameras are checked here; a
    picture that cannot be decoded raises InputError naming the file when its frame is read. Raises InputError for
    whatever the user can mend.
    """
    chosen = resolve_format(path, source_format)
    return open_video(path) if chosen == "video" else FOLDER_READERS[chosen].read(path)


def resolve_format(path: Path, source_format: SourceFormat) -> SourceFormat:
    """``source_format``, or what looking finds for "auto"; refuses a folder as video and a file as folder."""
    if source_format not in get_args(SourceFormat):
        raise InputError(f"{source_format!r} is no source format; choose one of {', '.join(get_args(SourceFormat))}.")
    if source_format == "auto" or not path.exists():
        return detect_format(path)
    if path.is_dir() == (source_format == "video"):
        kind, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise InputError(
            f"{path}: is a {kind}, and the format {source_format} is a {wanted}; give the {wanted} or another format."
        )
    return source_format


def has_posed_depth(path: Path, source_format: SourceFormat = "auto") -> bool:
    """Whether the source brings depth and poses, by its layout alone: no picture is opened. Raises as
    :func:`resolve_format`, and for an index that cannot be read."""
    chosen = resolve_format(path, source_format)
    return chosen != "video" and FOLDER_READERS[chosen].posed_depth(path)


def _detect_folder(folder: Path) -> SourceFormat:
    for source_format, reader in FOLDER_READERS.items():
        if reader.recognises(folder):
            return source_format
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        raise InputError(f"{folder}: is empty; give a video file or a folder with a recording in it.")
    raise InputError(
        f"{folder}: matches no layout (video, images, 7scenes, scannet, tum, nerfstudio); {_advice(folder, names)}."
    )


def _advice(folder: Path, names: list[str]) -> str:
    videos = [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        return f"give the video itself: {folder / videos[0]}"
    if any(name.endswith(".sens") for name in names):
        return "export the .sens file with ScanNet's SensReader and give its output folder"
    for name in names:
        if (folder / name).is_dir() and any(reader.recognises(folder / name) for reader in FOLDER_READERS.values()):
            return f"its sub-folder does, perhaps you meant {folder / name}"
    held = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    return f"it holds {held}; see the documentation for what each layout needs"
