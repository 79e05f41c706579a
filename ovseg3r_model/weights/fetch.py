"""Weights from the model hub, or from its cache on this disk, into the folder that engines look in.

Everything happens in a hidden folder beside the final one and is checked there; the manifest is written last, and one
rename makes all of it visible.
"""

import errno
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import huggingface_hub as hub
from huggingface_hub import errors
from huggingface_hub.utils.tqdm import tqdm
from safetensors import safe_open

from ovseg3r_model.errors import InputError
from ovseg3r_model.weights.local import (
    MANIFEST,
    PATTERNS,
    Manifest,
    Recorded,
    decides,
    deciding_files,
    differences,
    file_sha256,
    folder_of,
    look,
    weights_home,
    what_inputs_lack,
    what_lacks,
)
from ovseg3r_model.weights.registry import KnownWeights

Progress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes of all files."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Fetched:
    """Weights that are here now. loaded: whether this call has brought them; else they were whole already."""

    folder: Path
    manifest: Manifest
    loaded: bool


@dataclass(frozen=True)
class _Listed:
    """A file to come; sha256: as the hub has it, for large files only."""

    name: str
    size: int | None
    sha256: str | None


def fetch(entry: KnownWeights, offline: bool = False, progress: Progress = lambda done, total: None) -> Fetched:
    """Brings weights here, unless they are, whole and at the pinned revision. ``offline``: from the hub's cache on
    this disk, and no request is made.

    Raises:
        InputError: they cannot be had, or are not what they should be; nothing is visible then.
    """
    with _alone(entry):
        present, fault = look(entry)
        if present is not None and not fault and not differences(entry, present):
            return Fetched(folder_of(entry), present, loaded=False)
        bring = _from_cache if offline or hub.constants.is_offline_mode() else _from_hub
        staging, revision, listed = bring(entry, progress)
        try:
            manifest = _checked(entry, staging, revision, listed)
        except InputError:
            shutil.rmtree(staging)
            raise
        with _disk_errors():
            _publish(staging, manifest, folder_of(entry))
    return Fetched(folder_of(entry), manifest, loaded=True)


@contextmanager
def _alone(entry: KnownWeights) -> Iterator[None]:
    """One fetch of the same weights at a time; a killed one's lock is gone with it."""
    with _disk_errors():
        weights_home().mkdir(parents=True, exist_ok=True)
        lock = (weights_home() / f".{entry.name}.lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{entry.name} is being fetched by another process; wait until that has ended.") from error
        yield


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _disk_fault(error) from error


def _disk_fault(error: OSError) -> InputError:
    reason = "is full" if error.errno in _NO_SPACE else f"cannot be written ({error.strerror or error})"
    return InputError(f"{weights_home()}: {reason}; make room, or name another folder with OVSEG3R_WEIGHTS.")


def _staging(entry: KnownWeights, revision: str) -> Path:
    """The hidden folder to bring files to; what a killed fetch of the same revision has finished is in it still."""
    mine = weights_home() / f".{entry.name}.{revision[:12]}.part"
    for left in weights_home().glob(f".{entry.name}.*"):
        if left.is_dir() and left != mine:
            shutil.rmtree(left)
    for unfinished in mine.rglob("*.incomplete"):
        unfinished.unlink()
    mine.mkdir(exist_ok=True)
    return mine


def _from_hub(entry: KnownWeights, progress: Progress) -> tuple[Path, str, list[_Listed]]:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it warns of is told below, in our own words
    with _hub_errors(entry):
        info = hub.HfApi().model_info(entry.hub_id, revision=entry.revision, files_metadata=True, timeout=30)
        if info.sha is None:
            raise InputError(f"{entry.page}: the hub does not say which commit it gives; try again later.")
        listed = [
            _Listed(file.rfilename, file.size, None if file.lfs is None else file.lfs.sha256)
            for file in info.siblings or ()
            if decides(file.rfilename) and "/" not in file.rfilename
        ]
        total = sum(file.size or 0 for file in listed)
        staging = _staging(entry, info.sha)
        here = sum((staging / file.name).stat().st_size for file in listed if (staging / file.name).is_file())
        if shutil.disk_usage(staging).free < total - here:
            raise OSError(errno.ENOSPC, "")
        bar = _counting(here, total, progress)
        for file in sorted(listed, key=lambda each: each.size or 0):
            hub.hf_hub_download(entry.hub_id, file.name, revision=info.sha, local_dir=staging, tqdm_class=bar)
    return staging, info.sha, listed


def _counting(here: int, total: int, progress: Progress) -> Any:
    """A class of bars that show nothing themselves and tell ``progress`` of all that they are told."""
    done = here

    def add(more: float) -> None:
        nonlocal done
        done += int(more)
        progress(done, total)

    class Counting(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **(settings | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            add(n or 0)

        def update_transfer(self, n: float | None = 1) -> None:
            """What came over the network is no concern: what is on the disk is counted."""

        def set_transfer_postfix_str(self, *args: Any, **settings: Any) -> None:
            """Nor how fast."""

    progress(done, total)
    return Counting


def _from_cache(entry: KnownWeights, progress: Progress) -> tuple[Path, str, list[_Listed]]:
    try:
        cached = Path(
            hub.snapshot_download(
                entry.hub_id, revision=entry.revision, allow_patterns=list(PATTERNS), local_files_only=True
            )
        )
    except errors.LocalEntryNotFoundError as error:
        at = "" if entry.revision is None else f" at revision {entry.revision[:12]}"
        raise InputError(
            f"{entry.name} is not on this machine, nor is {entry.hub_id}{at} whole in the hub's cache "
            f"({hub.constants.HF_HUB_CACHE}); leave --offline out, or copy the weights here and give their folder."
        ) from error
    with _disk_errors():
        staging = _staging(entry, cached.name)
        files = list(deciding_files(cached))
        total, done = sum(path.stat().st_size for path in files), 0
        for path in files:
            progress(done, total)
            shutil.copyfile(path, staging / path.name)
            done += path.stat().st_size
        progress(done, total)
    # the cache names a large file by its checksum
    stored = {path.name: path.resolve().name for path in files}
    sums = {name: blob if re.fullmatch("[0-9a-f]{64}", blob) else None for name, blob in stored.items()}
    return staging, cached.name, [_Listed(path.name, path.stat().st_size, sums[path.name]) for path in files]


@contextmanager
def _hub_errors(entry: KnownWeights) -> Iterator[None]:
    """What the hub, the network and the disk throw, each as one sentence that says what to do."""
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            f"{entry.hub_id} is given only to those who have accepted its terms ({entry.licence}); accept them at "
            f"{entry.page}, run `hf auth login`, and then: ovseg3r weights fetch {entry.name}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{entry.hub_id} has no revision {entry.revision} any more; fetch it by hand and give its folder."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"The hub has no {entry.hub_id}, or does not show it to you; run `hf auth login` if it should."
        ) from error
    except Exception as error:  # no network, a proxy, a hub that is down: dozens of kinds
        if isinstance(error, OSError) and error.errno in (*_NO_SPACE, errno.EACCES, errno.EPERM, errno.EROFS):
            raise _disk_fault(error) from error
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{entry.hub_id} cannot be had from the hub ({type(error).__name__}: {reason}); try again, which keeps the "
            f"files that are here, or copy them from elsewhere and give their folder."
        ) from error


def _checked(entry: KnownWeights, staging: Path, revision: str, listed: list[_Listed]) -> Manifest:
    """Raises:
    InputError: a file is not what the hub or this version says it is, or one lacks that an engine needs.
    """
    pinned = entry.sha256 if revision == entry.revision else {}
    files = {}
    for file in listed:
        path = staging / file.name
        state, digest = path.stat(), file_sha256(path)
        for expected in (file.sha256, pinned.get(file.name)):
            if expected not in (None, digest):
                raise InputError(
                    f"{entry.hub_id}: {file.name} has sha256 {digest} where {expected} is expected, and nothing was "
                    "kept; fetch again, and if it comes out the same, do not use it."
                )
        if file.size not in (None, state.st_size):
            raise InputError(f"{entry.hub_id}: {file.name} did not come whole, and nothing was kept; fetch again.")
        files[file.name] = Recorded(state.st_size, digest, state.st_mtime_ns)
    fault = what_lacks(staging) or _what_engines_lack(entry, files) or _unreadable(staging)
    if fault:
        raise InputError(f"{entry.hub_id} at {revision[:12]}: {fault}; nothing was kept.")
    return Manifest(entry.hub_id, revision, entry.licence, files)


def _what_engines_lack(entry: KnownWeights, files: dict[str, Recorded]) -> str:
    fault = what_inputs_lack(files.keys(), entry.family not in ("sam", "sam2"), entry.family != "clip")
    return fault or next((f"{name} is missing" for name in entry.sha256 if name not in files), "")


def _unreadable(folder: Path) -> str:
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="numpy") as tensors:
                tensors.keys()
        except Exception as error:  # safetensors has an exception of its own for what its header lacks
            return f"{path.name} is no safetensors file ({error})"
    return ""


def _publish(staging: Path, manifest: Manifest, folder: Path) -> None:
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path)  # the hub's notes on its downloads
        elif path.name not in manifest.files:
            path.unlink()
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    with (staging / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    if folder.exists():
        folder.rename(staging.with_suffix(".old"))  # hidden too: the next fetch removes what a kill leaves here
    staging.rename(folder)
    shutil.rmtree(staging.with_suffix(".old"), ignore_errors=True)
