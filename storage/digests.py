"""Digests: the same inputs, configuration and stage version always give the same sha256, on any machine."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def stage_digest(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The digest a stage's output is stored under: 64 hex digits.

    version: raised by hand whenever the stage's code changes what it gives. config: its settings as JSON values
    (``settings.model_dump(mode="json")``). inputs: digest of every input, by name. Raises ValueError for nan or
    infinity, TypeError for what JSON does not know.
    """
    for name, digest in inputs.items():
        if not isinstance(digest, str):
            raise TypeError(f"input {name!r} of stage {stage!r} is {type(digest).__name__}, not a digest")
    value = {"stage": stage, "version": version, "config": dict(config), "inputs": dict(inputs)}
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and one spelling per number: 2 and 2.0 are the same setting, and so are 0.0 and -0.0.

    Raises ValueError for nan or infinity and TypeError for what JSON does not know (also for keys that are no text).
    """
    text = json.dumps(plain_json(value, one_spelling=True), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", errors="surrogatepass")


def plain_json(value: Any, *, one_spelling: bool = False) -> Any:
    """``value`` as new dicts (keys sorted) and lists; raises as ``canonical_json``. Numbers stay as they are unless
    ``one_spelling``."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _number(value, one_spelling)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is {type(key).__name__}, not text")
        return {key: plain_json(value[key], one_spelling=one_spelling) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [plain_json(item, one_spelling=one_spelling) for item in value]
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _number(value: int | float, one_spelling: bool) -> int | float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number JSON can hold")
    if isinstance(value, float):
        value = float(value)  # a numpy float64 is a float but does not spell itself as one
        return int(value) if one_spelling and value.is_integer() else value
    return int(value)
