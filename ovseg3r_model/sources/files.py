"""Finding and naming the files of a recording; every complaint is an InputError."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from ovseg3r_model.errors import InputError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorts "frame2" before "frame10", and is a total order."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)), name


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The visible files directly in ``folder`` with one of ``suffixes`` (lower case), in natural order; none if
    there is no folder."""
    try:
        found = [
            p for p in folder.iterdir() if not p.name.startswith(".") and p.suffix.lower() in suffixes and p.is_file()
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions.") from error
    return sorted(found, key=lambda p: natural_key(p.name))


def read_text(path: Path) -> str:
    """The text of a file. Raises InputError when it is missing, unreadable or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: the file is missing; export the recording again or add it.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text file; export the recording again.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check that it is a file you may read.") from error


def require(path: Path, partner: Path) -> Path:
    """``path``, which must exist because ``partner`` does."""
    if not path.is_file():
        raise InputError(
            f"{path}: is missing although {partner.name} is there; export the recording again or remove that "
            "frame's other files."
        )
    return path


def refuse_spares(found: Iterable[Path], wanted: Iterable[Path], partner: str) -> None:
    """Refuse the files of ``found`` that belong to no frame: a sign that pictures were lost."""
    spare = sorted(set(found) - set(wanted), key=lambda p: natural_key(p.name))
    if spare:
        raise InputError(
            f"{spare[0]}: has no {partner} beside it ({len(spare)} such); add the missing pictures or remove these "
            "files."
        )


def inside(folder: Path, relative: object, said_by: Path) -> Path:
    """The path that the file ``said_by`` names, which must lie in ``folder``: a recording cannot point at other
    files of the machine."""
    if not isinstance(relative, str) or not relative or "\0" in relative:
        raise InputError(f"{said_by}: {relative!r} is no file name; write paths relative to {folder.name or folder}.")
    windows = PureWindowsPath(relative)
    if PurePosixPath(relative).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise InputError(
            f"{said_by}: the path {relative!r} leads out of the recording's folder; move the file inside and write "
            "its relative path."
        )
    return folder / relative


def frame_names(paths: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """What the source calls its frames: the file stems, or the relative paths where two stems are the same."""
    stems = tuple(path.stem for path in paths)
    return stems if len(set(stems)) == len(stems) else tuple(path.relative_to(folder).as_posix() for path in paths)
