"""How an attempt becomes the output: ``commit.json`` beside the attempts, written last, put-if-absent. Stages, scenes
and models share it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ovseg3r_model.errors import InputError
from storage.store import Store

MARKER = "commit.json"


def commit_marker(store: Store, folder: str, marker: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the marker of a written attempt, ``marker["attempt"]``, and gives the one that counts; when another writer
    was faster, that one's, and this attempt is deleted. Raises ValueError or TypeError for what JSON cannot hold.
    """
    data = json.dumps(marker, indent=1, allow_nan=False).encode()
    while not store.put_if_absent(f"{folder}/{MARKER}", data):
        winner = read_marker(store, folder)
        if winner is None:  # garbage collection took an old output away in this very moment
            continue
        # A retried request may find its own first try: only the attempt's name tells who won.
        if winner["attempt"] != marker["attempt"]:
            store.delete_prefix(f"{folder}/{marker['attempt']}")
        return winner
    return dict(marker)


def read_marker(store: Store, folder: str) -> dict[str, Any] | None:
    """The marker of a complete output; None where there is none."""
    data = store.get(f"{folder}/{MARKER}")
    return None if data is None else dict(json.loads(data))


@contextmanager
def cleaned_up(store: Store, prefix: str) -> Iterator[None]:
    """What was written below ``prefix`` goes away with an exception: a full disk gets its space back."""
    try:
        yield
    except BaseException:
        with suppress(OSError, InputError):  # the first error is the one to see; garbage collection gets the rest
            store.delete_prefix(prefix)
        raise
