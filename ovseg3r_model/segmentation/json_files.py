"""Reading the JSON that a user gives: every mistake in it becomes an InputError that says where."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from ovseg3r_model.errors import InputError
from ovseg3r_model.segmentation.id_maps import Name

MAX_JSON_BYTES = 2 * 10**9
_NO_TEXT = re.compile("[\ud800-\udfff]")  # half characters: JSON can hold them, UTF-8 cannot


def read_json(path: Path) -> Any:
    """The parsed file; a key given twice in one object is an error, for one of the two would be lost.

    Raises:
        InputError: it cannot be read, is larger than 2 GB, or is not JSON.
    """
    content = _content(path)
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path} is not valid JSON: {error.msg} in {where}.") from error
    except _DuplicateKeyError as error:
        raise InputError(f'{path} gives the key "{error}" twice in one object: keep one of them.') from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: no UTF-8, nested too deeply, or an endless number.") from error


def name_of(label: Any, score: Any, where: str) -> Name:
    """A label, stripped and otherwise verbatim, and a score in [0, 1].

    Raises:
        InputError: either is not that; ``where`` opens the sentence.
    """
    if not isinstance(label, str) or not label.strip() or _NO_TEXT.search(label):
        raise InputError(f"{where}: the label must be a non-empty text, not {label!r}.")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InputError(f"{where}: the score must be a number from 0 to 1, not {score!r}.")
    return Name(label.strip(), float(score))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size <= MAX_JSON_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    raise InputError(f"{path} is larger than 2 GB: split it, one file for each recording.")


class _DuplicateKeyError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _DuplicateKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return made
