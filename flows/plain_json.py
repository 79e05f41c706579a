"""What JSON cannot say, said otherwise."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """The value with null where a number is not finite, which JSON cannot say."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
