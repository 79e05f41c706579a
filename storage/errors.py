"""What a store's failures become: a sentence for the user, or the machine's own error."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from ovseg3r_model.errors import InputError


class StoreError(OSError):
    """The store failed in a way the user cannot mend by other input (network, server, a bug); trying again may help."""


class SceneRefused(InputError):
    """The scene breaks the schema; nothing was written. ``violations``: one sentence each."""

    def __init__(self, scene_id: str, violations: list[str]) -> None:
        self.violations = tuple(violations)
        super().__init__(f"scene {scene_id} is not published: {' '.join(violations)}")


# obstore hands the operating system's error number through in its text only.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FULL = {27, 28, 122}  # EFBIG (a file size limit), ENOSPC, EDQUOT
_FORBIDDEN = {1, 13, 20, 30}  # EPERM, EACCES, ENOTDIR (a file stands where a folder must be), EROFS


@contextmanager
def store_errors(url: str, doing: str, size: int | None = None) -> Iterator[None]:
    """Turns a failure inside into InputError (full, unwritable, no access) or StoreError, naming the store; the cause
    is chained.

    FileNotFoundError and AlreadyExistsError pass: they are answers, not failures. size: bytes about to be written,
    for the sentence.
    """
    try:
        yield
    except (FileNotFoundError, InputError, StoreError):
        raise
    except (BaseError, OSError) as error:
        if type(error).__name__ == "AlreadyExistsError":
            raise
        raise _translated(error, url, doing, size) from error


def _translated(error: Exception, url: str, doing: str, size: int | None) -> Exception:
    text = str(error)
    found = _OS_ERROR.search(text)
    number = int(found.group(1)) if found else (getattr(error, "errno", None) or 0)
    if number in _FULL:
        amount = "" if size is None else f" of {size} bytes"
        return InputError(
            f"{url}: no space left while {doing}{amount}; it was not committed and nothing half-written is visible. "
            "Free space (collect garbage) or name another store."
        )
    if number in _FORBIDDEN:
        return InputError(f"{url}: no permission while {doing}; make the folder writable or name another store.")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return InputError(f"{url}: access denied while {doing}; check the credentials and the bucket's policy.")
    if "NoSuchBucket" in text:
        return InputError(f"{url}: the bucket does not exist; create it or name another store.")
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return StoreError(f"{url}: failed while {doing}: {first}")
