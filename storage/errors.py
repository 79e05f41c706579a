"""What a store's failures become: a sentence for the user, or the machine's own error; never with a secret in it."""

import os
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

_CODE = re.compile(r"<Code>(\w+)</Code>")  # how S3 names an error, and Azure and GCS by XML
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
_NO_ACCESS = {
    "AccessDenied", "AuthenticationFailed", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "SignatureDoesNotMatch",
}  # fmt: skip
_ELSEWHERE = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_NO_CREDENTIALS = re.compile(r"/latest/(api/token|meta-data)|Missing(AccessKeyId|SecretAccessKey)")
_UNREACHED = [
    ("dns error", "there is no host of this name"),
    ("onnection refused", "the connection is refused"),
    ("imed out", "there is no answer"),
    ("TimedOut", "there is no answer"),
    ("kind: Connect", "there is no connection"),
    ("HTTP error", "the connection breaks"),
]

_SECRETS = [
    re.compile(r"(<(?:AWSAccessKeyId|SignatureProvided|StringToSign|CanonicalRequest|Token)[\w-]*>)[^<]*"),
    re.compile(r"((?:X-Amz-(?:Signature|Credential|Security-Token)|sig|Signature|AWSAccessKeyId)=)[^&\s\"']+", re.I),
    re.compile(r"(authorization\"?[:=]\s*\"?)[^\"\n]+", re.I),
    re.compile(r"(://)[^/@\s]+:[^/@\s]+(?=@)"),
    re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{12,}"),
]
_SECRET_NAMES = re.compile(r"(AWS|AZURE|GOOGLE)\w*(SECRET|TOKEN|KEY)")
_HIDDEN = "***"


def scrubbed(text: str) -> str:
    """The text without what looks like a key, a token or a signature, and without those of the environment."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAMES.match(name) and not name.endswith("FILE"):
            text = text.replace(value, _HIDDEN)
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{_HIDDEN}", text)
    return text


@contextmanager
def store_errors(url: str, doing: str, size: int | None = None) -> Iterator[None]:
    """Turns a failure inside into InputError (full, unwritable, no access, no bucket) or StoreError, naming the store;
    the cause is chained, its text scrubbed.

    FileNotFoundError and AlreadyExistsError pass: they are answers, not failures. size: bytes about to be written,
    for the sentence.
    """
    try:
        yield
    except (InputError, StoreError):
        raise
    except (BaseError, OSError) as error:
        text = str(error)
        missing = isinstance(error, FileNotFoundError) and not _NO_BUCKET & set(_CODE.findall(text))
        if missing or type(error).__name__ == "AlreadyExistsError":
            raise
        if isinstance(error, BaseError):
            error.args = (scrubbed(text),)  # a log shows it with its traceback
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
    refused = _refused(error, text)
    if refused is not None:
        return InputError(f"{url}: {refused}")
    for sign, reason in _UNREACHED:
        if sign in text:
            return StoreError(
                f"{url}: could not be reached while {doing}: {reason}; check the network and the endpoint "
                "(AWS_ENDPOINT_URL), then run it again."
            )
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return StoreError(f"{url}: failed while {doing}: {first}")


def _refused(error: Exception, text: str) -> str | None:
    """What is wrong with how the store is addressed, and what to do; None where that is not it."""
    codes = set(_CODE.findall(text))
    if _NO_CREDENTIALS.search(text):
        return "no credentials were found; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role."
    if codes & _NO_BUCKET:
        return "the bucket does not exist; create it or name another store."
    if codes & _ELSEWHERE:
        return "the bucket is in another region; name it with AWS_REGION."
    if codes & _NO_ACCESS or isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        why = f" ({min(codes)})" if codes else ""
        return f"access denied{why}; check the credentials and the bucket's policy."
    return None
