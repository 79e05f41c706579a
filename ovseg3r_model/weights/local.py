"""Weights on this machine's disk. Nothing here touches the network."""

import hashlib
import json
import os
from collections.abc import Iterator, Set
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
    """One file as the manifest has it; mtime_ns: when it was last changed when its checksum was taken."""

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

    @property
    def bytes(self) -> int:
        """What all files take."""
        return sum(file.size for file in self.files.values())


def weights_home() -> Path:
    """The folder that fetched weights lie in: OVSEG3R_WEIGHTS, else ovseg3r/weights in the user's cache."""
    named = os.environ.get("OVSEG3R_WEIGHTS")
    if named:
        return Path(named).expanduser()
    return cache_home() / "weights"


def cache_home() -> Path:
    """The folder for what can be had or made again: ovseg3r in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ovseg3r"


def folder_of(entry: KnownWeights) -> Path:
    """Where these weights lie once they are fetched."""
    return weights_home() / entry.name


def find(weights: str) -> Path:
    """The folder of ``weights``: a known name or hub id (these come first), or the path of a folder.

    Raises:
        InputError: they are not here, not whole, or not safetensors.
    """
    entry = known(weights)
    if entry is not None:
        found, fault = look(entry)
        if fault:
            raise InputError(f"{fault}; get them with: ovseg3r weights fetch {entry.name}")
        if found is None:
            raise InputError(
                f"The weights {entry.name} are not on this machine ({entry.bytes / 1e6:,.0f} MB, {entry.licence}); "
                f"get them with: ovseg3r weights fetch {entry.name}"
            )
        return folder_of(entry)
    folder = Path(weights).expanduser()
    if folder.is_dir():
        fault = what_lacks(folder)
        if fault:
            raise InputError(f"{folder}: {fault}; give a folder that save_pretrained has written.")
        return folder
    raise unknown(weights)


def unknown(weights: str) -> InputError:
    """What to say of ``weights`` that are neither a known name nor a folder."""
    names = ", ".join(each.name for each in KNOWN)
    return InputError(f"{weights}: is neither a folder with weights nor a known name; the names are {names}.")


def look(entry: KnownWeights) -> tuple[Manifest | None, str]:
    """The manifest of fetched weights, None where there is none; and why they cannot be used, empty if they can."""
    folder = folder_of(entry)
    manifest = read_manifest(folder)
    if manifest is None:
        return None, ""
    if manifest.hub_id != entry.hub_id or entry.revision not in (None, manifest.revision):
        wanted = entry.hub_id if entry.revision is None else f"{entry.hub_id} at {entry.revision[:12]}"
        return manifest, f"{folder}: holds {manifest.hub_id} at {manifest.revision[:12]}, but {wanted} is needed"
    for name, recorded in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != recorded.size:
            return manifest, f"{path}: is missing or not whole"
    return manifest, ""


def is_here(entry: KnownWeights) -> bool:
    """Whether these weights can be used."""
    manifest, fault = look(entry)
    return manifest is not None and not fault


def what_lacks(folder: Path) -> str:
    """Why ``folder`` holds no weights that can be read, empty if it does."""
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    if not any(folder.glob("*.safetensors")):
        others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
        found = f", and {others[0]} may run code when it is read" if others else ""
        return f"has no *.safetensors{found} (safetensors only)"
    for index in folder.glob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return f"{index.name} is no index of safetensors"
        absent = sorted(name for name in shards if not (folder / name).is_file())
        if absent:
            return f"{absent[0]} is missing, which {index.name} names"
    return ""


def what_inputs_lack(names: Set[str], text: bool, pictures: bool = True) -> str:
    """Which of the settings for a model's inputs are missing among files of these names, empty if none is. Without a
    tokenizer's files the library makes an empty one, to which all words are alike.

    text, pictures: whether the model reads them.
    """
    if pictures and not any(name.endswith("processor_config.json") for name in names):
        return "preprocessor_config.json is missing"
    if text and not {"tokenizer.json", "vocab.txt", "vocab.json"} & names:
        return "the tokenizer's files are missing"
    return ""


def read_manifest(folder: Path) -> Manifest | None:
    """What a fetch has recorded, or None where none has ended."""
    try:
        value: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: Recorded(**recorded) for name, recorded in value["files"].items()}
        return Manifest(value["hub_id"], value["revision"], value["licence"], files)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def decides(name: str) -> bool:
    """Whether a file of that name has a part in the result; README and pictures have none."""
    return any(fnmatch(name, pattern) for pattern in PATTERNS)


def deciding_files(folder: Path) -> Iterator[Path]:
    """The files that decide the result, in order of their names."""
    for path in sorted(folder.iterdir()):
        if decides(path.name) and path.is_file():
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


def differences(entry: KnownWeights, manifest: Manifest) -> list[str]:
    """What of fetched weights is not as recorded, or not as this version pins it; reads every file."""
    folder = folder_of(entry)
    found = []
    for name, recorded in manifest.files.items():
        pinned = entry.sha256.get(name) if manifest.revision == entry.revision else None
        if not (folder / name).is_file():
            found.append(f"{folder / name}: is missing")
        elif file_sha256(folder / name) != recorded.sha256:
            found.append(f"{folder / name}: has changed since it was fetched")
        elif pinned not in (None, recorded.sha256):
            found.append(f"{folder / name}: is not what this version pins")
    added = [path for path in deciding_files(folder) if path.name not in manifest.files]
    return found + [f"{path}: was not fetched, but would be read" for path in added]
