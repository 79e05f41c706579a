"""How object stores are spoken to: credentials, timeouts and retries, in one place.

Credentials come from where the providers' own tools take them, never from a URL: the environment, a role of the machine
or container, and, with boto3 installed, AWS profiles. docs/object-storage.md says more.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import from_url

from ovseg3r_model.errors import InputError
from storage.errors import scrubbed

REMOTE = {"s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"}
FIRST_CONTACT = 15.0  # seconds; a mistyped address is told soon
PATIENCE = "OVSEG3R_STORE_PATIENCE"
_PATIENCE_SECONDS = 240.0  # below five minutes, as a retried request keeps its first signature
_REQUEST = timedelta(seconds=120)  # a whole request with its data; the largest are a network's weights
_LONGEST_PAUSE = timedelta(seconds=5)
_PASSING = re.compile(r"HTTP error|status code: (5\d\d|429)\b")
_SETTINGS = ("AWS_", "GOOGLE_", "AZURE_", PATIENCE)
_ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", *(f"AWS_CONTAINER_CREDENTIALS_{kind}_URI" for kind in ("RELATIVE", "FULL")))
T = TypeVar("T")


def check_url(url: str) -> str:
    """The URL of a store itself. Raises InputError, without repeating them, for one that holds credentials."""
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme in {"", "file", "memory"}:
        return url
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    container = scheme in {"abfs", "abfss"} and user and ":" not in user  # abfss://container@account...
    if (at and not container) or parts.query:
        raise InputError(
            f"{scheme}://{parts.netloc.rpartition('@')[2]}: a store's URL may hold no user, key or ?query, as it is "
            "shown and logged; give credentials by the environment (AWS_ACCESS_KEY_ID ...), a profile or a role."
        )
    return url


def patience() -> float:
    """Seconds that a store may be away before an operation fails. Raises InputError for a setting that is no such
    number."""
    text = os.environ.get(PATIENCE, "")
    try:
        seconds = float(text) if text else _PATIENCE_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"{PATIENCE}={text!r} is no number of seconds; write it like 240.")
    return seconds


def remote_options(scheme: str, seconds: float | None = None) -> dict[str, Any]:
    """What obstore's constructors take: client_options, retry_config and, for S3 with a profile, credential_provider.

    seconds: how long a store may be away; None: :func:`patience`. Raises InputError for a profile that cannot be used.
    """
    options: dict[str, Any] = {
        "client_options": {"timeout": _REQUEST, "connect_timeout": timedelta(seconds=5)},
        "retry_config": {
            "max_retries": 1000,  # time is what ends it
            "retry_timeout": timedelta(seconds=patience() if seconds is None else seconds),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": _LONGEST_PAUSE, "base": 2},
        },
    }
    if scheme in {"s3", "s3a"}:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        if endpoint.startswith("http://"):  # whoever names such an address means it
            options["client_options"]["allow_http"] = True
        if _by_profile():
            options["credential_provider"] = _profile_credentials()
    return options


def open_remote(url: str, seconds: float) -> Any:
    """obstore's store at the URL; one client for all who ask for it in this process. Nothing is sent. Raises InputError
    for what cannot be one."""
    settings = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(_SETTINGS)))
    return _opened(url, seconds, settings)


@lru_cache(maxsize=16)
def _opened(url: str, seconds: float, settings: tuple[tuple[str, str], ...]) -> Any:
    """settings: those of the environment, as another one would make another client."""
    try:
        return from_url(url, **remote_options(urlsplit(url).scheme, seconds))
    except (BaseError, OSError, ValueError) as error:
        reason = scrubbed(str(error)).strip().splitlines()[0]
        raise InputError(f"{url}: is no usable store ({reason}); check the URL and the credentials.") from None


def again(call: Callable[[], T], seconds: float) -> T:
    """The call's value; while it fails with what passes (no connection, 5xx), it is made again, for so many seconds.

    obstore does so by itself, but not where the method is unsafe by HTTP's rules, and not for each way in which a
    connection breaks (it takes "connection was not ready" for an answer). This is for calls that are safe by ours.
    """
    pauses = _Pauses(seconds)
    while True:
        try:
            return call()
        except BaseError as error:
            pause = pauses.after(error)
        time.sleep(pause)


async def again_async(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """As :func:`again`."""
    pauses = _Pauses(seconds)
    while True:
        try:
            return await call()
        except BaseError as error:
            pause = pauses.after(error)
        await asyncio.sleep(pause)


class _Pauses:
    """Between the tries of one call, longer each time."""

    def __init__(self, seconds: float) -> None:
        self._end, self._next = time.monotonic() + seconds, 0.1

    def after(self, error: BaseError) -> float:
        """Raises the error where it will not pass, or the time is over."""
        pause, self._next = self._next, min(2 * self._next, _LONGEST_PAUSE.total_seconds())
        if time.monotonic() + pause > self._end or not _PASSING.search(str(error)):
            raise error
        return pause


def _by_profile() -> bool:
    """Whether AWS credentials are those of a profile: the environment's own keys and tokens come first."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return False
    if os.environ.get("AWS_PROFILE"):
        return True
    if any(os.environ.get(name) for name in _ROLES):
        return False
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser().is_file()


def _profile_credentials() -> Any:
    try:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise InputError(
            "AWS profiles need boto3: pip install boto3, or give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from None
    try:
        return Boto3CredentialProvider()
    except (BotoCoreError, ValueError) as error:
        raise InputError(f"the AWS profile cannot be used ({scrubbed(str(error))}); check AWS_PROFILE.") from None
