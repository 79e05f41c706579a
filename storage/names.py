"""The only place that says what may stand in a key: ids of scenes and models, stages, digests, names inside an attempt;
and what a tag is."""

import re

from ovseg3r_model.errors import InputError

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_STAGE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r"[a-z0-9][a-z0-9_.:=-]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
SHORT = 16  # hex digits of a digest that are enough inside a name: 64 bits


def check_scene_id(scene_id: str) -> str:
    """The id itself. Raises InputError unless it is 1 to 64 of a-z, 0-9, "_" and "-", starting with a letter or
    digit."""
    return _check_id("scene", scene_id)


def check_model_id(model_id: str) -> str:
    """As :func:`check_scene_id`, of a model."""
    return _check_id("model", model_id)


def _check_id(noun: str, value: str) -> str:
    if not _ID.fullmatch(value):
        raise InputError(
            f"{noun} id {value!r} cannot be used: take 1 to 64 of a-z, 0-9, '_', '-', a letter or digit first."
        )
    return value


def check_tag(tag: str) -> str:
    """The tag itself. Raises InputError unless it is like "kitchen" or "split:train"."""
    if not _TAG.fullmatch(tag):
        raise InputError(
            f"tag {tag!r} cannot be used: take 1 to 64 of a-z, 0-9, '_', '.', ':', '=', '-', a letter or digit first."
        )
    return tag


def check_stage(stage: str) -> str:
    """The stage's name itself. Raises InputError unless it is like "superpoints"."""
    if not _STAGE.fullmatch(stage):
        raise InputError(f"stage {stage!r} cannot be used: take lower-case letters, digits, '_' and '-'.")
    return stage


def check_digest(digest: str) -> str:
    """The digest itself. Raises InputError unless it is 64 hex digits (sha256)."""
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"digest {digest!r} is not 64 lower-case hex digits.")
    return digest


def check_name(name: str) -> str:
    """A relative object name itself. Raises InputError for anything that could leave its folder or that a local disk
    hides."""
    if not _NAME.fullmatch(name):
        raise InputError(f"object name {name!r} cannot be used: take letters, digits, '_', '-', '.', '/' between them.")
    return name
