"""What commands write into a folder of the user's."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.plain_json import finite
from ovseg3r_model.errors import InputError
from storage.model_rows import ModelRow
from storage.model_store import ModelStore
from storage.store import Store
from tasks.training_files import CURVES

REPORT = "instances.json"


def write_found(folder: Path, report: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """The files, and last the report: with it, all is there.

    Raises:
        InputError: the folder cannot be written to.
    """
    text = json.dumps(finite(report), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    _write(folder, {**files, REPORT: text.encode()})


def write_curves(store: Store, rows: Sequence[ModelRow], folder: Path) -> None:
    """Each model's curves as PNG.

    Raises:
        InputError: the folder cannot be written to.
    """
    models = ModelStore(store)
    _write(folder, {f"{row.model_id}-{CURVES}": models.read(row.model_id, row.digest).get(CURVES) for row in rows})


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); name another folder.") from error
