"""The rows of the table in docs/configuration.md, from the models of the settings: printed to standard output."""

import sys
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.settings import LabelParameters


def rows(model: type[BaseModel] = LabelParameters, prefix: str = "") -> Iterator[str]:
    """One Markdown row for each setting, those of nested models under dotted names."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from rows(field.annotation, f"{prefix}{name}.")
        else:
            default = "(needed)" if field.default is PydanticUndefined else f"`{field.default}`"
            yield f"| `{prefix}{name}` | {default} | {field.description} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(rows()) + "\n")
