"""Weights on this machine's disk. Nothing here touches the network."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from ovseg3r_model.errors import InputError
from ovseg3r_model.weights.registry import KNOWN, KnownWeights, known

MANIFEST = "ovseg3r-weights.json"
"""Written last: a folder of known weights counts only with it."""

PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "*processor_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
"""The names of the files that decide what a model makes of a picture: weights that run no code, and their settings."""


@dataclass(frozen=True)
class Recorded:
    """One file as the manifest has it; mtime_ns: its time of change when its checksum was taken."""

    size: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True)
class Manifest:
    """Where fetched weights came from, and their files by name."""

    hub_id: str
    revision: str
    licence: str
    files: dict[str, Recorded]


def weights_home() -> Path:
    """The folder that fetched weights lie in: OVSEG3R_WEIGHTS, else ovseg3r/weights in the user's cache."""
    named = os.environ.get("OVSEG3R_WEIGHTS")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ovseg3r" / "weights"


def find(weights: str) -> Path:
    """The folder of ``weights``: a known name or hub id (these come first), or the path of a folder.

    Raises:
        InputError: they are not here, not complete, or not safetensors.
    """
    entry = known(weights)
    if entry is not None:
        return _fetched(entry)
    folder = Path(weights).expanduser()
    if folder.is_dir():
        check_folder(folder)
        return folder
    raise InputError(
        f"{weights}: is neither a folder with weights nor a known name; the names are "
        f"{', '.join(each.name for each in KNOWN)}."
    )


def folder_of(entry: KnownWeights) -> Path:
    """Where these weights lie once they are fetched."""
    return weights_home() / entry.name


def fetch_command(entry: KnownWeights) -> str:
    """What a user runs to get them."""
    return f"ovseg3r weights fetch {entry.name}"


def _fetched(entry: KnownWeights) -> Path:
    folder = folder_of(entry)
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(
            f"The weights {entry.name} are not on this machine ({entry.bytes / 1e6:,.0f} MB, {entry.licence}); get "
            f"them with: {fetch_command(entry)}"
        )
    if entry.revision not in (None, manifest.revision) or manifest.hub_id != entry.hub_id:
        raise InputError(
            f"{folder}: holds {entry.name} at revision {manifest.revision[:12]}, but this version needs "
            f"{(entry.revision or 'another')[:12]}; get it with: {fetch_command(entry)}"
        )
    for name, recorded in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != recorded.size:
            raise InputError(f"{path}: is missing or not whole; mend it with: {fetch_command(entry)}")
    return folder


def check_folder(folder: Path) -> None:
    """Raises:
    InputError: no config.json, no safetensors, or not all that the index names.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: config.json is missing; give a folder that save_pretrained has written.")
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
        found = f" ({others[0]} is a format that can run code and is not read)" if others else ""
        raise InputError(f"{folder}: has no *.safetensors{found}; safetensors only: save them with save_pretrained.")
    for index in folder.glob("*.safetensors.index.json"):
        absent = sorted(name for name in _shards(index) if not (folder / name).is_file())
        if absent:
            raise InputError(f"{folder}: {absent[0]} is missing, which {index.name} names; copy the whole folder.")


def _shards(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{index}: is no index of safetensors; copy the folder once more.") from error


def read_manifest(folder: Path) -> Manifest | None:
    """What a fetch has recorded, or None where none has ended."""
    try:
        value: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: Recorded(**recorded) for name, recorded in value["files"].items()}
        return Manifest(value["hub_id"], value["revision"], value["licence"], files)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def deciding_files(folder: Path) -> Iterator[Path]:
    """The files that decide the result, in order of their names."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != MANIFEST and any(fnmatch(path.name, pattern) for pattern in PATTERNS):
            yield path


def content_digest(folder: Path) -> str:
    """sha256 over the names and contents of all files that decide what the model in ``folder`` says.

    Cheap when asked again: a file is read once per process, or not at all where a fetch has recorded its checksum and
    neither its size nor its time has changed since.
    """
    manifest = read_manifest(folder)
    recorded = {} if manifest is None else manifest.files
    whole = hashlib.sha256()
    for path in deciding_files(folder):
        whole.update(f"{path.name}\0{_checksum(path, recorded.get(path.name))}\n".encode())
    return whole.hexdigest()


def _checksum(path: Path, recorded: Recorded | None) -> str:
    state = path.stat()
    if recorded is not None and (recorded.size, recorded.mtime_ns) == (state.st_size, state.st_mtime_ns):
        return recorded.sha256
    return _remembered_sha256(path.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _remembered_sha256(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """Read from the disk, whatever is recorded."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
