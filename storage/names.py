"""The only place that says what may stand in a key: scene ids, stages, digests, names inside an attempt."""

import re

from ovseg3r_model.errors import InputError

_SCENE_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_STAGE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
SHORT = 16  # hex digits of a digest that are enough inside a name: 64 bits


def check_scene_id(scene_id: str) -> str:
    """The id itself. Raises InputError unless it is 1 to 64 of a-z, 0-9, "_" and "-", starting with a letter or
    digit."""
    if not _SCENE_ID.fullmatch(scene_id):
        raise InputError(
            f"scene id {scene_id!r} cannot be used: take 1 to 64 of a-z, 0-9, '_', '-', a letter or digit first."
        )
    return scene_id


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
