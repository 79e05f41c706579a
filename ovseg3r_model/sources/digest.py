"""What a source contains and what it is called: its content digest and an id from its name."""

import hashlib
import re
import unicodedata
from pathlib import Path

from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import SourceFormat
from ovseg3r_model.sources.detect import FOLDER_READERS, resolve_format

_CHUNK = 1 << 20
_LONGEST_ID = 64


def source_digest(path: Path, source_format: SourceFormat = "auto") -> str:
    """Hex sha256 of what the reader uses of the source at ``path``, read in pieces.

    A video: of the file's bytes, as sha256sum prints. A folder: of its layout and of the relative name, length and
    bytes of every file the layout's reader uses, sorted by name; other files, and where the folder lies, do not
    count. A TUM folder named after one of TUM's cameras carries that name, for it decides the intrinsics. Raises
    InputError.
    """
    chosen = resolve_format(path, source_format)
    digest = hashlib.sha256()
    if chosen == "video":
        _add_bytes(digest, path)
        return digest.hexdigest()
    reader = FOLDER_READERS[chosen]
    _add_text(digest, f"{chosen} {reader.by_name(path)}")
    for name, file in sorted((file.relative_to(path).as_posix(), file) for file in reader.files(path)):
        _add_text(digest, name)
        # The length after the bytes keeps neighbouring files apart, and is the length that was read.
        length = _add_bytes(digest, file)
        digest.update(length.to_bytes(8, "big"))
    return digest.hexdigest()


def scene_id_of(path: Path) -> str:
    """An id from the source's own name: 1 to 64 of a-z, 0-9, - and _, starting with a letter or digit.

    The suffix of a file is dropped, accents too, runs of other characters become "-". A name that is too long or
    has nothing usable ends in eight hex digits of its hash, so that two such names still differ.
    """
    path = path.resolve()
    return scene_id_from_name(path.name if path.is_dir() else path.stem)


def scene_id_from_name(name: str) -> str:
    """As :func:`scene_id_of`, from a folder's name or a file's without its suffix."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    safe = re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")
    if safe and len(safe) <= _LONGEST_ID:
        return safe
    tail = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe[: _LONGEST_ID - 9].rstrip('-_') or 'scene'}-{tail}"


def _add_text(digest: "hashlib._Hash", text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    digest.update(len(data).to_bytes(8, "big") + data)


def _add_bytes(digest: "hashlib._Hash", path: Path) -> int:
    length = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
                length += len(piece)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check that it is a file you may read.") from error
    return length
